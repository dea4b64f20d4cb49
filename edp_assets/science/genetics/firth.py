"""Log odds ratios by Firth's penalised likelihood, covariate effects held at the null model's (regenie --firth-approx).

Tests are in `logistic.py`; this says how large the effect of a variant is that they find.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from edp_assets.science.genetics.null_model import NullModel

_ELEMENTS_AT_ONCE = 100_000  # variants x participants in one batch: what a core's cache holds
_LARGEST_STEP = 1.0  # in log odds a copy; keeps a first step from a far start inside the likelihood's hill
_CONVERGED = 1e-6


def firth_log_odds_ratios(
    centred: NDArray[np.floating[Any]], on_basis: NDArray[np.float64], null: NullModel, *, iterations: int = 50
) -> NDArray[np.float64]:
    """Return the log odds ratio a copy of the effect allele of each variant by Firth's logistic regression (1993).

    The linear predictor is the null model's, as an offset, with an intercept and the genotype less its weighted
    regression on the covariates, so that these stay adjusted for though their effects are not fitted again. The penalty
    halves the log determinant of the two parameters' information: estimates stay finite where no carrier is a case, or
    every one, and are maximum likelihood's where counts are large.

    Args:
        centred: (n_variants, n_participants) mean-imputed and centred dosages.
        on_basis: (n_variants, n_covariates) weighted genotypes on the null model's basis.
        null: the null model.
        iterations: most steps of Newton's method.

    Returns:
        (n_variants,); NaN where Newton's method did not converge.
    """
    n_variants, n = centred.shape
    # Participants of probability 0 or 1 carry no information; the clip keeps their offset finite.
    offset = special.logit(np.clip(null.probability, 1e-15, 1 - 1e-15))
    y = null.probability + null.residual
    projector = null.basis / np.maximum(null.weight, 1e-150)[:, None]
    at_once = max(1, _ELEMENTS_AT_ONCE // n)
    result = np.empty(n_variants)
    for start in range(0, n_variants, at_once):
        stop = start + at_once
        adjusted = centred[start:stop] - on_basis[start:stop] @ projector.T
        result[start:stop] = _newton(adjusted, offset, y, iterations)
    return result


def _newton(
    A: NDArray[np.float64], offset: NDArray[np.float64], y: NDArray[np.float64], iterations: int
) -> NDArray[np.float64]:
    """Return each row's slope in the Firth regression of y on an intercept and the row, with an offset."""
    intercept, slope = np.zeros(len(A)), np.zeros(len(A))
    result = np.full(len(A), np.nan)
    left = np.arange(len(A))
    for _ in range(iterations):
        a = A[left]
        p = special.expit(offset + intercept[left, None] + slope[left, None] * a)
        w = p * (1 - p)
        wa = w * a
        # Information of intercept and slope: [[i00, i01], [i01, i11]].
        i00, i01, i11 = w.sum(axis=1), wa.sum(axis=1), np.einsum("vn,vn->v", wa, a)
        determinant = i00 * i11 - i01 * i01
        # w x'I^-1 x of every participant, x = (1, a): the leverage, which shrinks towards p = 1/2.
        leverage = (w * i11[:, None] - 2 * wa * i01[:, None] + wa * a * i00[:, None]) / determinant[:, None]
        residual = y - p + leverage * (0.5 - p)
        u0, u1 = residual.sum(axis=1), np.einsum("vn,vn->v", residual, a)
        steps = np.stack([i11 * u0 - i01 * u1, i00 * u1 - i01 * u0]) / determinant
        steps = np.clip(steps, -_LARGEST_STEP, _LARGEST_STEP)
        intercept[left] += steps[0]
        slope[left] += steps[1]
        done = np.abs(steps).max(axis=0) < _CONVERGED
        result[left[done]] = slope[left[done]]
        left = left[~done & np.isfinite(steps).all(axis=0)]
        if not len(left):
            break
    return result
