"""Inner products of genotypes with many phenotypes' columns, each over its own people, in one pass over a block.

What becomes of the sums is `per_phenotype.py`. Everything is summed in float64, in pieces of people that stay in the
processor's cache, so that a phenotype's sums do not depend on what stands beside it beyond 1e-15.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edp_assets.science.genetics.genotypes import MISSING_CALL

PEOPLE_AT_ONCE = 2048
_COLUMNS_AT_ONCE = 512  # weighted columns that are made for one product


@dataclass
class Sums:
    """Sums over people of a (n_variants, n_participants) block g; for what is missing, g is 1 there and 0 elsewhere.

    Attributes:
        residual: (n_variants, n_phenotypes) of g times each phenotype's residual.
        covariate: (n_groups, n_variants, n_columns) of g times the columns X over each group's people.
        square: (n_groups, n_variants) of g squared over each group's people.
        weighted_covariate: (n_weights, n_variants, n_columns) of g times X times each column of weights.
        weighted_square: (n_weights, n_variants) of g squared times each column of weights.
    """

    residual: NDArray[np.float64]
    covariate: NDArray[np.float64]
    square: NDArray[np.float64]
    weighted_covariate: NDArray[np.float64]
    weighted_square: NDArray[np.float64]

    def add(self, other: Sums) -> None:
        """Add the sums over other people."""
        for field in fields(self):
            getattr(self, field.name)[...] += getattr(other, field.name)


class MaskedSums:
    """What the sums of any block are taken with.

    Groups are of people who have a value of the same phenotypes. A group's sums over X are those over everybody less
    those over whom it lacks, or those over its own people, whichever are fewer: with few missing values 200 groups cost
    little more than one.
    """

    def __init__(
        self,
        X: NDArray[np.float64],
        members: NDArray[np.bool_],
        residuals: NDArray[np.float64],
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        """Prepare the sums.

        Args:
            X: (n_participants, n_columns) shared columns, the first of ones.
            members: (n_groups, n_participants) who is in each group.
            residuals: (n_participants, n_phenotypes), 0 outside the phenotype's people.
            weights: (n_participants, n_weights), 0 outside; None: none.
        """
        self._X, self._columns = X, np.concatenate([X, residuals], axis=1)
        self._weights = np.empty((len(X), 0)) if weights is None else weights
        self._n_groups = len(members)
        n = len(X)
        self._lacking = [2 * np.count_nonzero(member) >= n for member in members]
        self._people = [
            np.flatnonzero(~member if lacking else member)
            for member, lacking in zip(members, self._lacking, strict=True)
        ]
        starts = np.arange(0, n, PEOPLE_AT_ONCE)
        self._cuts = [np.searchsorted(people, [*starts, n]) for people in self._people]

    def of(self, calls: NDArray[Any]) -> tuple[Sums, Sums | None]:
        """Return the sums of a block's calls (a missing one 0), and those of what is missing; None: nothing is.

        Pieces of people are shared out to as many threads as there are cores. Let the matrix products themselves have
        one (`threadpoolctl`): so narrow, they are slower with two.

        Args:
            calls: (n_variants, n_participants) as `blocks.Block.calls`.
        """
        n = calls.shape[1]
        if n != len(self._X):
            raise ValueError(f"the block has {n} participants, the phenotypes {len(self._X)}: wanted the same")
        pieces = range(-(-n // PEOPLE_AT_ONCE))
        threads = min(_cores(), len(pieces))
        if threads == 1:
            return self._of_pieces(calls, pieces)
        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(lambda first: self._of_pieces(calls, pieces[first::threads]), range(threads)))
        found, absent = parts[0]
        for more, more_absent in parts[1:]:
            found.add(more)
            if absent is not None and more_absent is not None:
                absent.add(more_absent)
            absent = absent or more_absent
        return found, absent

    def _of_pieces(self, calls: NDArray[Any], pieces: Iterable[int]) -> tuple[Sums, Sums | None]:
        found, absent = self._zeros(len(calls)), None
        room = np.empty((len(calls), min(PEOPLE_AT_ONCE, calls.shape[1])))
        for piece in pieces:
            start = piece * PEOPLE_AT_ONCE
            part = calls[:, start : start + PEOPLE_AT_ONCE]
            missing = part == MISSING_CALL if part.dtype == np.int8 else np.isnan(part)
            g = room[:, : part.shape[1]]
            np.copyto(g, part)
            if missing.any():
                from scipy.sparse import csr_array

                g[missing] = 0
                absent = absent or self._zeros(len(calls))
                self._add(absent, csr_array(missing, dtype=np.float64), piece, start)
            self._add(found, g, piece, start)
        return found, absent

    def _zeros(self, n_variants: int) -> Sums:
        n_columns, n_weights = self._X.shape[1], self._weights.shape[1]
        return Sums(
            np.zeros((n_variants, self._columns.shape[1] - n_columns)),
            np.zeros((self._n_groups, n_variants, n_columns)),
            np.zeros((self._n_groups, n_variants)),
            np.zeros((n_weights, n_variants, n_columns)),
            np.zeros((n_weights, n_variants)),
        )

    def _add(self, sums: Sums, g: Any, piece: int, start: int) -> None:
        """Add a piece of people, dense or sparse."""
        stop = start + g.shape[1]
        X, n_columns = self._X[start:stop], self._X.shape[1]
        products = g @ self._columns[start:stop]
        sums.residual += products[:, n_columns:]
        covariate, square = products[:, :n_columns], _squares(g)
        for group, (people, cuts, lacking) in enumerate(zip(self._people, self._cuts, self._lacking, strict=True)):
            mine = people[cuts[piece] : cuts[piece + 1]] - start
            if lacking:
                sums.covariate[group] += covariate
                sums.square[group] += square
            if len(mine):
                some = np.take(g, mine, axis=1) if isinstance(g, np.ndarray) else g[:, mine]
                sign = -1 if lacking else 1
                sums.covariate[group] += sign * (some @ X[mine])
                sums.square[group] += sign * _squares(some)
        n_weights = self._weights.shape[1]
        if n_weights:
            weights = self._weights[start:stop]
            sums.weighted_square += ((g * g) @ weights).T
            at_once = max(1, _COLUMNS_AT_ONCE // n_columns)
            for first in range(0, n_weights, at_once):
                chosen = weights[:, first : first + at_once]
                columns = (chosen[:, :, None] * X[:, None, :]).reshape(len(X), -1)
                product = (g @ columns).reshape(g.shape[0], chosen.shape[1], n_columns)
                sums.weighted_covariate[first : first + at_once] += product.transpose(1, 0, 2)


def _squares(g: Any) -> NDArray[np.float64]:
    """Return the sum of squares of each row; a sparse one holds ones."""
    return np.vecdot(g, g) if isinstance(g, np.ndarray) else np.asarray(g.sum(axis=1)).ravel()


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
