"""The Parquet lake: one file a partition, `lake/<asset>/icd10=I21/organ=heart/part.parquet`.

Files are written beside their place and moved there whole; the footer of each carries its provenance. What a table
holds is in `schemas`; what Dagster asks for is in `io_managers`.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from edp_assets.storage.piece_files import PieceFiles, Pieces
from edp_assets.storage.schemas import polars_schema
from edp_assets.storage.table_files import NOTES, PROVENANCE, Frame, Provenance, TableWriter

Cell = tuple[tuple[str, str], ...]
"""A partition: (dimension, key) pairs sorted by dimension; empty for an asset without partitions."""

ROW_GROUP = 65_536


class LakeError(RuntimeError):
    """A file of the lake is missing or cannot be read."""


@dataclass(frozen=True)
class Exclusion:
    """One participant, scan or code that a stage left out (a row of the table `excluded`)."""

    eid: str | None
    organ: str | None
    stage: str
    reason: str


@dataclass
class Stored:
    """What an asset hands over to be stored.

    `frames` is the rows, or an iterator that makes them; such an iterator may go on filling `excluded`, `metadata` and
    `notes` until it ends. Metadata is for Dagster's UI; notes are kept in the file, for what is made from it. Tables
    `beside` are kept in files of their own, for whoever makes the partition again (`read_beside` with its version).
    """

    frames: pl.DataFrame | Iterable[Frame] | Pieces
    excluded: list[Exclusion] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, pl.DataFrame] = field(default_factory=dict)
    provenance: Provenance | None = None
    path: Path | None = None


@dataclass
class Together:
    """Partitions that are made in one go: what each leaves, and (place of the partition, its rows) as they come."""

    members: list[Stored]
    frames: Iterable[tuple[int, Frame]]

    @classmethod
    def of(cls, stored: Stored) -> Together:
        """Return one partition as what is made in one go."""
        assert not callable(stored.frames)  # noqa: S101
        frames = [stored.frames] if isinstance(stored.frames, pl.DataFrame) else stored.frames
        return cls([stored], ((0, frame) for frame in frames))


def cell_of(dimensions: Mapping[str, str]) -> Cell:
    """Return the cell of a dimension -> key mapping."""
    return tuple(sorted(dimensions.items()))


def folder_name(key: str) -> str:
    """Return a key as the name of a folder."""
    # quote() leaves dots as they are, and a folder name of dots alone would climb.
    return quote(key, safe="").replace(".", "%2E")


def cell_path(folder: Path, cell: Cell) -> Path:
    """Return the cell's folder; keys are percent-encoded, so that none can climb out of the lake or hide."""
    for dimension, key in cell:
        folder = folder / f"{dimension}={folder_name(key)}"
    return folder


class Lake:
    """Parquet files under one root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, asset: tuple[str, ...]) -> Path:
        """Return the asset's folder."""
        return self.root.joinpath(*asset)

    def path(self, asset: tuple[str, ...], cell: Cell) -> Path:
        """Return the file of one partition."""
        return cell_path(self.folder(asset), cell) / "part.parquet"

    def beside(self, asset: tuple[str, ...], cell: Cell, table: str) -> Path:
        """Return the file of a small table that is kept beside one partition."""
        return self.path(asset, cell).with_name(f"{table}.parquet")

    def cells(self, asset: tuple[str, ...]) -> list[Cell]:
        """Return the stored partitions of an asset, sorted."""
        folder = self.folder(asset)
        found = []
        for file in folder.glob("**/part.parquet"):
            parts = [part.split("=", 1) for part in file.parent.relative_to(folder).parts]
            if all(len(part) == 2 for part in parts):
                found.append(tuple((name, unquote(key)) for name, key in parts))
        return sorted(found)

    def write(self, asset: tuple[str, ...], cell: Cell, table: str, stored: Stored, inputs: str) -> Provenance:
        """Store one partition atomically: rows checked against the table's schema, exclusions, notes, provenance.

        The content hash is of the rows alone, so that a rebuild with the same result is seen to be the same.
        """
        pieces = PieceFiles(self.path(asset, cell).parent, table, inputs)
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
            writers = [stack.enter_context(TableWriter(self.path(asset, cell), table)) for cell in cells]
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
            list(pool.map(_finish, writers, together.members, inputs))

    def write_beside(self, asset: tuple[str, ...], cell: Cell, table: str, frame: pl.DataFrame, inputs: str) -> None:
        """Store a small table beside one partition, atomically; `inputs` says what it was made from."""
        _write_beside(self.beside(asset, cell, table), table, frame, inputs)

    def read_beside(self, asset: tuple[str, ...], cell: Cell, table: str, inputs: str) -> pl.DataFrame | None:
        """Read a small table beside one partition; None where it is absent, damaged, or made from other inputs."""
        path = self.beside(asset, cell, table)
        found = _provenance(path)
        return pl.DataFrame(pq.read_table(path, partitioning=None)) if found and found.inputs == inputs else None

    def provenance(self, asset: tuple[str, ...], cell: Cell) -> Provenance | None:
        """Return a stored partition's provenance; None where it is absent or its file is damaged."""
        return _provenance(self.path(asset, cell))

    def notes(self, asset: tuple[str, ...], cell: Cell) -> dict[str, Any]:
        """Return what a stored partition's stage noted in its file; nothing where it noted nothing."""
        return notes_of(self.path(asset, cell))

    def read(self, asset: tuple[str, ...], cell: Cell) -> pl.DataFrame:
        """Read one partition whole.

        Raises:
            LakeError: it is absent or damaged.
        """
        path = self.path(asset, cell)
        try:
            return pl.DataFrame(pq.read_table(path, partitioning=None))
        except FileNotFoundError:
            raise LakeError(f"{path} is not there: materialise {'/'.join(asset)} {dict(cell)} first") from None
        except (pa.ArrowInvalid, OSError) as error:
            raise LakeError(f"{path} is damaged ({error}): delete it and run again to rebuild it") from None

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
        with pq.ParquetFile(self.path(asset, cell)) as file:
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


def _finish(writer: TableWriter, stored: Stored, inputs: str) -> None:
    """Bring a written partition into its place."""
    stored.provenance, stored.path = writer.finish(inputs, stored.notes), writer.path
    # What lies beside goes first: once the rows are in place the partition counts as done.
    for table, frame in stored.beside.items():
        _write_beside(writer.path.with_name(f"{table}.parquet"), table, frame, stored.provenance.version)
    _write_exclusions(writer.path.with_name("excluded.parquet"), stored.excluded)
    writer.replace()


def _write_exclusions(path: Path, excluded: Sequence[Exclusion]) -> None:
    if not excluded:
        path.unlink(missing_ok=True)
        return
    rows = [asdict(exclusion) for exclusion in excluded]
    _write_beside(path, "excluded", pl.DataFrame(rows, schema=polars_schema("excluded")), "")


def _write_beside(path: Path, table: str, frame: pl.DataFrame, inputs: str) -> None:
    with TableWriter(path, table) as writer:
        writer.add(frame)
        writer.finish(inputs, {})
        writer.replace()


def notes_of(path: Path) -> dict[str, Any]:
    """Return what was noted in a file of the lake; nothing where nothing was."""
    metadata = pq.read_metadata(path).metadata or {}
    return dict(json.loads(metadata[NOTES])) if NOTES in metadata else {}


def _provenance(path: Path) -> Provenance | None:
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (FileNotFoundError, pa.ArrowInvalid, OSError):
        return None
    return Provenance.from_json(metadata[PROVENANCE]) if PROVENANCE in metadata else None


@dataclass(frozen=True)
class Partition:
    """One stored partition of an upstream asset, too large to be read whole."""

    lake: Lake
    asset: tuple[str, ...]
    cell: Cell

    @property
    def rows(self) -> int:
        """How many rows it has."""
        found = self.lake.provenance(self.asset, self.cell)
        return 0 if found is None else found.rows

    def batches(self, rows: int, *, skip: int = 0) -> Iterator[pl.DataFrame]:
        """Yield it in frames of at most `rows` rows, from the row `skip` on."""
        return self.lake.batches(self.asset, self.cell, rows, skip=skip)

    def stream(self, columns: Iterable[str], rows: int = ROW_GROUP) -> Iterator[pl.DataFrame]:
        """Yield some of its columns in frames of at most `rows` rows, in bounded memory whatever its row groups are."""
        # Buffered ahead, Arrow would hold the columns of the whole file.
        with pq.ParquetFile(self.lake.path(self.asset, self.cell), pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=rows, columns=list(columns)):
                yield pl.DataFrame(pa.Table.from_batches([batch]))

    def rows_of(self, eids: Iterable[str]) -> Iterator[pl.DataFrame]:
        """Yield the rows of some people, in their order, a frame a row group; groups without any are passed over."""
        wanted = set(eids)
        with pq.ParquetFile(self.lake.path(self.asset, self.cell)) as file:
            for group in range(file.num_row_groups):
                there = wanted.intersection(file.read_row_group(group, columns=["eid"])["eid"].to_pylist())
                if there:
                    yield pl.DataFrame(file.read_row_group(group)).filter(pl.col("eid").is_in(list(there)))

    def beside(self, table: str) -> pl.DataFrame | None:
        """Read a small table that was stored with it; None where there is none of this very content."""
        version = self.version
        return None if version is None else self.lake.read_beside(self.asset, self.cell, table, version)

    def sample(self, rows: int, seed: int) -> Iterator[pl.DataFrame]:
        """Yield whole row groups at random, in their order, until they hold at least `rows` rows, or all there are."""
        with pq.ParquetFile(self.lake.path(self.asset, self.cell)) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            chosen, held = [], 0
            for group in np.random.default_rng(seed).permutation(len(sizes)):
                if held < rows:
                    chosen.append(int(group))
                    held += sizes[group]
            for group in sorted(chosen):
                yield pl.DataFrame(file.read_row_group(group))

    @property
    def notes(self) -> dict[str, Any]:
        """What its stage noted in its file."""
        return self.lake.notes(self.asset, self.cell)

    @property
    def version(self) -> str | None:
        """The hash of its content; None where it is not stored."""
        provenance = self.lake.provenance(self.asset, self.cell)
        return None if provenance is None else provenance.version

    def columns(self, *names: str) -> pl.DataFrame:
        """Read some of its columns."""
        return pl.DataFrame(
            pq.read_table(self.lake.path(self.asset, self.cell), columns=list(names), partitioning=None)
        )

    def scan(self) -> pl.LazyFrame:
        """Return it as a lazy frame."""
        return pl.scan_parquet(self.lake.path(self.asset, self.cell), hive_partitioning=False)


class Partitions(Mapping[Cell, pl.DataFrame]):
    """The stored partitions of one upstream asset, read when asked for; the last few are kept in memory."""

    KEPT = 4

    def __init__(self, lake: Lake, asset: tuple[str, ...], cells: Iterable[Cell]) -> None:
        self.lake, self.asset = lake, asset
        self._cells = sorted(cells)
        self._kept: OrderedDict[Cell, pl.DataFrame] = OrderedDict()

    def __getitem__(self, cell: Cell) -> pl.DataFrame:
        if cell not in self._kept:
            self._kept[cell] = self.lake.read(self.asset, cell)
            if len(self._kept) > self.KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(cell)
        return self._kept[cell]

    def __iter__(self) -> Iterator[Cell]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)

    def matching(self, cell: Cell) -> Partitions:
        """Return the partitions that agree with the cell on the dimensions that both have."""
        wanted = dict(cell)
        kept = [c for c in self._cells if all(wanted.get(name, key) == key for name, key in c)]
        return Partitions(self.lake, self.asset, kept)

    def stored(self) -> list[Cell]:
        """Return those of the cells that are there; the others have not been materialised."""
        return [cell for cell in self._cells if self.lake.path(self.asset, cell).exists()]

    def partition(self, cell: Cell) -> Partition:
        """Return one partition unread."""
        return Partition(self.lake, self.asset, cell)
