"""Summary statistics as Arrow tables, fast: what the phenotypes of a block of variants share is made once.

The same rows as a polars frame would cost as much as their statistics: seven of the columns are text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from edp_assets.storage.columns import PHENOTYPE, VARIANT_STATISTICS

_SHARED = ("chromosome", "base_pair_location", "effect_allele", "other_allele", "effect_allele_frequency", "rsid")
_OWN = ("beta", "standard_error", "neg_log_10_p_value")


class StatisticsBlock:
    """The variants of a block, ready to be joined with the statistics of one phenotype after another."""

    def __init__(self, variants: pl.DataFrame) -> None:
        """Take a table of variants with the columns of `VARIANT_STATISTICS` that do not depend on the phenotype."""
        self._shared = {name: _arrow(variants[name], VARIANT_STATISTICS[name].dtype) for name in _SHARED}
        self._height = variants.height

    def table(
        self, label: Mapping[str, Any], n: int, statistics: Mapping[str, np.ndarray], rows: np.ndarray | None = None
    ) -> pa.Table:
        """Return one phenotype's rows of `gwas_summary_stats`.

        Args:
            label: the phenotype's key columns.
            n: people analysed.
            statistics: beta, standard_error and neg_log_10_p_value, each (n_variants,).
            rows: which variants to keep, indices; None for all.
        """
        height = self._height if rows is None else len(rows)
        columns = {name: _constant(label[name], height, column.dtype) for name, column in PHENOTYPE.items()}
        shared = self._shared if rows is None else {k: v.take(pa.array(rows)) for k, v in self._shared.items()}
        for name, column in VARIANT_STATISTICS.items():
            if name in shared:
                columns[name] = shared[name]
            elif name == "n":
                columns[name] = pa.array(np.full(height, n, np.int64))
            else:
                values = statistics[name] if rows is None else statistics[name][rows]
                columns[name] = pa.array(values, _TYPES[column.dtype])
        return pa.table(columns)


_TYPES: dict[Any, pa.DataType] = {
    pl.Float64: pa.float64(),
    pl.Float32: pa.float32(),
    pl.Int32: pa.int32(),
    pl.Int64: pa.int64(),
    pl.String: pa.large_string(),
}


def _arrow(series: pl.Series, dtype: Any) -> pa.Array:
    array = series.cast(dtype).to_arrow(compat_level=pl.CompatLevel.oldest())
    return array.dictionary_encode() if dtype == pl.String else array


def _constant(value: Any, height: int, dtype: Any) -> pa.Array:
    if value is None:
        return pa.nulls(height, _TYPES[dtype])
    if dtype == pl.String:
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(height, np.int8)), pa.array([value], _TYPES[dtype]))
    return pa.array(np.full(height, value), _TYPES[dtype])
