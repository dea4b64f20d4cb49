"""The Parquet lake: one file a partition, `lake/<asset>/icd10=I21/organ=heart/part.parquet`.

Files are written whole beside their place (for an object store: in a local folder) and then brought there; the footer
of each carries its provenance and a seal. A file found damaged is set aside, so that its cell counts as not stored.
What a table holds is in `schemas`; what Dagster asks for is in `io_managers`; how files are opened in `parquet_files`.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from edp_assets.seal import SealError
from edp_assets.storage.cells import (
    ASIDE,
    Cell,
    DamagedError,
    LakeError,
    Location,
    MissingError,
    cell_of,
    cell_path,
    fetch,
    said,
    set_aside,
    stored_files,
)
from edp_assets.storage.parquet_files import UNREADABLE, damage, open_file, read_footer, read_footers, read_table
from edp_assets.storage.piece_files import PieceFiles
from edp_assets.storage.stored import Exclusion, Stored, Together, write_exclusions, write_small
from edp_assets.storage.table_files import Provenance, TableWriter, notes_of, provenance_of
from edp_assets.storage.unchanged import Unchanged

log = logging.getLogger(__name__)

__all__ = [
    "Cell",
    "DamagedError",
    "Exclusion",
    "LakeError",
    "Provenance",
    "Stored",
    "Together",
    "cell_of",
    "cell_path",
]  # also found here, with what they are used with

ROW_GROUP = 65_536
FEW = 16

_PROVENANCES = Unchanged[Provenance | None]()
"""The provenance of files that were read before: a run asks for that of each some ten times."""


class Lake:
    """Parquet files under one root."""

    def __init__(self, root: Location, scratch: Path | None = None) -> None:
        """Open a lake.

        Args:
            root: its folder, or its prefix in an object store.
            scratch: a local folder for files that are being written, which a lake in an object store needs.
        """
        self.root = root
        self.scratch = root if isinstance(root, Path) else scratch
        if self.scratch is None:
            raise LakeError(f"{root} is no folder: a lake there needs a local folder for files that are being written")

    def folder(self, asset: tuple[str, ...]) -> Location:
        """Return the asset's folder."""
        return self.root.joinpath(*asset)

    def path(self, asset: tuple[str, ...], cell: Cell) -> Location:
        """Return the file of one partition."""
        return cell_path(self.folder(asset), cell) / "part.parquet"

    def beside(self, asset: tuple[str, ...], cell: Cell, table: str) -> Location:
        """Return the file of a small table that is kept beside one partition."""
        return self.path(asset, cell).with_name(f"{table}.parquet")

    def cells(self, asset: tuple[str, ...], table: str = "part") -> list[Cell]:
        """Return the stored partitions of an asset, sorted; or those that have a small table of this name beside."""
        return list(stored_files(self.folder(asset), f"{table}.parquet"))

    def set_aside(self, asset: tuple[str, ...]) -> list[Cell]:
        """Return the cells that are not stored because their file was damaged and set aside."""
        there = stored_files(self.folder(asset), f"part.parquet{ASIDE}")
        return [cell for cell in there if not self.path(asset, cell).exists()]

    def _work(self, asset: tuple[str, ...], cell: Cell) -> Path:
        """Return the local folder in which a partition is written."""
        assert self.scratch is not None  # noqa: S101
        return cell_path(self.scratch.joinpath(*asset), cell)

    def write(self, asset: tuple[str, ...], cell: Cell, table: str, stored: Stored, inputs: str) -> Provenance:
        """Store one partition atomically: rows checked against the table's schema, exclusions, notes, provenance.

        The content hash is of the rows alone, so that a rebuild with the same result is seen to be the same.
        """
        pieces = PieceFiles(self._work(asset, cell), table, inputs)
        if isinstance(stored.frames, pl.DataFrame):
            with self._writer(asset, cell, table) as writer:
                writer.add(stored.frames)
                self._finish(writer, stored, inputs)
        else:
            if callable(stored.frames):
                stored.frames = pieces.made(stored.frames)
            self.write_together(asset, [cell], table, Together.of(stored), [inputs])
            pieces.remove()
        assert stored.provenance is not None  # noqa: S101
        return stored.provenance

    def write_together(
        self, asset: tuple[str, ...], cells: Sequence[Cell], table: str, together: Together, inputs: Sequence[str]
    ) -> None:
        """Store partitions that are made in one go, each as `write` does; none is in its place before all are made."""
        threads = os.cpu_count() or 1
        with ExitStack() as stack:
            writers = [stack.enter_context(self._writer(asset, cell, table)) for cell in cells]
            pool = stack.enter_context(ThreadPoolExecutor(threads))
            adding: dict[int, Future[None]] = {}
            for place, frame in together.frames:
                # Rows of one file go in one after another, and few frames wait to be written.
                if place in adding:
                    adding.pop(place).result()
                elif len(adding) >= 2 * threads:
                    adding.pop(next(iter(adding))).result()
                adding[place] = pool.submit(writers[place].add, frame)
            for future in adding.values():
                future.result()
            list(pool.map(self._finish, writers, together.members, inputs))

    def _writer(self, asset: tuple[str, ...], cell: Cell, table: str) -> TableWriter:
        return TableWriter(self.path(asset, cell), table, self._work(asset, cell))

    def _finish(self, writer: TableWriter, stored: Stored, inputs: str) -> None:
        """Bring a written partition into its place."""
        stored.provenance, stored.path = writer.finish(inputs, stored.notes), writer.path
        # What lies beside goes first: once the rows are in place the partition counts as done.
        for table, frame in stored.beside.items():
            place = writer.path.with_name(f"{table}.parquet")
            write_small(place, table, frame, stored.provenance.version, writer.scratch, {})
        write_exclusions(writer.path.with_name("excluded.parquet"), stored.excluded, writer.scratch)
        writer.replace()

    def write_beside(
        self,
        asset: tuple[str, ...],
        cell: Cell,
        table: str,
        frame: pl.DataFrame,
        inputs: str,
        notes: dict[str, Any] | None = None,
    ) -> None:
        """Store a small table beside one partition, atomically; `inputs` says what it was made from."""
        write_small(self.beside(asset, cell, table), table, frame, inputs, self._work(asset, cell), notes or {})

    def remove_beside(self, asset: tuple[str, ...], cell: Cell, table: str) -> None:
        """Remove a small table beside one partition, where it is there."""
        self.beside(asset, cell, table).unlink(missing_ok=True)

    def notes_beside(self, asset: tuple[str, ...], cell: Cell, table: str) -> dict[str, Any]:
        """Return what was noted in a small table beside one partition, whatever it was made from."""
        path = self.beside(asset, cell, table)
        try:
            return notes_of(path)
        except FileNotFoundError:
            return {}
        except UNREADABLE:
            if damage(path) is None:
                raise
            return {}

    def read_beside(self, asset: tuple[str, ...], cell: Cell, table: str, inputs: str) -> pl.DataFrame | None:
        """Read a small table beside one partition; None where it is absent, damaged, or made from other inputs."""
        path = self.beside(asset, cell, table)
        try:
            found = provenance_of(read_footer(path))
            return pl.DataFrame(read_table(path)) if found and found.inputs == inputs else None
        except FileNotFoundError:
            return None
        except UNREADABLE:
            if damage(path) is None:
                raise
            return None

    def read_stored(self, asset: tuple[str, ...], cell: Cell, table: str) -> pl.DataFrame | None:
        """Read a table beside a partition, whatever it was made from; None where it is absent.

        Raises:
            DamagedError: it is damaged; where no check makes it again, its partition is set aside with it.
        """
        path = self.beside(asset, cell, table)
        try:
            return pl.DataFrame(read_table(path))
        except FileNotFoundError:
            return None
        except UNREADABLE as error:
            why = damage(path)
            if why is None:
                raise
            if table == "excluded":
                set_aside(self.path(asset, cell))
            raise self._damaged(asset, cell, path, why) from error

    def provenance(self, asset: tuple[str, ...], cell: Cell) -> Provenance | None:
        """Return a stored partition's provenance; None where it is absent or its file is damaged."""
        return self.provenances(asset, [cell]).get(cell)

    def provenances(self, asset: tuple[str, ...], cells: Iterable[Cell] | None = None) -> dict[Cell, Provenance]:
        """Return the provenance of those of an asset's cells (by default of all) that are stored.

        A file whose footer is damaged is set aside: its cell counts as not stored.
        """
        wanted = None if cells is None else set(cells)
        if wanted is not None and len(wanted) <= FEW:
            files = {cell: self.path(asset, cell) for cell in wanted}
        else:  # one listing, not a question for each
            files = stored_files(self.folder(asset), "part.parquet")
            files = {cell: path for cell, path in files.items() if wanted is None or cell in wanted}
        found = {}
        for (cell, path), provenance in zip(files.items(), _provenances(list(files.values())), strict=True):
            if isinstance(provenance, FileNotFoundError):
                continue
            if isinstance(provenance, SealError):
                log.warning("%s", self._damaged(asset, cell, path, str(provenance)))
            elif isinstance(provenance, Exception):
                raise provenance
            elif provenance is not None:
                found[cell] = provenance
        return found

    def notes(self, asset: tuple[str, ...], cell: Cell) -> dict[str, Any]:
        """Return what a stored partition's stage noted in its file; nothing where it noted nothing."""
        with self.reading(asset, cell) as path:
            return notes_of(path)

    def read(self, asset: tuple[str, ...], cell: Cell, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Read one partition, or some of its columns.

        Raises:
            LakeError: it is absent.
            DamagedError: it is damaged.
        """
        with self.reading(asset, cell) as path:
            return pl.DataFrame(read_table(path, columns))

    @contextmanager
    def reading(self, asset: tuple[str, ...], cell: Cell) -> Iterator[Location]:
        """Give the file of a partition to be read within; what fails because it is damaged says so.

        Raises:
            LakeError: it is absent.
            DamagedError: it is damaged; it has been set aside.
        """
        path = self.path(asset, cell)
        try:
            yield path
        except FileNotFoundError:
            if path.with_name(path.name + ASIDE).exists():
                raise DamagedError(asset, cell, path, "found when it was read") from None
            raise MissingError(f"{path} is not there: materialise {said(asset, cell)} first") from None
        except UNREADABLE as error:
            why = damage(path)
            if why is None:  # whatever it was, it was not the file
                raise
            raise self._damaged(asset, cell, path, why) from error

    @contextmanager
    def local_file(self, asset: tuple[str, ...], cell: Cell) -> Iterator[Path]:
        """Give a partition as a local file that was read to its end and found undamaged, for what cannot check it.

        Raises:
            LakeError, DamagedError: as `reading`.
        """
        with self.reading(asset, cell) as path:
            if (why := damage(path)) is not None:
                raise SealError(why)
        if isinstance(path, Path):
            yield path
            return
        copy = self._work(asset, cell) / f".part.{os.getpid()}.{uuid.uuid4().hex[:8]}.copy.tmp"
        try:
            fetch(path, copy)
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    def _damaged(self, asset: tuple[str, ...], cell: Cell, path: Location, why: str) -> DamagedError:
        set_aside(path)
        return DamagedError(asset, cell, path, why)

    def parquet_file(self, asset: tuple[str, ...], cell: Cell, table: str = "part") -> pq.ParquetFile:
        """Open a partition's file, or a small table beside it; raises FileNotFoundError where it is not there."""
        return open_file(self.beside(asset, cell, table), pre_buffer=False)

    def batches(
        self, asset: tuple[str, ...], cell: Cell, rows: int = ROW_GROUP, *, skip: int = 0
    ) -> Iterator[pl.DataFrame]:
        """Yield one partition in frames of at most `rows` rows, with bounded memory, from the row `skip` on."""
        waiting: list[pl.DataFrame] = []
        for frame in self._row_groups(asset, cell, rows, skip):
            if waiting and sum(part.height for part in waiting) + frame.height > rows:
                yield pl.concat(waiting)
                waiting = []
            waiting.append(frame)
        if waiting:
            yield pl.concat(waiting)

    def _row_groups(self, asset: tuple[str, ...], cell: Cell, rows: int, skip: int) -> Iterator[pl.DataFrame]:
        with self.reading(asset, cell) as path, open_file(path) as file:
            for group in range(file.num_row_groups):
                there = file.metadata.row_group(group).num_rows
                if skip >= there:
                    skip -= there  # passed over unread
                    continue
                for batch in file.iter_batches(batch_size=rows, row_groups=[group]):
                    frame = pl.DataFrame(pa.Table.from_batches([batch]))
                    if skip < frame.height:
                        yield frame.slice(skip)
                    skip = max(0, skip - frame.height)


def _provenances(paths: Sequence[Location]) -> list[Provenance | Exception | None]:
    """Return what files were made from (None where one does not say), or why that cannot be read."""
    if paths and not isinstance(paths[0], Path):
        return [each if isinstance(each, Exception) else provenance_of(each) for each in read_footers(paths)]
    found: list[Provenance | Exception | None] = []
    for path in paths:
        try:
            found.append(_PROVENANCES.of(path, _provenance))
        except (OSError, SealError) as error:
            found.append(error)
    return found


def _provenance(path: Location) -> Provenance | None:
    return provenance_of(read_footer(path))
