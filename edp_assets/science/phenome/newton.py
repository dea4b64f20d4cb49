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

CONVERGED = 1e-12
"""Newton decrement, the squared step in standard errors, below which the next step is the last: it leaves effects right
to 1e-9 of their standard error, and these to 1e-6."""
RIDGE = 1e-10
"""Added to the information, a person: a direction in which the likelihood has no maximum (a centre without a case) does
not make it singular. Ten cases have 1e-7 of their information from it in a biobank."""


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


def maximise(evaluate: Evaluate, start: Floats, n_participants: int, iterations: int = 50) -> Fits:
    """Maximise each log-likelihood from its row of `start` (n_fits, n_parameters), whose own rows it leaves alone.

    A step that lowers the likelihood is halved. Fits that have converged are evaluated no more.
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
        done = np.abs(decrement) < CONVERGED
        likelihood[rows] = value[~worse] + np.where(done, decrement / 2, 0.0)
        converged[rows[done]] = True
        errors[rows[done]] = np.sqrt(np.diagonal(inverse[done], axis1=1, axis2=2))
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
