"""Fisher's discriminant from moments, and how well a score ranks cases: linear algebra and ranks. No folds, no SMOTE.

The discriminant needs only each class's count, mean and scatter, and these add and subtract: the moments of a training
part are those of everybody less those of the held-out part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edp_assets.science.phenotypes.errors import PhenotypeError

PENALTIES = np.logspace(-4, 3, 15)
"""Penalties tried, as multiples of the mean within-class variance; at the largest, w is the difference of the means."""


@dataclass(frozen=True)
class Moments:
    """Count, sum (n_dims,) and raw second moment (n_dims, n_dims) of some participants; they add and subtract."""

    count: int
    total: NDArray[np.float64]
    outer: NDArray[np.float64]

    @classmethod
    def of(cls, z: NDArray) -> Moments:
        """Return the moments of the rows of `z` (n_participants, n_dims), products in its own precision."""
        return cls(len(z), z.sum(axis=0, dtype=np.float64), (z.T @ z).astype(np.float64, copy=False))

    @classmethod
    def none(cls, n_dims: int) -> Moments:
        """Return the moments of nobody."""
        return cls(0, np.zeros(n_dims), np.zeros((n_dims, n_dims)))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.outer + other.outer)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.count - other.count, self.total - other.total, self.outer - other.outer)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean (n_dims,)."""
        return self.total / self.count

    @property
    def scatter(self) -> NDArray[np.float64]:
        """Sum of squares and products about the mean (n_dims, n_dims)."""
        return self.outer - np.outer(self.total, self.mean)

    def of_projection(self, w: NDArray[np.float64]) -> tuple[float, float]:
        """Return mean and standard deviation of the scores that these people have on `w` (n_dims,)."""
        mean = float(self.mean @ w)
        variance = float(w @ self.outer @ w) / self.count - mean**2
        return mean, float(np.sqrt(max(variance, 0.0)))


def fisher_direction(small: Moments, large: Moments, penalty: float) -> NDArray[np.float64]:
    """Return Fisher's w (n_dims,), from the larger class towards the smaller one, for one penalty: one Cholesky.

    w = (S_w / n + penalty * tr(S_w / n) / d * I)^-1 (m_small - m_large): what maximises (m_p - m_n)^2 / (s_p^2 + s_n^2)
    (paper, section 3.1) with |w|^2 penalised.

    Args:
        small: moments of the smaller class.
        large: moments of the larger class.
        penalty: multiple of the mean within-class variance.

    Raises:
        PhenotypeError: no variation within the classes.
    """
    from scipy.linalg import cho_factor, cho_solve

    within, variance = _within(small, large)
    within[np.diag_indices_from(within)] += penalty * variance
    return cho_solve(cho_factor(within, lower=True, overwrite_a=True, check_finite=False), small.mean - large.mean)


def fisher_directions(small: Moments, large: Moments, penalties: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `fisher_direction` for every penalty (n_dims, n_penalties), for the price of about one.

    S_w = Q T Q' with T tridiagonal (Householder) leaves a tridiagonal system a penalty; an eigendecomposition, which
    would make these diagonal, costs thrice as much.
    """
    from scipy.linalg import lapack

    if len(small.total) < 3:
        return np.stack([fisher_direction(small, large, float(penalty)) for penalty in penalties], axis=1)
    within, variance = _within(small, large)
    shift = small.mean - large.mean
    reduced, diagonal, off_diagonal, tau, _ = lapack.dsytrd(within, lower=1, lwork=32 * len(within), overwrite_a=1)
    reflectors = np.asfortranarray(reduced[1:, :-1])

    def rotate(columns: NDArray[np.float64], transpose: str) -> NDArray[np.float64]:
        turned = np.array(columns, order="F")
        turned[1:] = lapack.dormqr("L", transpose, reflectors, tau, turned[1:], 32 * turned.shape[1])[0]
        return turned

    rotated = rotate(shift[:, None], "T")
    solved = np.empty((len(shift), len(penalties)))
    for column, penalty in enumerate(penalties):
        _, _, x, info = lapack.dptsv(diagonal + penalty * variance, off_diagonal, rotated)
        if info:  # a penalty below rounding of a singular scatter
            return np.stack([fisher_direction(small, large, float(p)) for p in penalties], axis=1)
        solved[:, column] = x[:, 0]
    return rotate(solved, "N")


def _within(small: Moments, large: Moments) -> tuple[NDArray[np.float64], float]:
    """Return the pooled within-class covariance (n_dims, n_dims), writable, and its mean variance."""
    within = small.scatter
    within += large.scatter
    within /= small.count + large.count
    variance = float(np.trace(within)) / len(within)
    raw = float(np.trace(small.outer) + np.trace(large.outer)) / (small.count + large.count) / len(within)
    if not variance > 1e-6 * raw:  # what float32 leaves of nothing
        raise PhenotypeError("the embeddings do not vary within cases and controls")
    return within, variance


def auc_of_sorted(cases: NDArray, controls: NDArray) -> float:
    """Return the ROC-AUC of cases' scores (n_cases,) against controls' sorted scores (n_controls,); ties count half."""
    below = np.searchsorted(controls, cases, side="left").sum()
    not_above = np.searchsorted(controls, cases, side="right").sum()
    return float(below + not_above) / (2 * len(cases) * len(controls))


def roc_auc(scores: NDArray[np.float64], cases: NDArray[np.bool_]) -> float:
    """Return the ROC-AUC of `scores` (n_participants,) for `cases` (n_participants,); ties count half."""
    return auc_of_sorted(np.sort(scores[cases]), np.sort(scores[~cases]))


def rank_sum_z(auc: NDArray[np.float64] | float, n_cases: int, n_controls: int) -> NDArray[np.float64]:
    """Return the Wilcoxon rank-sum statistic of a ROC-AUC: standard normal where labels are drawn at random.

    The normal approximation of scipy.stats.ranksums, without a correction for ties.
    """
    return (np.asarray(auc) - 0.5) * np.sqrt(12.0 * n_cases * n_controls / (n_cases + n_controls + 1))


def two_sided_p(z: float) -> tuple[float, float]:
    """Return the two-sided p of a standard normal statistic, which may underflow, and its -log10, which does not."""
    from scipy.stats import norm

    log_p = np.log(2) + float(norm.logsf(abs(z)))
    return float(np.exp(log_p)), max(0.0, float(-log_p / np.log(10)))
