"""How a Parquet file of the lake is opened: its footer checked by its seal, its pages as they are read.

On a disk or in an object store alike. Files of before there were seals are read as they are. Which file is whose is not
known here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from edp_assets.seal import SealError, check_body, check_head, seal
from edp_assets.storage.cells import Location

TAIL = 65_536
_MAGIC = b"PAR1"
_END = 8  # length of the footer, and the magic bytes

UNREADABLE = (pa.ArrowException, OSError, ValueError, EOFError, MemoryError, OverflowError)
"""What reading a damaged file may raise; some of it may have other causes, so ask `damage`."""


def read_footer(path: Location) -> pq.FileMetaData:
    """Read a file's footer.

    Raises:
        FileNotFoundError: there is no file.
        SealError: the footer is damaged, or the file is no Parquet file.
    """
    return _parsed(path, _tail(path, TAIL))


def read_footers(paths: Sequence[Location]) -> list[pq.FileMetaData | Exception]:
    """Read the footers of many files of an object store, or why not: at once, since each takes a round trip."""
    places = [path.path for path in paths]  # type: ignore[union-attr]
    tails = paths[0].fs.cat_ranges(places, [-TAIL] * len(places), [None] * len(places), on_error="return")  # type: ignore[union-attr]
    found: list[pq.FileMetaData | Exception] = []
    for path, tail in zip(paths, tails, strict=True):
        try:
            if isinstance(tail, Exception):
                raise tail
            found.append(_parsed(path, tail))
        except (OSError, SealError) as error:
            found.append(error)
    return found


def open_file(path: Location, *, pre_buffer: bool = True) -> pq.ParquetFile:
    """Open a file for reading; its pages are checked as they are read (errors are among UNREADABLE)."""
    place, filesystem = _placed(path)
    return pq.ParquetFile(
        place,
        metadata=read_footer(path),
        pre_buffer=pre_buffer,
        page_checksum_verification=True,
        filesystem=filesystem,
    )


def parquet_file(path: Location) -> pq.ParquetFile:
    """Open any Parquet file, whoever wrote it, without a look at a seal."""
    place, filesystem = _placed(path)
    return pq.ParquetFile(place, filesystem=filesystem, pre_buffer=False)


def _placed(path: Location) -> tuple[str, Any]:
    """Return a file as Arrow names it, and the filesystem that it is in; None for a disk."""
    return (str(path), None) if isinstance(path, Path) else (path.path, path.fs)


def read_table(path: Location, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a file, or some of its columns; a small one, as most are, is fetched once, footer and pages together."""
    wanted = None if columns is None else list(columns)
    tail = _tail(path, TAIL)
    if len(tail) == TAIL:
        with open_file(path) as file:
            return file.read(columns=wanted)
    whole = pa.BufferReader(tail)
    with pq.ParquetFile(whole, metadata=_parsed(path, tail), page_checksum_verification=True) as file:
        return file.read(columns=wanted, use_threads=False)


def damage(path: Location) -> str | None:
    """Read all of a file and say what is wrong with it; None where it is as it was written. Memory is bounded.

    Raises:
        OSError: it cannot be read at all, which says nothing about its content.
    """
    try:
        tail = _tail(path, TAIL)
        length = _footer_length(tail)
        if length > len(tail):
            tail = _tail(path, length)
        if length > len(tail):
            raise SealError("its footer is longer than the file")
        wanted = check_head(tail[-length:])
        _parsed(path, tail)
        if wanted is not None:
            size = path.stat().st_size
            with path.open("rb") as file:
                check_body(file, size - length, size, wanted)
            return None
    except SealError as error:
        return str(error)
    try:
        with open_file(path, pre_buffer=False) as parquet:
            for _ in parquet.iter_batches(batch_size=1024):
                pass
    except UNREADABLE as error:
        if getattr(error, "errno", None) is not None or isinstance(error, MemoryError):
            raise
        return str(error)
    return None


def seal_file(path: Path) -> None:
    """Seal a written file whose footer holds a blank seal."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(size - _END)
        length = _footer_length(file.read())
    seal(path, size - length, size)


def _tail(path: Location, length: int) -> bytes:
    if not isinstance(path, Path):
        return bytes(path.fs.cat_file(path.path, start=-length))
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - length))
        return file.read()


def _footer_length(tail: bytes) -> int:
    if len(tail) < _END or tail[-4:] != _MAGIC:
        raise SealError("it does not end as a Parquet file does")
    return int.from_bytes(tail[-_END:-4], "little") + _END


def _parsed(path: Location, tail: bytes) -> pq.FileMetaData:
    length = _footer_length(tail)
    if length > len(tail):
        tail = _tail(path, length)
        if length > len(tail):
            raise SealError("its footer is longer than the file")
    check_head(tail[-length:])
    try:
        return pq.read_metadata(pa.BufferReader(tail))
    except UNREADABLE as error:
        raise SealError(f"its footer cannot be read: {error}") from None
