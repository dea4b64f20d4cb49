"""Multinomial regression of an unordered trait on each of many exposures: its log-likelihood with derivatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edp_assets.science.genetics.tails import neg_log_10_p_from_chi2
from edp_assets.science.phenome.design import Design, Floats
from edp_assets.science.phenome.newton import NONE, Evaluate, maximise

INFORMATION_BYTES = 2**26
"""Of the information matrices that are held at once: how many exposures are fitted together follows from it."""


@dataclass(frozen=True)
class MultinomialFits:
    """Log odds against category 0 of each other category, (n_fits, n_categories - 1), and the test of all of them.

    `neg_log_10_p` (n_fits,) is the likelihood-ratio test's against the covariates alone, as PHESANT's.
    """

    beta: Floats
    standard_error: Floats
    neg_log_10_p: Floats
    converged: NDArray[np.bool_]


def fit_multinomial(y: NDArray[np.int64], covariates: Floats, exposures: Floats) -> MultinomialFits:
    """Return the maximum-likelihood fits.

    Args:
        y: (n_participants,) categories 0, 1, ..., each with people; 0 is the reference.
        covariates: (n_participants, k) with the intercept.
        exposures: (n_fits, n_participants).
    """
    (n, k), others = covariates.shape, int(y.max())
    start = np.zeros((1, others, k))
    targets = np.log(np.bincount(y)[1:] / np.count_nonzero(y == 0))
    start[0] = np.linalg.lstsq(covariates, np.tile(targets, (n, 1)), rcond=None)[0].T
    null = maximise(log_likelihood(Design.of_covariates(covariates), y), start.reshape(1, -1), n, NONE)
    coefficients = np.concatenate([null.parameters.reshape(others, k), np.zeros((others, 1))], axis=1).ravel()
    at_once = max(1, INFORMATION_BYTES // (8 * len(coefficients) ** 2))
    fits = []
    for first in range(0, len(exposures), at_once):
        some = exposures[first : first + at_once]
        found = maximise(
            log_likelihood(Design(covariates, some), y), np.tile(coefficients, (len(some), 1)), n, slice(k, None, k + 1)
        )
        by_category = found.parameters.reshape(-1, others, k + 1), found.standard_errors.reshape(-1, others, k + 1)
        chi2 = 2 * (found.log_likelihood - null.log_likelihood)
        # Rounding of two sums over people, each some thousands, may leave less than nothing.
        p = neg_log_10_p_from_chi2(np.maximum(chi2, 0), others)
        fits.append((by_category[0][:, :, k], by_category[1][:, :, k], p, found.converged))
    return MultinomialFits(*(np.concatenate(parts) for parts in zip(*fits, strict=True)))


def log_likelihood(design: Design, y: NDArray[np.int64]) -> Evaluate:
    """Return the multinomial log-likelihood of y with category 0 as reference, as `newton.maximise` takes it."""
    others, width = int(y.max()), design.k + 1
    member = y[None, :] == np.arange(1, others + 1)[:, None]

    def evaluate(parameters: Floats, fits: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        n_fits = len(parameters)
        coefficients = parameters.reshape(n_fits, others, width)
        value, gradient = np.zeros(n_fits), np.zeros((n_fits, others, width))
        packed = np.zeros((others, others, n_fits, design.packed))
        for people in design.blocks():
            x = design.exposure(people, fits)
            odds = np.stack([design.predictor(people, x, coefficients[:, c]) for c in range(others)])
            observed = np.where(member[:, None, people], odds, 0.0).sum(axis=0)
            largest = np.maximum(odds.max(axis=0), 0.0)
            probability = np.exp(odds - largest)
            total = probability.sum(axis=0) + np.exp(-largest)
            value += (observed - largest - np.log(total)).sum(axis=1)
            probability /= total
            for c in range(others):
                gradient[:, c] += design.gradient(people, x, member[c, people] - probability[c])
                for d in range(c + 1):
                    weight = probability[c] * ((c == d) - probability[d])
                    packed[c, d] += design.information(people, x, weight)
        information = np.empty((n_fits, others, width, others, width))
        for c in range(others):
            for d in range(c + 1):
                information[:, c, :, d] = information[:, d, :, c] = design.unpacked(packed[c, d])
        return value, gradient.reshape(n_fits, -1), information.reshape(n_fits, others * width, -1)

    return evaluate
