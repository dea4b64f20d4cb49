"""Whether association statistics are calibrated: lambda GC, and how far chance alone moves it.

Statistics of null phenotypes go in; the associations themselves are made in `regression.py` and its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from edp_assets.science.genetics.covariates import residualise
from edp_assets.science.genetics.tails import z_from_neg_log_10_p
from edp_assets.science.genetics.variant_qc import centre

MEDIAN_Z = float(special.ndtri(0.75))
"""Median of |z|: its square, 0.4549, is the median of chi-squared with one degree of freedom."""

_SLOPE_AT_0 = 4 / np.pi * MEDIAN_Z**2 * np.exp(-(MEDIAN_Z**2))
"""Of k(r^2) in `effective_number`: the second Hermite coefficient of 1(|z| < MEDIAN_Z), squared, over its variance."""


def lambda_gc(neg_log_10_p_value: ArrayLike) -> float:
    """Return the genomic inflation factor: median chi-squared over 0.4549; NaN p-values are left out (all: NaN)."""
    values = np.asarray(neg_log_10_p_value, np.float64)
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan")
    # chi-squared increases with -log10 p, so its median needs one conversion only.
    return float(z_from_neg_log_10_p(np.median(values))) ** 2 / MEDIAN_Z**2


def effective_number(
    genotypes: Iterable[NDArray[np.floating[Any]]],
    Q: NDArray[np.float64] | None = None,
    n_variants: Iterable[int] | None = None,
) -> float:
    """Return how many independent variants move the median statistic as much by chance as these do.

    Meff = M^2 / sum_ij k(r_ij^2), where r is the correlation of two variants less covariates, and k(r^2) that of "below
    the median" of two chi-squared statistics whose z-scores correlate by r; k(0) = 0, k(1) = 1. (The usual k(r^2) = r^2
    is right for the mean statistic, and takes the median to be more variable than it is.) r^2 is corrected for its
    chance value in a sample, r^2 - (1 - r^2) / (n - 2). Matrices count as independent of each other, which
    chromosomes are where Q holds the population's structure (else give all in one matrix).

    Args:
        genotypes: one matrix a chromosome, (n_variants, n_participants) dosages with NaN where missing; constant
            variants are left out. Some thousands of variants a chromosome do, drawn at random.
        Q: (n_participants, n_covariates) from `covariate_basis`; None for the intercept alone.
        n_variants: how many variants each chromosome has, where the matrices hold a random part of them.
    """
    totals = None if n_variants is None else list(n_variants)
    count = overlap = 0.0
    for i, G in enumerate(genotypes):
        here, mean_overlap = _mean_overlap(G, Q)
        m = here if totals is None else float(totals[i])
        count += m
        overlap += m + m * (m - 1) * mean_overlap
    if count == 0:
        raise ValueError("no variant varies: there is no effective number of them")
    return count**2 / max(overlap, count)


def _mean_overlap(G: NDArray[np.floating[Any]], Q: NDArray[np.float64] | None) -> tuple[int, float]:
    """Return the number of variants that vary and the mean of k(r^2) over their pairs."""
    centred, _ = centre(G)
    X = centred.astype(np.float64)
    if Q is not None:
        X = residualise(X.T, Q).T
    length = np.linalg.norm(X, axis=1)
    varies = length > 1e-4 * np.sqrt(X.shape[1])
    X = X[varies] / length[varies, None]
    m, n = X.shape
    if m < 2:
        return m, 0.0
    free = n - (Q.shape[1] if Q is not None else 1)
    total = 0.0
    for start in range(0, m, 1024):
        r2 = np.square(X[start : start + 1024] @ X.T)
        r2 -= (1 - r2) / max(free - 1, 1)
        total += _median_overlap(r2).sum()
    return m, (total - m) / (m * (m - 1))


@cache
def _median_overlap_table(size: int = 400) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Tabulate k(r^2): correlation of 1(|z1| < q) and 1(|z2| < q), q the median of |z|, by r^2.

    P(|z1| < q, |z2| < q) is the mean over z1 of P(|z2| < q | z1), by Gauss-Legendre quadrature over [-q, q].
    """
    r = np.sin(np.linspace(0, np.pi / 2, size))[:-1]  # denser towards 1, where the curve is steep
    nodes, weights = np.polynomial.legendre.leggauss(400)
    z1 = MEDIAN_Z * nodes
    density = np.exp(-z1 * z1 / 2) / np.sqrt(2 * np.pi) * weights * MEDIAN_Z
    spread = np.sqrt(1 - r * r)[:, None]
    inside = special.ndtr((MEDIAN_Z - r[:, None] * z1) / spread) - special.ndtr((-MEDIAN_Z - r[:, None] * z1) / spread)
    return np.append(r * r, 1.0), np.append((inside @ density - 0.25) / 0.25, 1.0)


def _median_overlap(r2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return k(r^2), continued below 0 by its slope there, so that the corrected noise of r^2 = 0 averages to 0."""
    x, k = _median_overlap_table()
    return np.where(r2 < 0, _SLOPE_AT_0 * r2, np.interp(r2, x, k))


def lambda_interval(effective_variants: float, level: float = 0.95) -> tuple[float, float]:
    """Return the interval that lambda GC of a null phenotype falls in with probability `level`.

    The median of m independent p-values is Beta((m + 1) / 2, (m + 1) / 2); its quantiles go through the chi-squared
    quantile function.

    Args:
        effective_variants: from `effective_number`.
        level: probability of the interval, between 0 and 1.
    """
    if not (effective_variants >= 1 and 0 < level < 1):
        raise ValueError(
            f"wanted 1 variant or more and a level between 0 and 1; found {effective_variants:g}, {level:g}"
        )
    a = (effective_variants + 1) / 2
    quantiles = special.betaincinv(a, a, np.array([(1 - level) / 2, (1 + level) / 2]))
    low, high = np.square(special.ndtri((1 + quantiles) / 2)) / MEDIAN_Z**2
    return float(low), float(high)
