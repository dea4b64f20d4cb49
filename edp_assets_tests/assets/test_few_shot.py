"""Which few-shot phenotypes are drawn."""

from __future__ import annotations

import polars as pl

from edp_assets.assets.few_shot import SHOWN, strongest

CLUSTER = pl.Int32


def test_strongest__are_those_whose_genes_are_hit_most_clearly_and_none_that_was_not_made() -> None:
    models = pl.DataFrame(
        {
            "method": ["classifier", *["clustering"] * 4],
            "cluster": pl.Series([None, 0, 1, 2, 3], dtype=CLUSTER),
            "failure": [None, None, None, "too few cases", None],
        },
        schema_overrides={"failure": pl.String},
    )
    hits = pl.DataFrame(
        {
            "method": ["clustering", "clustering", "classifier", "clustering"],
            "cluster": pl.Series([3, 3, None, 2], dtype=CLUSTER),
            "neg_log_10_p_value": [8.0, 30.0, 9.0, 50.0],
        }
    )
    # Then the first of those without a gene.
    assert strongest(models, hits) == {("classifier", None), ("clustering", 3), ("clustering", 0)}
    assert len(strongest(models, hits.clear())) == SHOWN == 3
