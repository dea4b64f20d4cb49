"""Newton's method on many concave log-likelihoods at once, each of a few parameters, whichever they are of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Evaluate = Callable[[Floats, NDArray[np.int64]], tuple[Floats, Floats, Floats]]
"""Of parameters (n_fits, n_parameters) and which fits they are of: log-likelihood (n_fits,), its gradient (n_fits,
n_parameters) and information, less its second derivatives (n_fits, n_parameters, n_parameters)."""

SMALL_STEP = 1e-6
"""Step of a tested parameter, in standard errors, below which it is the last: steps shrink by their square, so that
the effect is right to 1e-9 of its standard error, and that error to 1e-6."""
SMALL_DECREMENT = 1e-6
"""The same of all parameters together, squared (Newton's decrement). It is looser: where the likelihood has no maximum
in a covariate's direction (a centre without a case), steps there do not end, though they change nothing any more. The
decrement shrinks with the information there, by e a step until that is as small as the ridge and then hardly at all:
of a biobank's people it must not be asked for less."""
RIDGE = 1e-11
"""Added to the information, a person, so that such a direction does not make it singular. In a biobank it is less than
1e-6 of the information of ten cases."""


EVERY, LAST, NONE = slice(None), slice(-1, None), slice(0)


@dataclass(frozen=True)
class Fits:
    """Maximum-likelihood fits.

    Attributes:
        parameters: (n_fits, n_parameters).
        standard_errors: likewise, from the information at the maximum.
        log_likelihood: (n_fits,).
        converged: (n_fits,); the others' values are NaN.
    """

    parameters: Floats
    standard_errors: Floats
    log_likelihood: Floats
    converged: NDArray[np.bool_]


def maximise(
    evaluate: Evaluate, start: Floats, n_participants: int, tested: slice = EVERY, iterations: int = 50
) -> Fits:
    """Maximise each log-likelihood from its row of `start` (n_fits, n_parameters).

    A step that lowers the likelihood is halved. Fits that have converged are evaluated no more.

    Args:
        evaluate: the log-likelihoods.
        start: where each begins.
        n_participants: people that they are sums over.
        tested: which parameters must have converged, the others as far as the likelihood depends on them.
        iterations: after so many evaluations what has not converged is given up.
    """
    parameters, step = start.copy(), np.zeros_like(start)
    errors, likelihood = np.full_like(start, np.nan), np.full(len(start), -np.inf)
    converged = np.zeros(len(start), dtype=bool)
    active = np.arange(len(start))
    for _ in range(iterations):
        value, gradient, information = evaluate(parameters[active], active)
        worse = ~(value >= likelihood[active] - 1e-9 * np.abs(value))
        step[active[worse]] /= 2
        parameters[active[worse]] -= step[active[worse]]
        rows = active[~worse]
        inverse = _inverses(information[~worse], RIDGE * n_participants)
        step[rows] = np.einsum("epq,eq->ep", inverse, gradient[~worse])
        decrement = np.einsum("ep,ep->e", step[rows], gradient[~worse])
        parameters[rows] += step[rows]
        with np.errstate(invalid="ignore"):
            deviation = np.sqrt(np.diagonal(inverse, axis1=1, axis2=2))
        small = (np.abs(step[rows]) <= SMALL_STEP * deviation)[:, tested].all(axis=1)
        done = small & (np.abs(decrement) < SMALL_DECREMENT)
        likelihood[rows] = value[~worse] + np.where(done, decrement / 2, 0.0)
        converged[rows[done]] = True
        errors[rows[done]] = deviation[done]
        lost = ~np.isfinite(decrement)
        active = np.concatenate([active[worse], rows[~done & ~lost]])
        if not active.size:
            break
    parameters[~converged], likelihood[~converged] = np.nan, np.nan
    return Fits(parameters, errors, likelihood, converged)


def _inverses(information: Floats, ridge: float) -> Floats:
    """Return the inverse of each matrix (n_fits, p, p); NaN where it has none."""
    matrices = information + ridge * np.eye(information.shape[1])
    try:
        return np.asarray(np.linalg.inv(matrices), np.float64)
    except np.linalg.LinAlgError:
        return np.stack([_inverse(matrix) for matrix in matrices])


def _inverse(matrix: Floats) -> Any:
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return np.full_like(matrix, np.nan)
