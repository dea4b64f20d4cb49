"""What a score goes with: correlations with measures and covariates, and how well it tells a code's cases apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tracked:
    """How scores go with variables, each (n_scores, n_variables).

    Attributes:
        pearson_r: NaN where one of the two does not vary among those who have both.
        n: people who have both.
    """

    pearson_r: NDArray[np.float64]
    n: NDArray[np.int64]


def correlations(scores: NDArray[np.floating], variables: NDArray[np.floating]) -> Tracked:
    """Correlate scores (n_participants, n_scores) with variables (n_participants, n_variables), NaN where missing."""
    scores, variables = np.asarray(scores, np.float64), np.asarray(variables, np.float64)
    if scores.ndim != 2 or variables.ndim != 2 or len(scores) != len(variables):
        raise ValueError(
            f"wanted scores (n, k) and variables (n, m) of the same people; {scores.shape}, {variables.shape}"
        )
    if not np.isfinite(scores).all():
        raise ValueError("wanted scores without gaps, found missing or infinite values")
    missing = ~np.isfinite(variables)
    r = np.full((scores.shape[1], variables.shape[1]), np.nan)
    # Columns that the same people lack go together: mostly there are few such groups.
    patterns, group = np.unique(missing, axis=1, return_inverse=True)
    for k, lacking in enumerate(patterns.T):
        columns, there = np.flatnonzero(group.ravel() == k), ~lacking
        if there.sum() > 1:
            r[:, columns] = _standardised(scores[there]).T @ _standardised(variables[there][:, columns])
    return Tracked(r, np.broadcast_to((~missing).sum(axis=0), r.shape))


def _standardised(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return columns centred, of length 1; NaN where one does not vary."""
    centred = columns - columns.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    varies = length > 1e-10 * np.maximum(np.linalg.norm(columns, axis=0), 1e-300)
    return centred / np.where(varies, length, np.nan)


def roc_aucs(scores: NDArray[np.floating], cases: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the ROC-AUC of each score for each code: that a case scores higher than another person, ties half.

    Args:
        scores: (n_participants, n_scores).
        cases: (n_participants, n_codes).

    Returns:
        (n_scores, n_codes); NaN where a code has no case, or nobody else.
    """
    from scipy.stats import rankdata

    ranks = rankdata(scores, axis=0)
    n, n_cases = len(cases), cases.sum(axis=0).astype(np.float64)
    above = ranks.T @ cases.astype(np.float64) - n_cases * (n_cases + 1) / 2
    pairs = n_cases * (n - n_cases)
    return above / np.where(pairs > 0, pairs, np.nan)
