"""The null model of a binary phenotype: its logistic regression on the covariates alone.

The tests of variants against it are in `logistic.py`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

logger = logging.getLogger(__name__)


class SeparationError(ValueError):
    """A binary phenotype that the covariates predict perfectly, so that nothing is left to associate."""


@dataclass(frozen=True)
class NullModel:
    """A logistic regression of the phenotype on the covariates alone.

    Attributes:
        probability: (n_participants,) fitted probability of being a case.
        residual: (n_participants,) phenotype less probability.
        weight: (n_participants,) square root of the variance, probability x (1 - probability).
        basis: (n_participants, n_covariates) orthonormal basis of weight x covariates.
        cases, controls: their numbers.
        separated: participants fitted at 0 or 1 (a stratum without cases, or of cases only): they carry no information.
    """

    probability: NDArray[np.float64]
    residual: NDArray[np.float64]
    weight: NDArray[np.float64]
    basis: NDArray[np.float64]
    cases: int
    controls: int
    separated: int


def fit_null_model(y: NDArray[Any], Q: NDArray[np.float64], offset: NDArray[np.float64] | None = None) -> NullModel:
    """Fit the covariates to a binary phenotype by Newton's method in float64.

    Args:
        y: (n_participants,) 0 for controls and 1 for cases, without gaps.
        Q: (n_participants, n_covariates) from `covariate_basis`.
        offset: (n_participants,) log odds added with the coefficient 1, as regenie step 2 takes step 1's predictions;
            None: 0.

    Raises:
        SeparationError: covariates predict the phenotype perfectly, or the fit does not converge.
        ValueError: y is not 0/1, has no case or no control, or does not fit Q.
    """
    y = np.asarray(y, np.float64)
    if y.shape != (len(Q),):
        raise ValueError(f"y is {y.shape}: wanted one value for each of the {len(Q)} participants of Q")
    if not np.isin(y, (0.0, 1.0)).all():
        wrong = y[~np.isin(y, (0.0, 1.0))]
        raise ValueError(f"a binary phenotype is 0 or 1 without gaps; found {wrong[0]:g} and {len(wrong) - 1} more")
    cases = int(y.sum())
    if cases in (0, len(y)):
        raise ValueError(f"a binary phenotype needs cases and controls; found {cases} cases of {len(y)} participants")
    eta = _fit(y, Q, cases, np.zeros(len(y)) if offset is None else offset)
    probability = special.expit(eta)
    separated = int(np.count_nonzero(np.abs(eta) > 15))
    if separated:
        logger.info("%d of %d participants are fitted at probability 0 or 1: no information in them", separated, len(y))
    weight = np.sqrt(probability * special.expit(-eta))
    basis = np.linalg.qr(weight[:, None] * Q)[0]
    return NullModel(probability, y - probability, weight, basis, cases, len(y) - cases, separated)


def _fit(
    y: NDArray[np.float64], Q: NDArray[np.float64], cases: int, offset: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the linear predictor of the logistic regression of y on Q, the offset included."""
    n = len(y)
    # Q's first column is the intercept, 1 / sqrt(n): start from the share of cases.
    coefficients = np.zeros(Q.shape[1])
    coefficients[0] = special.logit(cases / n) * np.sqrt(n)
    sign = 1 - 2 * y
    deviance = np.inf
    for _ in range(60):
        eta = Q @ coefficients + offset
        # -log(1 - p) for controls and -log p for cases.
        previous, deviance = deviance, 2 * float(np.logaddexp(0.0, sign * eta).sum())
        if deviance < 1e-6 * n or not np.isfinite(deviance):
            break
        if abs(previous - deviance) < 1e-10 * deviance:
            return eta
        probability = special.expit(eta)
        weight = np.sqrt(probability * special.expit(-eta))
        # Solving through weight x Q and not its square keeps strata without cases within float64's reach.
        step = np.linalg.lstsq(weight[:, None] * Q, (y - probability) / np.maximum(weight, 1e-12), rcond=1e-12)[0]
        # Halve a step that overshoots: the likelihood is concave, so a small one always gains.
        for _ in range(30):
            if 2 * np.logaddexp(0.0, sign * (Q @ (coefficients + step) + offset)).sum() <= deviance * (1 + 1e-12):
                break
            step = step / 2
        coefficients = coefficients + step
    raise SeparationError(
        f"the covariates separate the {cases} cases from the {n - cases} controls, so nothing is left to associate: "
        "leave out the covariate that defines the phenotype, or wait for more cases"
    )
