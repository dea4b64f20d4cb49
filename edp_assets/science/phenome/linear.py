"""Least squares of a continuous trait on each of many exposures, with its t-test (R's lm, as PHESANT uses it)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edp_assets.science.genetics.covariates import residualise
from edp_assets.science.genetics.tails import neg_log_10_p_from_t
from edp_assets.science.phenome.design import Floats


@dataclass(frozen=True)
class LinearFits:
    """Effects of one unit of each exposure, (n_fits,) each."""

    beta: Floats
    standard_error: Floats
    neg_log_10_p: Floats


def fit_linear(y: Floats, basis: Floats, exposures: Floats) -> LinearFits:
    """Return the least-squares fits.

    Args:
        y: (n_participants,).
        basis: (n_participants, k) orthonormal covariates with the intercept.
        exposures: (n_fits, n_participants), centred, and hardly correlated with the covariates.
    """
    y = residualise(y, basis)
    # Only products are needed: no exposure is copied. Without the covariates' part in all people, little is taken off.
    xx = np.einsum("ep,ep->e", exposures, exposures) - np.square(exposures @ basis).sum(axis=1)
    beta = exposures @ y / xx
    degrees = len(y) - basis.shape[1] - 1
    residual = np.maximum(y @ y - beta**2 * xx, 0.0)
    error = np.sqrt(residual / degrees / xx)
    with np.errstate(divide="ignore"):
        return LinearFits(beta, error, neg_log_10_p_from_t(beta / error, float(degrees)))
