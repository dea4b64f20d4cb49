"""What a stage is handed of an asset above it: its stored partitions, read when asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from edp_assets.storage.cells import Cell
from edp_assets.storage.lake import ROW_GROUP, Lake
from edp_assets.storage.parquet_files import open_file


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
        with self.lake.reading(self.asset, self.cell) as path, open_file(path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=rows, columns=list(columns)):
                yield pl.DataFrame(pa.Table.from_batches([batch]))

    def rows_of(self, eids: Iterable[str]) -> Iterator[pl.DataFrame]:
        """Yield the rows of some people, in their order, a frame a row group; groups without any are passed over."""
        wanted = set(eids)
        with self.lake.reading(self.asset, self.cell) as path, open_file(path) as file:
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
        with self.lake.reading(self.asset, self.cell) as path, open_file(path) as file:
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
        return self.lake.read(self.asset, self.cell, names)

    def scan(self) -> pl.LazyFrame:
        """Return it as a lazy frame: of a file read to its end and found undamaged, as polars does not look."""
        if not isinstance(self.lake.root, Path):
            return self.lake.read(self.asset, self.cell).lazy()
        with self.lake.local_file(self.asset, self.cell) as path:
            return pl.scan_parquet(path, hive_partitioning=False)


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

    def filled(self) -> tuple[list[Partition], int]:
        """Return the partitions that have rows, unread, and how many more are there without any."""
        there = {cell: self.lake.provenance(self.asset, cell) for cell in self._cells}
        rows = {cell: found.rows for cell, found in there.items() if found is not None}
        filled = [self.partition(cell) for cell, number in rows.items() if number]
        return filled, len(rows) - len(filled)

    def partition(self, cell: Cell) -> Partition:
        """Return one partition unread."""
        return Partition(self.lake, self.asset, cell)
