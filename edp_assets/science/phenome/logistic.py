"""Logistic regression of a binary trait on each of many exposures: its log-likelihood with derivatives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from edp_assets.science.phenome.design import Design, Floats, log_of_product, logistic
from edp_assets.science.phenome.newton import LAST, NONE, Evaluate, Fits, maximise


def fit_logistic(y: Floats, covariates: Floats, exposures: Floats) -> Fits:
    """Return the maximum-likelihood fits, the exposure's log odds ratio last among the parameters.

    Args:
        y: (n_participants,) 0 or 1.
        covariates: (n_participants, k) with the intercept.
        exposures: (n_fits, n_participants).
    """
    n, k = covariates.shape
    null = maximise(log_likelihood(Design.of_covariates(covariates), y), _start(y, covariates), n, NONE)
    if not null.converged[0]:
        return _unfit(len(exposures), k + 1)
    start = _first_step(y, covariates, exposures, null.parameters[0])
    return maximise(log_likelihood(Design(covariates, exposures), y), start, n, LAST)


def log_likelihood(design: Design, y: Floats) -> Evaluate:
    """Return the binomial log-likelihood of y with logit link, as `newton.maximise` takes it."""

    def evaluate(parameters: Floats, fits: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        value = np.zeros(len(parameters))
        gradient = np.zeros((len(parameters), design.k + 1))
        packed = np.zeros((len(parameters), design.packed))
        for people in design.blocks():
            x = design.exposure(people, fits)
            probability = logistic(design.predictor(people, x, parameters))
            residual = y[people] - probability
            value += log_of_product(1 - np.abs(residual))
            gradient += design.gradient(people, x, residual)
            packed += design.information(people, x, probability - probability**2)
        return value, gradient, design.unpacked(packed)

    return evaluate


def _start(y: Floats, covariates: Floats) -> Floats:
    """Return coefficients (1, k) that give everyone the share of cases, as far as the covariates can."""
    target = np.full(len(y), special.logit(y.mean()))
    return np.asarray(np.linalg.lstsq(covariates, target, rcond=None)[0][None, :], np.float64)


def _first_step(y: Floats, covariates: Floats, exposures: Floats, null: Floats) -> Floats:
    """Return where Newton's first step from the null model (k,) leads each fit: one weight serves all of them."""
    probability = logistic(covariates @ null)
    weighted = (probability - probability**2)[:, None] * covariates
    on_covariates = exposures @ weighted
    share = np.linalg.lstsq(covariates.T @ weighted, on_covariates.T, rcond=1e-12)[0].T
    squares = np.einsum("ep,ep,p->e", exposures, exposures, probability - probability**2)
    beta = exposures @ (y - probability) / (squares - np.einsum("ek,ek->e", share, on_covariates))
    return np.concatenate([null - share * beta[:, None], beta[:, None]], axis=1)


def _unfit(n_fits: int, n_parameters: int) -> Fits:
    nothing = np.full((n_fits, n_parameters), np.nan)
    return Fits(nothing, nothing, nothing[:, 0], np.zeros(n_fits, dtype=bool))
