"""Direct association of quantitative phenotypes with blocks of genotypes: linear regression, one variant at a time.

`projection.py` reaches the same statistics without the participants; binary phenotypes are in `logistic.py`.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edp_assets.science.genetics.covariates import residualise
from edp_assets.science.genetics.tails import neg_log_10_p_from_t
from edp_assets.science.genetics.variant_qc import VariantStats, centre

COLLINEAR_WITH_COVARIATES = 1e-4
"""Share of a variant's variance left by the covariates, under which it is not tested (plink2's max-corr: 2e-3)."""


_VALUES_AT_ONCE = 16384


@dataclass(frozen=True)
class Association:
    """Effect of the effect allele, each (n_phenotypes, n_variants), or (n_variants,) for one phenotype.

    NaN where a variant cannot be tested: constant, or explained by the covariates.

    Attributes:
        beta: change of the phenotype a copy of the effect allele, in the phenotype's units.
        standard_error: of beta.
        neg_log_10_p_value: two-sided.
    """

    beta: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    neg_log_10_p_value: NDArray[np.float64]


def linear_statistics(
    gy: NDArray[np.floating[Any]], gg: NDArray[np.float64], yy: NDArray[np.float64], df: int
) -> Association:
    """Turn inner products of residuals into ordinary least squares with its t-test, as plink2 --glm.

    Args:
        gy: (n_phenotypes, n_variants) genotype residuals times phenotype residuals.
        gg: (n_variants,) sums of squares of the genotype residuals, 0 where not to be tested.
        yy: (n_phenotypes,) sums of squares of the phenotype residuals.
        df: n_participants - n_covariates (with the intercept) - 1.
    """
    if df < 1:
        raise ValueError(f"{df} degrees of freedom: there must be more participants than covariates and the variant")
    gy = np.asarray(gy, np.float64)
    gg = np.where(gg > 0, gg, np.nan)
    yy = np.where(yy > 0, yy, np.nan)
    beta, standard_error, neg_log_10_p = (np.empty(gy.shape) for _ in range(3))

    def fill(rows: slice) -> None:
        total = yy[rows, None]
        beta[rows] = gy[rows] / gg
        # A phenotype that is the variant itself leaves only rounding: t stays finite.
        residual = np.maximum(total - beta[rows] * gy[rows], 1e-14 * total)
        standard_error[rows] = np.sqrt(residual / (df * gg))
        neg_log_10_p[rows] = neg_log_10_p_from_t(beta[rows] / standard_error[rows], df)

    # A few phenotypes at a time stay in the processor's cache; numpy and scipy let go of the interpreter meanwhile.
    step = max(1, _VALUES_AT_ONCE // max(1, len(gg)))
    parts = [slice(start, start + step) for start in range(0, len(gy), step)]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, len(parts) or 1)) as pool:
        list(pool.map(fill, parts))
    return Association(beta, standard_error, neg_log_10_p)


def residual_sum_of_squares(
    centred: NDArray[np.floating[Any]], gq: NDArray[np.floating[Any]], stats: VariantStats
) -> NDArray[np.float64]:
    """Return (n_variants,) sums of squares of genotypes less covariates; 0 for variants that cannot be tested.

    Args:
        centred: (n_variants, n_participants) genotypes from `centre`.
        gq: (n_variants, n_covariates) their products with the covariate basis Q.
        stats: their counts.
    """
    # Summed in float64: what float32 sums lose here shows in every p-value.
    total = np.square(centred).sum(axis=1, dtype=np.float64)
    return sums_of_squares_left(total, gq, stats.constant)


def sums_of_squares_left(
    total: NDArray[np.float64], gq: NDArray[np.floating[Any]], constant: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return sums of squares less what the covariates explain; 0 for variants that cannot be tested.

    Args:
        total: (n_variants,) of centred genotypes.
        gq: (n_variants, n_covariates) their products with the covariate basis.
        constant: (n_variants,) monomorphic.
    """
    left = total - np.square(gq, dtype=np.float64).sum(axis=1)
    return np.where(constant | (left < COLLINEAR_WITH_COVARIATES * total), 0.0, left)


def associate_directly(
    G: NDArray[np.floating[Any]], Y: NDArray[np.floating[Any]], Q: NDArray[np.float64]
) -> tuple[Association, VariantStats]:
    """Regress phenotypes on each variant of a block and the covariates (mean-imputed genotypes).

    Args:
        G: (n_variants, n_participants) dosages, NaN where missing. Products are taken in its dtype: float32 is exact to
            1e-3 in -log10 p at 300, float64 to rounding.
        Y: (n_participants, n_phenotypes), or (n_participants,), without gaps.
        Q: (n_participants, n_covariates) from `covariate_basis`.

    Returns:
        Statistics (n_phenotypes, n_variants), or (n_variants,) where Y is one phenotype; and the variants' counts.

    Raises:
        ValueError: missing or constant phenotypes, or shapes that do not fit.
    """
    residual, yy = phenotype_residuals(Y, Q)
    if not G.shape[1] == len(Q) == len(residual):
        raise ValueError(
            f"G has {G.shape[1]} participants, Y {len(residual)}, Q {len(Q)}: wanted the same, in one order"
        )
    centred, stats = centre(G)
    products = centred @ np.concatenate([residual / np.sqrt(yy), Q], axis=1).astype(G.dtype)
    gy, gq = products[:, : len(yy)], products[:, len(yy) :]
    gg = residual_sum_of_squares(centred, gq, stats)
    found = linear_statistics(gy.T * np.sqrt(yy)[:, None], gg, yy, len(Q) - Q.shape[1] - 1)
    return (_first(found) if Y.ndim == 1 else found), stats


def phenotype_residuals(
    Y: NDArray[np.floating[Any]], Q: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Y less its covariates, (n_participants, n_phenotypes), and its sums of squares; raises for gaps."""
    Y = np.asarray(Y, np.float64)
    Y = Y[:, None] if Y.ndim == 1 else Y
    gaps = np.count_nonzero(~np.isfinite(Y), axis=0)
    if gaps.any():
        raise ValueError(
            f"{np.count_nonzero(gaps)} of {Y.shape[1]} phenotypes have missing values, the first (column "
            f"{int(gaps.argmax())}) {int(gaps[gaps.argmax()])}: associate the participants who have a value"
        )
    residual = residualise(Y, Q)
    yy = np.square(residual).sum(axis=0)
    flat = explained(Y, yy)
    if flat.any():
        raise ValueError(
            f"{np.count_nonzero(flat)} of {Y.shape[1]} phenotypes are constant or explained by the covariates, "
            f"the first is column {int(flat.argmax())}: nothing is left to associate"
        )
    return residual, yy


def explained(Y: NDArray[np.floating[Any]], yy: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which phenotypes Y (n_participants, n_phenotypes) leave nothing but rounding, by their residuals' yy."""
    total = np.square(Y - Y.mean(axis=0)).sum(axis=0)
    return np.asarray(yy <= 1e-10 * np.maximum(total, np.square(Y).sum(axis=0) * 1e-10))


def _first(found: Association) -> Association:
    return Association(found.beta[0], found.standard_error[0], found.neg_log_10_p_value[0])
