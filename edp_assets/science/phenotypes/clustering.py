"""Clustering-guided score (paper, sections 3.2 and 4): a code's enrichment in clusters, score. No selection."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from edp_assets.science.phenotypes.errors import PhenotypeError, checked_embeddings, checked_mask, unit_rows

TIE_TOLERANCE = 1e-7
"""Tables whose probabilities differ by less than this share count as equally likely (R's fisher.test)."""


def fisher_enrichment(clusters: NDArray[np.integer], cases: NDArray[np.bool_]) -> pl.DataFrame:
    """Test whether a code's cases gather in each cluster, by Fisher's exact test, two-sided (paper, section 4).

    Args:
        clusters: (n_participants,) cluster labels.
        cases: (n_participants,) True for cases.

    Returns:
        One row a cluster, in label order: cluster, cases and controls (of the cohort), cases_in_cluster, cluster_size,
        percentage (share of the cluster that are cases, x 100), odds_ratio (sample; infinite where every case or no
        control is inside), p_fisher and neg_log_10_p_fisher (which does not underflow).

    Raises:
        PhenotypeError: nobody or everybody is a case, or the arrays do not match.
    """
    clusters = np.asarray(clusters)
    cases = checked_mask(cases, clusters.size)
    n_cases, n = int(cases.sum()), len(cases)
    if n_cases in (0, n):
        raise PhenotypeError("no cases" if n_cases == 0 else "no controls")
    labels, codes = np.unique(clusters, return_inverse=True)
    sizes = np.bincount(codes)
    inside = np.bincount(codes, weights=cases).astype(np.int64)
    a, b = inside, sizes - inside  # cases and controls inside the cluster
    c, d = n_cases - a, n - n_cases - b  # and outside
    with np.errstate(divide="ignore", invalid="ignore"):
        odds_ratio = (a * d) / (b * c)
    log_p = np.array([_log_fisher(int(k), n_cases, int(size), n) for k, size in zip(inside, sizes, strict=True)])
    return pl.DataFrame(
        {
            "cluster": labels.astype(np.int64),
            "cases": np.full(len(labels), n_cases),
            "controls": np.full(len(labels), n - n_cases),
            "cases_in_cluster": inside,
            "cluster_size": sizes.astype(np.int64),
            "percentage": 100.0 * inside / sizes,
            "odds_ratio": odds_ratio,
            "p_fisher": np.exp(log_p),
            "neg_log_10_p_fisher": np.abs(log_p) / np.log(10),
        }
    )


def clustering_direction(z: NDArray, positives: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean embedding of the positives, scaled to norm one (n_dims,).

    Raises:
        PhenotypeError: no positives, NaN, or a mean of norm zero.
    """
    z = checked_embeddings(z)
    positives = checked_mask(positives, len(z), "positives")
    if not positives.any():
        raise PhenotypeError("no cases in the cluster")
    return unit_rows(z[positives].mean(axis=0, keepdims=True))[0]


def clustering_score(z: NDArray, positives: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return 1 - cosine similarity of everybody to the mean embedding of the positives (paper, section 4).

    It is a distance: those like the positives score low.

    Args:
        z: (n_participants, n_dims).
        positives: (n_participants,) True for the code's cases within one cluster.

    Raises:
        PhenotypeError: no positives, NaN, or an embedding of norm zero.
    """
    return cosine_distance(z, clustering_direction(z, positives))


def cosine_distance(z: NDArray, direction: NDArray) -> NDArray[np.float64]:
    """Return 1 - cosine similarity of each embedding (n_participants, n_dims) to a direction (n_dims,) of any length.

    Raises:
        PhenotypeError: NaN, or an embedding or direction of norm zero.
    """
    unit = unit_rows(checked_embeddings(np.asarray(direction)[None]))[0]
    return 1.0 - unit_rows(checked_embeddings(z)) @ unit


def _log_fisher(k: int, n_cases: int, size: int, n: int) -> float:
    """Return the log of Fisher's two-sided p: all tables no likelier than the one with `k` cases in the cluster.

    Kept in logs, where scipy.stats.fisher_exact underflows to 0 (strong enrichment in a biobank does).
    """
    from scipy.special import gammaln, logsumexp

    def log_choose(total: int, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        return gammaln(total + 1) - gammaln(chosen + 1) - gammaln(total - chosen + 1)

    lowest = max(0, n_cases + size - n)
    possible = np.arange(lowest, min(n_cases, size) + 1)
    log_pmf = log_choose(n_cases, possible) + log_choose(n - n_cases, size - possible)
    log_pmf -= logsumexp(log_pmf)
    return min(0.0, float(logsumexp(log_pmf[log_pmf <= log_pmf[k - lowest] + TIE_TOLERANCE])))
