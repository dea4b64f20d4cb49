"""Packs: all slices of an organ in one flat file, read shuffled in training; crops are kept for good elsewhere.

A pack holds slices tight, not padded to the encoder's square: a UK Biobank liver is about 2.7 million slices, 110 GB
padded. Within a scan it runs slice, channel, row, column, so that a slice, and a run of slices, is one contiguous
read. The file is the voxels, then an index of 32 bytes a scan, then a JSON header and its length.

Read with `pread`, not memory-mapped: pages of a mapped file count as the process's memory, which would then grow with
the cohort; and a read waits without holding the interpreter.
"""

from __future__ import annotations

import json
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edp_assets.science.imaging.slices import fit, subvolume_spans

T = TypeVar("T")
PACK_FORMAT = "edp_assets.pack/1"
AHEAD = 3
_LENGTH_BYTES = 8
_END = object()


class Items(Protocol):
    """What training reads: uint8 items of one shape, by number, in any order."""

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of an item."""

    @property
    def version(self) -> str:
        """Changes when the content does."""

    def __len__(self) -> int: ...

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the items of these numbers, (n_rows, *item_shape)."""


@dataclass(frozen=True)
class Pack:
    """A written pack.

    Attributes:
        path: the file.
        version: what the writer said that the content is.
        channels: of every slice.
        resolution: edge of the square that every slice fits in, pixels.
        index: int64 (n_scans, 4): offset in bytes, slices, rows, columns of each scan, in the order written.
    """

    path: Path
    version: str
    channels: int
    resolution: int
    index: NDArray[np.int64]

    @property
    def slices(self) -> int:
        """Slices of all scans."""
        return int(self.index[:, 1].sum())

    def items(self, item_shape: tuple[int, ...]) -> PackItems:
        """Return the pack as slices (channels, resolution, resolution) or subvolumes (channels, frames, ...)."""
        return PackItems(self, item_shape)


class PackItems:
    """The items of a pack, zero-padded as `science.imaging.slices.cut` gives them, read from the file when asked."""

    def __init__(self, pack: Pack, item_shape: tuple[int, ...]) -> None:
        if item_shape[0] != pack.channels or item_shape[-2:] != (pack.resolution, pack.resolution):
            raise ValueError(
                f"{pack.path}: wanted items of shape {item_shape}, found slices of {pack.channels} channels at "
                f"resolution {pack.resolution}; write the pack again with the encoder's settings"
            )
        self.pack, self.item_shape, self.version = pack, item_shape, pack.version
        self._frames = item_shape[1] if len(item_shape) == 4 else 1
        self._first = np.concatenate([[0], np.cumsum(-(-pack.index[:, 1] // self._frames))])
        self._file = os.open(pack.path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)

    def __len__(self) -> int:
        return int(self._first[-1])

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the items of these numbers, (n_rows, *item_shape)."""
        out = np.zeros((len(rows), *self.item_shape), dtype=np.uint8)
        scans = np.searchsorted(self._first, rows, side="right") - 1
        for item, scan, within in zip(out, scans, rows - self._first[scans], strict=True):
            offset, n_slices, height, width = (int(value) for value in self.pack.index[scan])
            spans = subvolume_spans(n_slices, self._frames) if self._frames > 1 else None
            first, last, at = spans[within] if spans else (int(within), int(within) + 1, 0)
            size = self.pack.channels * height * width
            data = os.pread(self._file, (last - first) * size, offset + first * size)
            if len(data) != (last - first) * size:
                raise ValueError(f"{self.pack.path}: the file ends within scan {scan}; delete it and train again")
            image = np.frombuffer(data, np.uint8).reshape(last - first, self.pack.channels, height, width)
            top, left = (self.pack.resolution - height) // 2, (self.pack.resolution - width) // 2
            target = item if spans else item[:, None]
            target[:, at : at + last - first, top : top + height, left : left + width] = image.swapaxes(0, 1)
        return out


@dataclass(frozen=True)
class ArrayItems:
    """Items already in memory, uint8 (n_items, *item_shape)."""

    array: NDArray[np.uint8]
    version: str

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of an item."""
        return self.array.shape[1:]

    def __len__(self) -> int:
        return len(self.array)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the items of these numbers, (n_rows, *item_shape)."""
        return self.array[rows]


def write_pack(path: Path, crops: Iterable[NDArray[np.uint8]], resolution: int, version: str) -> Pack:
    """Write crops (n_channels, n_slices, n_rows, n_columns) as they come; the file appears whole or not at all.

    Args:
        path: of the pack.
        crops: one a scan, all with as many channels; those larger than the resolution are shrunk.
        resolution: edge of the encoder's square, pixels.
        version: names the content, such as a hash of the stored crops.

    Raises:
        ValueError: no crop at all, or crops of different numbers of channels.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        rows, channels = _write_crops(temporary, crops, resolution, version)
        temporary.replace(path)
    finally:  # of 100 GB nothing stays where the disk was full
        temporary.unlink(missing_ok=True)
    return Pack(path, version, channels, resolution, rows)


def _write_crops(
    temporary: Path, crops: Iterable[NDArray[np.uint8]], resolution: int, version: str
) -> tuple[NDArray[np.int64], int]:
    """Write the crops, the index and the header; return the index and the number of channels."""
    index: list[tuple[int, int, int, int]] = []
    offset, channels = 0, 0
    with temporary.open("wb") as file:
        for number, crop in enumerate(crops):
            fitted = fit(crop, resolution)
            channels = channels or len(fitted)
            if len(fitted) != channels:
                raise ValueError(f"wanted crops of {channels} channels, found {len(fitted)} in crop {number}")
            file.write(np.ascontiguousarray(fitted.swapaxes(0, 1)).data)
            index.append((offset, *fitted.shape[1:]))
            offset += fitted.size
        if not index:
            raise ValueError("wanted at least one crop to train an encoder on, found none")
        rows = np.array(index, dtype=np.int64)
        header = {"format": PACK_FORMAT, "version": version, "channels": channels, "resolution": resolution}
        text = json.dumps({**header, "scans": len(rows)}).encode()
        file.write(rows.tobytes() + text + len(text).to_bytes(_LENGTH_BYTES, "little"))
        file.flush()
        os.fsync(file.fileno())
    return rows, channels


def open_pack(path: Path) -> Pack:
    """Open a pack that `write_pack` wrote; raises ValueError where the file is none."""
    try:
        with path.open("rb") as file:
            end = file.seek(-_LENGTH_BYTES, os.SEEK_END)
            length = int.from_bytes(file.read(), "little")
            file.seek(end - length)
            header = json.loads(file.read(length))
            if header.pop("format") != PACK_FORMAT:
                raise KeyError("format")
            bytes_of_index = 32 * header.pop("scans")
            file.seek(end - length - bytes_of_index)
            index = np.frombuffer(file.read(bytes_of_index), np.int64).reshape(-1, 4)
        return Pack(path, index=index, **header)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: wanted a file of format {PACK_FORMAT}, found '{error}'; write it again") from None


def ensure_pack(path: Path, crops: Callable[[], Iterable[NDArray[np.uint8]]], resolution: int, version: str) -> Pack:
    """Open the pack if it holds this version at this resolution, else write it: a resumed run need not write again."""
    try:
        pack = open_pack(path)
    except ValueError:
        return write_pack(path, crops(), resolution, version)
    if (pack.version, pack.resolution) == (version, resolution):
        return pack
    return write_pack(path, crops(), resolution, version)


def ahead(source: Iterable[T], depth: int = AHEAD) -> Iterator[T]:
    """Yield what the source yields, drawn by one background thread, at most `depth` beyond what was asked for."""
    iterator = iter(source)
    pool = ThreadPoolExecutor(1)
    try:
        waiting = deque(pool.submit(next, iterator, _END) for _ in range(depth))
        while (found := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, iterator, _END))
            yield found  # type: ignore[misc]
    finally:
        pool.shutdown(cancel_futures=True)
