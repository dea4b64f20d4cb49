"""From embeddings and labels to embedding-derived phenotypes (EDPs): models, selection, scores, organ by ICD-10."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from edp_assets.assets import cohort
from edp_assets.assets.encoders import ENCODERS, EncoderStages, matrix
from edp_assets.assets.stage import Stage, StageRun, stage
from edp_assets.settings import ClassifierSettings, IslandSettings
from edp_assets.storage.lake import Stored
from edp_assets.storage.schemas import empty

if TYPE_CHECKING:
    from edp_assets.science.phenotypes.islands import NeighbourGraph

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
    z = matrix(adjusted_embeddings)
    cases = adjusted_embeddings["eid"].is_in(icd10_cases["eid"].implode()).to_numpy()
    label = {"encoder": run.encoder, "organ": run["organ"], "icd10": run["icd10"]}
    settings = run.workspace.settings
    rows = [
        _classifier_row(z, cases, settings.classifier),
        *_cluster_rows(z, cases, clusters),
        *_island_rows(z, cases, settings.island),
    ]
    frame = pl.DataFrame([{**label, **row} for row in rows], schema=empty("phenotype_models").schema)
    return Stored(frame, metadata={"cases": int(cases.sum()), "candidates": len(rows)})


def _classifier_row(z: np.ndarray, cases: np.ndarray, settings: ClassifierSettings) -> dict[str, Any]:
    from edp_assets.science.phenotypes.classifier import classifier_score
    from edp_assets.science.phenotypes.errors import PhenotypeError

    row: dict[str, Any] = {"method": "classifier", "cases": int(cases.sum()), "controls": int((~cases).sum())}
    try:
        fit = classifier_score(
            z, cases, folds=settings.folds, smote_neighbours=settings.smote_neighbours, seed=settings.seed
        )
    except PhenotypeError as error:
        return {**row, "failure": str(error)}
    return {
        **row,
        "roc_auc": fit.roc_auc,
        "roc_auc_out_of_fold": fit.roc_auc_out_of_fold,
        "neg_log_10_p_rank_sum": fit.neg_log_10_p_rank_sum,
        "penalty": fit.penalty,
        "weights": fit.weights.tolist(),
    }


def _cluster_rows(z: np.ndarray, cases: np.ndarray, clusters: pl.DataFrame) -> list[dict[str, Any]]:
    from edp_assets.science.phenotypes.clustering import clustering_direction, fisher_enrichment

    labels = clusters["cluster"].to_numpy()
    rows: list[dict[str, Any]] = []
    # Without cases or without controls there is nothing to test; the classifier's row says so.
    enrichment = fisher_enrichment(labels, cases) if 0 < cases.sum() < len(cases) else pl.DataFrame()
    for found in enrichment.iter_rows(named=True):
        positives = cases & (labels == found["cluster"])
        rows.append(
            {
                "method": "clustering",
                "cluster": found["cluster"],
                "cases": found["cases_in_cluster"],
                "controls": found["cluster_size"] - found["cases_in_cluster"],
                "odds_ratio": found["odds_ratio"],
                "neg_log_10_p_fisher": found["neg_log_10_p_fisher"],
                "percentage": found["percentage"],
                "weights": clustering_direction(z, positives).tolist() if positives.any() else None,
                "failure": None if positives.any() else "no case in the cluster",
            }
        )
    return rows


def _island_rows(z: np.ndarray, cases: np.ndarray, settings: IslandSettings) -> list[dict[str, Any]]:
    from edp_assets.science.phenotypes.clustering import clustering_direction, fisher_enrichment
    from edp_assets.science.phenotypes.errors import PhenotypeError
    from edp_assets.science.phenotypes.islands import find_islands

    if not settings.max_islands:
        return []
    counts = {"cases": int(cases.sum()), "controls": int((~cases).sum())}
    try:
        found = find_islands(
            _neighbour_graph(z, settings),
            cases,
            max_islands=settings.max_islands,
            permutations=settings.permutations,
            max_p=settings.max_p,
            seed=settings.seed,
        )
    except PhenotypeError as error:
        return [{"method": "island", **counts, "failure": str(error)}]
    if not found:
        return [{"method": "island", **counts, "failure": "no island: no case is near anybody"}]
    rows: list[dict[str, Any]] = []
    for number, island in enumerate(found):
        inside = np.zeros(len(cases), dtype=bool)
        inside[island.members] = True
        evidence = fisher_enrichment(inside.astype(np.int64), cases).filter(cluster=1).row(0, named=True)
        rows.append(
            {
                "method": "island",
                "cluster": number,
                "cases": evidence["cases_in_cluster"],
                "controls": evidence["cluster_size"] - evidence["cases_in_cluster"],
                "odds_ratio": evidence["odds_ratio"],
                "neg_log_10_p_fisher": evidence["neg_log_10_p_fisher"],
                "percentage": evidence["percentage"],
                "p_permutation": island.p_permutation,
                "weights": clustering_direction(z, cases & inside).tolist() if (cases & inside).any() else None,
                "failure": None if (cases & inside).any() else "no case in the island",
            }
        )
    return rows


_GRAPH: dict[bytes, NeighbourGraph] = {}
"""The neighbour graph of the last organ: cells of one organ come one after another, and labels do not touch it."""


def _neighbour_graph(z: np.ndarray, settings: IslandSettings) -> NeighbourGraph:
    from edp_assets.science.phenotypes.islands import neighbour_graph

    told = f"{z.shape} {settings.neighbours} {settings.seed}".encode()
    key = hashlib.sha256(np.ascontiguousarray(z).tobytes() + told).digest()
    if key not in _GRAPH:
        _GRAPH.clear()
        _GRAPH[key] = neighbour_graph(z, neighbours=settings.neighbours, seed=settings.seed)
    return _GRAPH[key]


def phenotype_selection(run: StageRun, phenotype_models: pl.DataFrame) -> Stored:
    """Which candidates go on to a GWAS, and why the others do not."""
    from edp_assets.science.phenotypes.selection import select_classifier, select_cluster, select_island

    settings = run.workspace.settings
    decided = []
    for model in phenotype_models.iter_rows(named=True):
        if model["failure"] is not None:
            decided.append((False, model["failure"]))
        elif model["method"] == "classifier":
            evidence = model["roc_auc_out_of_fold"], model["neg_log_10_p_rank_sum"]
            decided.append(select_classifier(*evidence, settings.classifier))
        elif model["method"] == "island":
            decided.append(select_island(model["cases"], model["odds_ratio"], model["p_permutation"], settings.island))
        else:
            decided.append(
                select_cluster(model["cases"], model["odds_ratio"], model["neg_log_10_p_fisher"], settings.clustering)
            )
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
    from edp_assets.science.phenotypes.clustering import cosine_distance

    selected = phenotype_selection.filter("selected").select("method", "cluster")
    models = phenotype_models.join(selected, on=["method", "cluster"], how="semi", nulls_equal=True)
    z = matrix(adjusted_embeddings)
    frames = [empty("edp_scores")]
    for model in models.iter_rows(named=True):
        weights = np.array(model["weights"])
        score = z @ weights if model["method"] == "classifier" else cosine_distance(z, weights)
        label = {name: model[name] for name in ("encoder", "organ", "icd10", "method", "cluster")}
        frames.append(
            pl.DataFrame({"eid": adjusted_embeddings["eid"], "score": score}).with_columns(**_literals(label))
        )
    return Stored(pl.concat(frames, how="diagonal_relaxed"), metadata={"phenotypes": models.height})


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
        kinds={"scikitlearn", "parquet"},
    )(phenotype_models)
    selection = stage(
        f"{name}/phenotype_selection",
        **options,
        table="phenotype_selection",
        inputs={"phenotype_models": models},
        settings=("classifier", "clustering", "island"),
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
