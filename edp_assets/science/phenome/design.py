"""Covariates and exposures of one trait's people, and the sums over people that every model's derivatives are made of.

One linear predictor has the covariates' coefficients, then the exposure's own. Sums run in blocks of people, so that
what is held is exposures by a block; weights differ by exposure, products of covariates do not: X'WX of many fits is
one matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PEOPLE_AT_ONCE = 1024
"""People of a block: with a hundred exposures an array is 0.8 MB, which the cache holds."""


def logistic(x: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)), in place: numpy's vectorised exponential, at a third of scipy's time."""
    with np.errstate(over="ignore"):  # of an infinity the inverse is 0
        np.exp(np.negative(x, out=x), out=x)
    x += 1
    return np.reciprocal(x, out=x)


def log_of_product(probability: Floats) -> Floats:
    """Return the log of the product of each row: probabilities by eights, so that logarithms are few.

    A probability below 1e-40, of a step too far, may make a product 0 and its logarithm minus infinity: it is halved.
    """
    n_fits, n_people = probability.shape
    whole = n_people - n_people % 8
    eights = np.multiply.reduce(probability[:, :whole].reshape(n_fits, 8, whole // 8), axis=1)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(eights).sum(axis=1) + np.log(probability[:, whole:]).sum(axis=1), np.float64)


class Design:
    """The model matrix of many fits that share covariates and differ in the exposure."""

    def __init__(self, covariates: Floats, exposures: Floats) -> None:
        """Keep covariates (n_participants, k), with or without an intercept, and exposures (n_fits, n_participants)."""
        self.covariates, self.exposures = covariates, exposures
        self.n_participants, self.k = covariates.shape
        self._upper = np.triu_indices(self.k)
        self._products = covariates[:, self._upper[0]] * covariates[:, self._upper[1]]

    @classmethod
    def of_covariates(cls, covariates: Floats) -> Design:
        """Return the design of one fit of the covariates alone: the last of them stands for the exposure."""
        return cls(np.ascontiguousarray(covariates[:, :-1]), np.ascontiguousarray(covariates[:, -1:].T))

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[slice]:
        """Yield people from `start` to `stop` in blocks."""
        stop = self.n_participants if stop is None else stop
        for first in range(start, stop, PEOPLE_AT_ONCE):
            yield slice(first, min(first + PEOPLE_AT_ONCE, stop))

    def exposure(self, people: slice, fits: NDArray[np.int64]) -> Floats:
        """Return the exposures of some fits (n_fits, n_people)."""
        return self.exposures[:, people] if len(fits) == len(self.exposures) else self.exposures[fits, people]

    def predictor(self, people: slice, x: Floats, coefficients: Floats) -> Floats:
        """Return the linear predictor (n_fits, n_people) of coefficients (n_fits, k + 1)."""
        return coefficients[:, :-1] @ self.covariates[people].T + coefficients[:, -1:] * x

    def gradient(self, people: slice, x: Floats, residual: Floats) -> Floats:
        """Return the sums of residual x covariates, and of residual x exposure (n_fits, k + 1)."""
        of_exposure = np.einsum("ep,ep->e", residual, x)
        return np.concatenate([residual @ self.covariates[people], of_exposure[:, None]], axis=1)

    def information(self, people: slice, x: Floats, weight: Floats) -> Floats:
        """Return the weighted sums of products of every two columns, packed: `unpacked` makes them a matrix."""
        weighted = weight * x
        of_exposure = np.einsum("ep,ep->e", weighted, x)
        parts = weight @ self._products[people], weighted @ self.covariates[people], of_exposure[:, None]
        return np.concatenate(parts, axis=1)

    @property
    def packed(self) -> int:
        """How many sums `information` gives a fit."""
        return len(self._upper[0]) + self.k + 1

    def unpacked(self, packed: Floats) -> Floats:
        """Return symmetric matrices (n_fits, k + 1, k + 1) of what `information` gives."""
        n, k = len(self._upper[0]), self.k
        matrix: NDArray[Any] = np.empty((len(packed), k + 1, k + 1))
        matrix[:, self._upper[0], self._upper[1]] = packed[:, :n]
        matrix[:, self._upper[1], self._upper[0]] = packed[:, :n]
        matrix[:, :k, k] = matrix[:, k, :k] = packed[:, n : n + k]
        matrix[:, k, k] = packed[:, -1]
        return matrix
