"""From embeddings and labels to embedding-derived phenotypes (EDPs): models, selection, scores, organ by ICD-10."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from edp_assets.assets import cohort
from edp_assets.assets.candidates import PreparedOrgan, classifier_row, cluster_rows, island_rows, prepared_organ
from edp_assets.assets.encoders import ENCODERS, EncoderStages
from edp_assets.assets.stage import Stage, StageRun, stage
from edp_assets.settings import Settings
from edp_assets.storage.lake import Stored
from edp_assets.storage.schemas import empty

CELL = ("organ", "icd10")


@dataclass(frozen=True)
class PhenotypeStages:
    """The stages of one encoder's phenotypes."""

    phenotype_models: Stage
    phenotype_selection: Stage
    edp_scores: Stage


def phenotype_models(
    run: StageRun, adjusted_embeddings: pl.DataFrame, clusters: pl.DataFrame, icd10_cases: pl.DataFrame
) -> Stored:
    """The cell's candidate phenotypes with weights and evidence: the classifier's, one a cluster, one an island."""
    organ = prepared_organ(adjusted_embeddings, run.workspace.settings)
    cases = adjusted_embeddings["eid"].is_in(icd10_cases["eid"].implode()).to_numpy()
    label = {"encoder": run.encoder, "organ": run["organ"], "icd10": run["icd10"]}
    rows = [classifier_row(organ, cases), *cluster_rows(organ.z, cases, clusters), *island_rows(organ, cases)]
    frame = pl.DataFrame([{**label, **row} for row in rows], schema=empty("phenotype_models").schema)
    return Stored(frame, metadata={"cases": int(cases.sum()), "candidates": len(rows)})


def decide(model: Mapping[str, Any], settings: Settings) -> tuple[bool, str]:
    """Return whether a candidate, a row of `phenotype_models`, goes on to a GWAS, and why."""
    from edp_assets.science.phenotypes.selection import select_classifier, select_cluster, select_island

    if model["failure"] is not None:
        return False, str(model["failure"])
    if model["method"] == "classifier":
        return select_classifier(model["roc_auc_out_of_fold"], model["neg_log_10_p_rank_sum"], settings.classifier)
    if model["method"] == "island":
        return select_island(model["cases"], model["odds_ratio"], model["p_permutation"], settings.island)
    return select_cluster(model["cases"], model["odds_ratio"], model["neg_log_10_p_fisher"], settings.clustering)


def phenotype_selection(run: StageRun, phenotype_models: pl.DataFrame) -> Stored:
    """Which candidates go on to a GWAS, and why the others do not."""
    decided = [decide(model, run.workspace.settings) for model in phenotype_models.iter_rows(named=True)]
    frame = phenotype_models.with_columns(
        selected=pl.Series([selected for selected, _ in decided], dtype=pl.Boolean),
        reason=pl.Series([reason for _, reason in decided], dtype=pl.String),
        p_rank_sum=10.0 ** -pl.col("neg_log_10_p_rank_sum"),
        p_fisher=10.0 ** -pl.col("neg_log_10_p_fisher"),
    )
    reasons = frame.filter(~pl.col("selected"))["reason"].unique(maintain_order=True).to_list()
    counts = {"candidates": frame.height, "selected": int(frame["selected"].sum()), "not_selected": "; ".join(reasons)}
    return Stored(frame.select(empty("phenotype_selection").columns), metadata=counts)


def edp_scores(
    run: StageRun,
    phenotype_models: pl.DataFrame,
    phenotype_selection: pl.DataFrame,
    adjusted_embeddings: pl.DataFrame,
) -> Stored:
    """Each selected phenotype of everyone: w'z (classifier), 1 - cosine similarity to the mean case (others)."""
    selected = phenotype_selection.filter("selected").select("method", "cluster")
    models = phenotype_models.join(selected, on=["method", "cluster"], how="semi", nulls_equal=True)
    metadata: dict[str, Any] = {"phenotypes": models.height}
    if not models.height:
        metadata["not_selected"] = "; ".join(phenotype_selection["reason"].unique(maintain_order=True))
    organ = prepared_organ(adjusted_embeddings, run.workspace.settings)
    return Stored(score_frame(models, organ, "edp_scores"), metadata=metadata)


def score_frame(models: pl.DataFrame, organ: PreparedOrgan, table: str) -> pl.DataFrame:
    """Return everyone's score by each model, and whether their own label went into it; a column of the table each."""
    from edp_assets.science.phenotypes.clustering import cosine_distance

    z, eids = organ.z, organ.embeddings["eid"]
    frames = [empty(table)]
    for model in models.iter_rows(named=True):
        weights = np.array(model["weights"])
        used = np.unpackbits(np.frombuffer(model["label_used"], np.uint8), count=len(z)).astype(bool)
        if model["cross_fitted"] is not None:  # everyone by a model that has not seen their label
            score, used = np.array(model["cross_fitted"]), np.zeros(len(z), bool)
        else:
            score = z @ weights if model["method"] == "classifier" else cosine_distance(z, weights)
        label = {name: model[name] for name in ("encoder", "organ", "icd10", "method", "cluster")}
        frame = pl.DataFrame({"eid": eids, "score": score, "label_used": used})
        frames.append(frame.with_columns(**_literals(label)))
    return pl.concat(frames, how="diagonal_relaxed")


def _literals(values: dict[str, Any]) -> dict[str, pl.Expr]:
    return {name: pl.lit(value) for name, value in values.items()}


def phenotype_stages(name: str, above: EncoderStages) -> PhenotypeStages:
    """Define the phenotype stages of one encoder."""
    options: dict[str, Any] = {"group": "phenotypes", "dimensions": CELL}
    adjusted = {"adjusted_embeddings": above.adjusted_embeddings}
    models = stage(
        f"{name}/phenotype_models",
        **options,
        table="phenotype_models",
        inputs={**adjusted, "clusters": above.clusters, "icd10_cases": cohort.icd10_cases},
        settings=("classifier", "clustering", "island"),
        code_version="2",
        kinds={"numpy", "parquet"},
    )(phenotype_models)
    selection = stage(
        f"{name}/phenotype_selection",
        **options,
        table="phenotype_selection",
        inputs={"phenotype_models": models},
        settings=("classifier", "clustering"),
    )(phenotype_selection)
    scores = stage(
        f"{name}/edp_scores",
        **options,
        table="edp_scores",
        inputs={"phenotype_models": models, "phenotype_selection": selection, **adjusted},
    )(edp_scores)
    return PhenotypeStages(models, selection, scores)


PHENOTYPES = {name: phenotype_stages(name, above) for name, above in ENCODERS.items()}
"""The phenotype stages of every encoder."""
