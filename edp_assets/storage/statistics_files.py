"""Summary statistics of `edp gwas`: a Parquet file a phenotype in a folder of the user's, written beside its place.

The lake's files, with their provenance, are `lake.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import polars as pl
import pyarrow.parquet as pq

from edp_assets.storage.columns import VARIANT_STATISTICS

SCHEMA = {
    name: pl.Float64 if column.dtype == pl.Float32 else column.dtype for name, column in VARIANT_STATISTICS.items()
}
"""Columns and types: in full precision, as a user's few phenotypes are no matter of disk."""

_BUFFER_ROWS = 2_000_000  # of all phenotypes together that wait to be written: some 100 MB
_ROW_GROUP = 65_536
_FEW_VALUES = ["chromosome", "effect_allele", "other_allele", "n", "cases", "controls"]


def statistics_path(folder: Path, phenotype: str) -> Path:
    """Return a phenotype's file; its name is percent-encoded, so that none can climb out of the folder or hide."""
    return folder / f"{quote(phenotype, safe='').replace('.', '%2E')}.parquet"


class StatisticsFiles:
    """Files that are filled side by side, and moved to their places whole when all of it went well (`with`)."""

    def __init__(self, folder: Path, phenotypes: Mapping[str, Mapping[str, int]]) -> None:
        """Begin the files; the folder is made where it is not there.

        Args:
            folder: where they come to lie.
            phenotypes: what is the same in all rows of each: n; of a binary one also cases and controls.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._constants = phenotypes
        self.paths = {name: statistics_path(folder, name) for name in phenotypes}
        self.rows = dict.fromkeys(phenotypes, 0)
        self._temporary = {name: path.with_name(f".{path.name}.{os.getpid()}.tmp") for name, path in self.paths.items()}
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._waiting: dict[str, list[pl.DataFrame]] = {name: [] for name in phenotypes}
        self._at_once = max(256, min(_ROW_GROUP, _BUFFER_ROWS // max(len(phenotypes), 1)))

    def __enter__(self) -> StatisticsFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                for name in self.paths:
                    if name not in self._writers:  # a file of no rows is one, too
                        self.add(name, pl.DataFrame(schema=SCHEMA).drop(self._constants[name], strict=False))
                    self._write(name)
            for writer in self._writers.values():
                writer.close()
            if error is None:
                for name, path in self.paths.items():
                    self._temporary[name].replace(path)
        finally:
            for temporary in self._temporary.values():
                temporary.unlink(missing_ok=True)

    def add(self, phenotype: str, frame: pl.DataFrame) -> None:
        """Add rows: the columns of `SCHEMA` but those that are the same in all."""
        constants = self._constants[phenotype]
        types = {**SCHEMA, **dict.fromkeys(constants, pl.Int64)}
        whole = frame.with_columns(**{name: pl.lit(value, pl.Int64) for name, value in constants.items()})
        self._waiting[phenotype].append(whole.select([pl.col(name).cast(dtype) for name, dtype in types.items()]))
        self.rows[phenotype] += frame.height
        if sum(part.height for part in self._waiting[phenotype]) >= self._at_once:
            self._write(phenotype)

    def _write(self, phenotype: str) -> None:
        waiting, self._waiting[phenotype] = self._waiting[phenotype], []
        if not waiting:
            return
        table = pl.concat(waiting).to_arrow(compat_level=pl.CompatLevel.oldest())
        if phenotype not in self._writers:
            self._writers[phenotype] = pq.ParquetWriter(
                self._temporary[phenotype],
                table.schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=[name for name in _FEW_VALUES if name in table.column_names],
            )
        self._writers[phenotype].write_table(table, row_group_size=_ROW_GROUP)
