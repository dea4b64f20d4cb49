"""A code's candidate phenotypes in one organ: the rows of `phenotype_models`, and what the codes of an organ share."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from edp_assets.assets.encoders import matrix
from edp_assets.settings import ClassifierSettings, IslandSettings, Settings

if TYPE_CHECKING:
    from edp_assets.science.phenotypes.classifier import OrganClassifier
    from edp_assets.science.phenotypes.islands import NeighbourGraph


class PreparedOrgan:
    """One organ's embeddings as a matrix, and what its codes share, prepared once it is asked for."""

    def __init__(self, embeddings: pl.DataFrame, classifier: ClassifierSettings, island: IslandSettings) -> None:
        self.embeddings, self.settings = embeddings, (classifier, island)
        self.z = matrix(embeddings)

    @cached_property
    def classifier(self) -> OrganClassifier:
        """The classifier, its folds and moments made."""
        from edp_assets.science.phenotypes.classifier import OrganClassifier

        s = self.settings[0]
        return OrganClassifier(self.z, s.folds, smote_neighbours=s.smote_neighbours, smote=s.smote, seed=s.seed)

    @cached_property
    def neighbour_graph(self) -> NeighbourGraph:
        """Who is within reach of whom, for islands."""
        from edp_assets.science.phenotypes.islands import neighbour_graph

        s = self.settings[1]
        return neighbour_graph(self.z, neighbours=s.neighbours, seed=s.seed)


_last_organ: list[PreparedOrgan] = []
"""The organ worked on last, or none: the cells of one organ come one after another and share its preparation."""


def prepared_organ(embeddings: pl.DataFrame, settings: Settings) -> PreparedOrgan:
    """Return the prepared organ of this very frame and these settings; another one is let go before."""
    used = settings.classifier, settings.island
    for organ in _last_organ:
        if organ.embeddings is embeddings and organ.settings == used:
            return organ
    _last_organ.clear()
    organ = PreparedOrgan(embeddings, *used)
    _last_organ[:] = [organ]
    return organ


def classifier_row(organ: PreparedOrgan, cases: np.ndarray) -> dict[str, Any]:
    """Return a code's classifier with its evidence, or why there is none."""
    from edp_assets.science.phenotypes.errors import PhenotypeError

    row: dict[str, Any] = {"method": "classifier", "cases": int(cases.sum()), "controls": int((~cases).sum())}
    try:
        fit = organ.classifier.score(cases)
    except PhenotypeError as error:
        return {**row, "failure": str(error)}
    return {
        **row,
        "roc_auc": fit.roc_auc,
        "roc_auc_out_of_fold": fit.roc_auc_out_of_fold,
        "neg_log_10_p_rank_sum": fit.neg_log_10_p_rank_sum,
        "penalty": fit.penalty,
        "weights": fit.weights.tolist(),
        "label_used": bits(fit.trained_on),
        "cross_fitted": fit.out_of_fold.tolist() if organ.settings[0].score == "cross_fitted" else None,
    }


def bits(members: np.ndarray) -> bytes:
    """Return a boolean a participant as bits, in the order of the embeddings."""
    return np.packbits(members).tobytes()


def cluster_rows(z: np.ndarray, cases: np.ndarray, clusters: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the code's phenotype of each cluster, with its enrichment."""
    from edp_assets.science.phenotypes.clustering import fisher_enrichment

    labels = clusters["cluster"].to_numpy()
    # Without cases or without controls there is nothing to test; the classifier's row says so.
    enrichment = fisher_enrichment(labels, cases) if 0 < cases.sum() < len(cases) else pl.DataFrame()
    return [
        {**cluster_row(z, cases & (labels == found["cluster"]), found["cluster"]), **_enrichment(found)}
        for found in enrichment.iter_rows(named=True)
    ]


def _enrichment(found: dict[str, Any]) -> dict[str, Any]:
    """Return what Fisher's test says of the code among the people of one cluster or island."""
    shared = {name: found[name] for name in ("odds_ratio", "neg_log_10_p_fisher", "percentage")}
    return {"controls": found["cluster_size"] - found["cases_in_cluster"], **shared}


def cluster_row(z: np.ndarray, positives: np.ndarray, cluster: int, place: str = "cluster") -> dict[str, Any]:
    """Return the model of a code's cases (n_participants,) in one cluster or island: whom it is of, its direction."""
    from edp_assets.science.phenotypes.clustering import clustering_direction

    return {
        "method": {"cluster": "clustering", "island": "island"}[place],
        "cluster": cluster,
        "cases": int(positives.sum()),
        "weights": clustering_direction(z, positives).tolist() if positives.any() else None,
        "failure": None if positives.any() else f"no case in the {place}",
        "label_used": bits(positives),
    }


def island_rows(organ: PreparedOrgan, cases: np.ndarray) -> list[dict[str, Any]]:
    """Return the code's islands, the best first, or why there is none."""
    from edp_assets.science.phenotypes.clustering import fisher_enrichment
    from edp_assets.science.phenotypes.errors import PhenotypeError
    from edp_assets.science.phenotypes.islands import find_islands

    settings = organ.settings[1]
    if not settings.max_islands:
        return []
    counts = {"cases": int(cases.sum()), "controls": int((~cases).sum())}
    try:
        found = find_islands(
            organ.neighbour_graph,
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
    rows = []
    for number, island in enumerate(found):
        inside = np.zeros(len(cases), dtype=bool)
        inside[island.members] = True
        evidence = fisher_enrichment(inside.astype(np.int64), cases).filter(cluster=1).row(0, named=True)
        row = cluster_row(organ.z, cases & inside, number, "island")
        rows.append({**row, **_enrichment(evidence), "p_permutation": island.p_permutation})
    return rows
