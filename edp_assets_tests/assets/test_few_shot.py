"""Which few-shot phenotype is drawn."""

from __future__ import annotations

from typing import Any

import polars as pl

from edp_assets.assets.few_shot import strongest

CLUSTER = pl.Int32


def test_strongest__is_that_whose_genes_are_hit_most_clearly_and_none_that_was_not_made() -> None:
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
    assert told(strongest(models, hits)) == ("clustering", 3)  # 2 was not made
    assert told(strongest(models, hits.filter(pl.col("neg_log_10_p_value") < 30))) == ("classifier", None)
    assert told(strongest(models, hits.clear())) == ("classifier", None)
    assert strongest(models.filter(pl.col("failure").is_not_null()), hits) is None


def told(model: dict[str, Any] | None) -> tuple[str, int | None]:
    assert model is not None
    return model["method"], model["cluster"]
