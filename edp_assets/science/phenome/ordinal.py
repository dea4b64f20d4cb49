"""Proportional odds regression of an ordered trait on each of many exposures: its log-likelihood with derivatives.

logit P(y <= j) = threshold_j - x beta: a positive beta raises y, as R's MASS::polr and statsmodels' OrderedModel have
it. The probability of a category is A (1 - B) (1 - exp(lower - upper)), A and B the logistic function at its upper and
lower threshold less the predictor; so the log-likelihood is that of logistic terms, and one of the thresholds' spacing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from edp_assets.science.phenome.design import Design, Floats, log_of_product, logistic
from edp_assets.science.phenome.newton import LAST, NONE, Evaluate, Fits, maximise


def fit_ordinal(y: NDArray[np.int64], covariates: Floats, exposures: Floats) -> Fits:
    """Return the maximum-likelihood fits: parameters are the thresholds, the covariates' coefficients, the exposure's.

    Args:
        y: (n_participants,) categories 0, 1, ... in their order, each with people.
        covariates: (n_participants, k) without an intercept.
        exposures: (n_fits, n_participants).
    """
    order = np.argsort(y, kind="stable")
    covariates, exposures = covariates[order], np.ascontiguousarray(exposures[:, order])
    counts = np.bincount(y)
    thresholds = special.logit(np.cumsum(counts)[:-1] / len(y))
    null = np.append(thresholds, np.zeros(covariates.shape[1]))
    if covariates.shape[1]:
        design = Design.of_covariates(covariates)
        fit = maximise(log_likelihood(design, counts), null[None, :], len(y), NONE)
        null = fit.parameters[0]  # NaN where it did not converge, and then nothing does
    start = np.tile(np.append(null, 0.0), (len(exposures), 1))
    return maximise(log_likelihood(Design(covariates, exposures), counts), start, len(y), LAST)


def log_likelihood(design: Design, counts: NDArray[np.int64]) -> Evaluate:
    """Return the log-likelihood of people who are sorted by category, so many in each, as `newton.maximise` has it."""
    n_thresholds = len(counts) - 1
    starts = np.append(0, np.cumsum(counts))

    def evaluate(parameters: Floats, fits: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        n_fits, n_parameters = parameters.shape
        thresholds, coefficients = parameters[:, :n_thresholds], parameters[:, n_thresholds:]
        value, gradient, information = _spacing(thresholds, counts, n_parameters)
        packed = np.zeros((n_fits, design.packed))
        for category in range(len(counts)):
            for people in design.blocks(starts[category], starts[category + 1]):
                x = design.exposure(people, fits)
                predictor = design.predictor(people, x, coefficients)
                slope, weight = np.zeros_like(predictor), np.zeros_like(predictor)
                # The upper threshold is passed with probability 1 - A, the lower one with 1 - B.
                for at, above in ((category, False), (category - 1, True)):
                    if not 0 <= at < n_thresholds:
                        continue
                    below = logistic(thresholds[:, at, None] - predictor)
                    observed = 1 - below if above else below
                    residual = -below if above else 1 - below
                    curvature = below * observed if above else below * residual
                    value += log_of_product(observed)
                    slope -= residual
                    weight += curvature
                    gradient[:, at] += residual.sum(axis=1)
                    information[:, at, at] += curvature.sum(axis=1)
                    information[:, at, n_thresholds:] -= design.gradient(people, x, curvature)
                gradient[:, n_thresholds:] += design.gradient(people, x, slope)
                packed += design.information(people, x, weight)
        information[:, n_thresholds:, n_thresholds:] = design.unpacked(packed)
        information[:, n_thresholds:, :n_thresholds] = information[:, :n_thresholds, n_thresholds:].transpose(0, 2, 1)
        return value, gradient, information

    return evaluate


def _spacing(thresholds: Floats, counts: NDArray[np.int64], n_parameters: int) -> tuple[Floats, Floats, Floats]:
    """Return the part of value, gradient and information that is of the thresholds: log(1 - exp(-distance))."""
    n_fits = len(thresholds)
    value, gradient = np.zeros(n_fits), np.zeros((n_fits, n_parameters))
    information = np.zeros((n_fits, n_parameters, n_parameters))
    with np.errstate(all="ignore"):  # thresholds that cross have no likelihood: the step is halved
        for upper in range(1, thresholds.shape[1]):
            lower, people = upper - 1, counts[upper]
            distance = thresholds[:, upper] - thresholds[:, lower]
            value += np.where(distance > 0, people * np.log(-np.expm1(-distance)), -np.inf)
            slope = people / np.expm1(distance)
            curvature = slope * (1 + slope / people)
            gradient[:, upper] += slope
            gradient[:, lower] -= slope
            information[:, upper, upper] += curvature
            information[:, lower, lower] += curvature
            information[:, upper, lower] -= curvature
            information[:, lower, upper] -= curvature
    return value, gradient, information
