"""Few-shot phenotypes: whose label is kept, what is compared with what, and which one is drawn."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from edp_assets.assets.few_shot import few_shot_comparison, few_shot_edp_scores, few_shot_phenotype_models, strongest
from edp_assets.assets.stage import REGISTRY, StageRun
from edp_assets.science.phenotypes.few_shot import keep_labels
from edp_assets.settings import Settings
from edp_assets.storage.lake import Lake, Stored, cell_of
from edp_assets.storage.schemas import conform, empty
from edp_assets.storage.upstream import Partition

CLUSTER = pl.Int32
CELL = cell_of({"organ": "liver", "icd10": "K76"})
LABEL = {"encoder": "mae", "organ": "liver", "icd10": "K76"}
N = 150
EIDS = [f"{i:03d}" for i in range(N)]
ILL, INSIDE = np.arange(N) % 5 == 0, np.arange(N) % 3 == 0
Z = np.random.default_rng(0).normal(size=(N, 4)) + ILL[:, None] * [2.0, 0, 0, 0]


def run_of(name: str) -> StageRun:
    settings = Settings.from_toml({"few_shot": {"fraction": 0.5, "seed": 3}, "classifier": {"folds": 3}})
    return StageRun(
        CELL, REGISTRY["mae", name].spec, SimpleNamespace(settings=settings, cohort=SimpleNamespace(genes_unknown=""))
    )


def phenotypes(*rows: tuple[str, int | None, dict[str, Any]], table: str) -> pl.DataFrame:
    made = [{**LABEL, "method": method, "cluster": cluster, **more} for method, cluster, more in rows]
    return pl.DataFrame(made, schema=empty(table).schema)


def test_few_shot_phenotype_models__are_of_the_selected_and_of_the_labels_kept() -> None:
    selection = phenotypes(
        ("classifier", None, {"selected": True}),
        ("clustering", 0, {"selected": False}),
        ("clustering", 1, {"selected": True}),
        ("island", 0, {"selected": True}),
        table="phenotype_selection",
    )
    columns = {"encoder": "mae", "organ": "liver", "eid": EIDS, "z": Z.tolist(), "adjustment": "none"}
    embeddings = conform(pl.DataFrame(columns), "adjusted_embeddings")
    clusters = pl.DataFrame({"eid": EIDS, "cluster": INSIDE.astype(np.int32)})
    cases = pl.DataFrame({"icd10": "K76", "eid": [*np.array(EIDS)[ILL], "not imaged"]})
    run = run_of("few_shot_phenotype_models")
    stored = few_shot_phenotype_models(run, selection, embeddings, clusters, cases)
    models = conform(stored.frames, "few_shot_phenotype_models")
    kept = np.zeros(N, dtype=bool)
    kept[ILL] = keep_labels(np.array(EIDS)[ILL].tolist(), 0.5, 3)  # of those who are imaged
    # A label that is not kept counts as none.
    assert models.select("method", "cluster", "cases", "controls").rows() == [
        ("classifier", None, 15, N - 15),
        ("clustering", 1, (kept & INSIDE).sum(), (~kept & INSIDE).sum()),
        ("island", 0, 15, N - 15),
    ]
    assert models["failure"].is_null().to_list() == [True, True, False]
    scores = few_shot_edp_scores(run_of("few_shot_edp_scores"), models, embeddings)
    assert scores.metadata["not_made"].startswith("islands are found by their labels")
    of_cluster = conform(scores.frames, "few_shot_edp_scores").filter(method="clustering")
    assert (of_cluster["label_used"].to_numpy() == (kept & INSIDE)).all()
    unit = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    assert of_cluster.filter("label_used")["score"].mean() < of_cluster["score"].mean()
    assert np.corrcoef(of_cluster["score"], unit @ Z[kept & INSIDE].mean(axis=0))[0, 1] < -0.9


def scores_of(table: str, columns: dict[str, np.ndarray]) -> pl.DataFrame:
    """Return the scores of a classifier and of cluster 1, people of the few-shot ones in another order."""
    frames = [
        pl.DataFrame({**LABEL, "method": method, "cluster": cluster, "eid": EIDS, "score": columns[method],
                      "label_used": False}, schema_overrides={"cluster": CLUSTER})
        for method, cluster in (("classifier", None), ("clustering", 1))
    ]  # fmt: skip
    frame = conform(pl.concat(frames), table)
    return frame.reverse() if table.startswith("few") else frame


def gwas_of(lake: Lake, name: str, values: dict[str, list[float]]) -> Partition:
    """Store statistics of variants of which two share their place, few-shot ones in another order."""
    variants = [("1", 10, "A", "G"), ("1", 10, "A", "T"), ("2", 10, "A", "G"), ("2", 20, "A", "G"), ("2", 30, "A", "G")]
    rows = [
        {**LABEL, "method": method, "cluster": cluster, "chromosome": c, "base_pair_location": at, "effect_allele": a,
         "other_allele": b, "effect_allele_frequency": 0.3, "beta": 0.1, "standard_error": 0.1, "rsid": "rs1",
         "neg_log_10_p_value": p, "n": N}
        for method, cluster in (("classifier", None), ("clustering", 1))
        for (c, at, a, b), p in zip(variants, values[method], strict=False)
    ]  # fmt: skip
    rows = rows[::-1] if name.startswith("few") else rows
    lake.write(("mae", name), CELL, name, Stored(pl.DataFrame(rows, schema=empty(name).schema)), "")
    return Partition(lake, ("mae", name), CELL)


def genes_of(*rows: tuple[str, int | None, str | None]) -> pl.DataFrame:
    schema = {"method": pl.String, "cluster": CLUSTER, "gene": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_few_shot_comparison__is_of_each_phenotype_with_its_own(tmp_path: Path) -> None:
    kept = {"cases": 6, "controls": 1}
    models = phenotypes(
        ("classifier", None, kept),
        ("clustering", 1, {"cases": 2, "controls": 1}),
        ("island", 0, {**kept, "failure": "islands are found by their labels"}),
        table="few_shot_phenotype_models",
    )
    selection = phenotypes(
        ("classifier", None, {"cases": 30}),
        ("clustering", 0, {"cases": 11}),
        ("clustering", 1, {"cases": 9}),
        ("island", 0, {"cases": 7}),
        table="phenotype_selection",
    )
    genes = genes_of(*(("classifier", None, gene) for gene in ("A", "B", "C", None)), ("clustering", 1, "D"))
    few_genes = genes_of(*(("classifier", None, gene) for gene in ("B", "C", None)), ("clustering", 0, "D"))
    full = {"classifier": Z[:, 0], "clustering": Z[:, 1]}
    few = {"classifier": Z[:, 0] + Z[:, 2], "clustering": Z[:, 1] - 2 * Z[:, 3]}
    full_p = {"classifier": [1.0, 9, 3, 2, 5], "clustering": [4.0, 1, 2, 3]}
    few_p = {"classifier": [2.0, 5, 1, 4], "clustering": [1.0, 2, 8, 1]}  # one variant fewer
    lake = Lake(tmp_path / "lake")
    stored = few_shot_comparison(
        run_of("few_shot_comparison"), selection, models, scores_of("edp_scores", full),
        scores_of("few_shot_edp_scores", few), gwas_of(lake, "gwas_summary_stats", full_p),
        gwas_of(lake, "few_shot_gwas_summary_stats", few_p), genes, few_genes,
    )  # fmt: skip
    found = conform(stored.frames, "few_shot_comparison")
    counts = ["method", "cluster", "cases", "cases_kept", "genes", "genes_few_shot", "genes_both"]
    assert found.select(counts).rows() == [
        ("classifier", None, 30, 6, 3, 2, 2), ("clustering", 1, 9, 2, 1, 0, 0), ("island", 0, 7, 6, 0, 0, 0)
    ]  # fmt: skip
    for row, method in enumerate(full):
        assert found["pearson_r_score"][row] == pytest.approx(np.corrcoef(full[method], few[method])[0, 1])
        r = np.corrcoef(full_p[method][:4], few_p[method])[0, 1]
        assert found["pearson_r_neg_log_10_p"][row] == pytest.approx(r)
    assert found.row(2, named=True)["pearson_r_score"] is None
    assert found["reason"].is_null().to_list() == [True, True, False]


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
