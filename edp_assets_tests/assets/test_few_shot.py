"""Which few-shot phenotype is drawn, and what of its genes is counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from edp_assets.assets.few_shot import few_shot_comparison, strongest
from edp_assets.settings import Settings
from edp_assets.storage.schemas import conform, empty

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


@pytest.mark.parametrize(("unknown", "genes"), [("", (1, 0, 0)), ("no table of genes", (None, None, None))])
def test_few_shot_comparison__counts_genes_only_where_they_are_known(unknown: str, genes: tuple[int | None]) -> None:
    label = {"encoder": "mae", "organ": "liver", "icd10": "K76", "method": "classifier", "cluster": None}
    cohort = SimpleNamespace(genes_unknown=unknown)
    run: Any = SimpleNamespace(workspace=SimpleNamespace(settings=Settings(), cohort=cohort))

    def table(name: str, **more: Any) -> pl.DataFrame:
        schema = empty(name).schema
        row = {**dict.fromkeys(schema), **label, **more}
        return pl.DataFrame([row], schema=schema)

    hits, none, not_read = table("gene_hits", gene="PNPLA3"), empty("few_shot_gene_hits"), empty("edp_scores")
    selection = table("phenotype_selection", cases=9, selected=True)
    models = table("few_shot_phenotype_models", cases=2, failure="too few cases")
    nothing: Any = None  # a phenotype that was not made has no GWAS
    made = few_shot_comparison(run, selection, models, not_read, not_read, nothing, nothing, hits, none)
    found = conform(made.frames, "few_shot_comparison")
    columns = ["genes", "genes_few_shot", "genes_both", "reason", "genes_reason"]
    assert found.select(columns).row(0) == (*genes, "too few cases", unknown or None)
