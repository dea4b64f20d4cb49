"""Tests of many scores on projected variants, block after block, where only some statistics are wanted.

What is tested and why it is exact is in `projection.py`; here is what it costs: statistics are made where they are
kept, and lambda GC is counted on the way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from edp_assets.science.genetics.inflation import ManyInflations
from edp_assets.science.genetics.regression import Association
from edp_assets.science.genetics.tails import neg_log_10_p_from_t

_SCORES_AT_ONCE = 64
_VALUES_AT_ONCE = 65_536


@dataclass(frozen=True)
class Tested:
    """One score's statistics in a block.

    Attributes:
        score: its place.
        rows: (n_kept,) which of the block's variants; None: all of them.
        association: of these variants, (n_kept,) each.
    """

    score: int
    rows: NDArray[np.int64] | None
    association: Association


class ScoreTests:
    """Linear regression of scores on projected variants, with t-tests as plink2 --glm.

    Attributes:
    inflation: lambda GC of every score over all variants so far, those that are not kept too.
        kept: (n_scores,) how many variants were kept so far.
    """

    def __init__(
        self,
        c: NDArray[np.float64],
        yy: NDArray[np.float64],
        n: int,
        n_covariates: int,
        largest_p: NDArray[np.float64],
    ) -> None:
        """Prepare the scores.

        Args:
            c: (n_components, n_scores) from `projection.score_coordinates`.
            yy: (n_scores,) from there.
            n: participants.
            n_covariates: columns of Q, the intercept among them.
            largest_p: (n_scores,) variants of a larger p are not kept; 1: all are.
        """
        # Always as many columns a product: its last digits depend on its width, and must not on what stands beside.
        self._c = np.pad(c, ((0, 0), (0, -c.shape[1] % _SCORES_AT_ONCE)))
        self._yy, self._df = yy, n - n_covariates - 1
        if self._df < 1:
            raise ValueError(
                f"{n} participants and {n_covariates} covariates leave no degree of freedom: want more people"
            )
        self._all = largest_p >= 1
        t = -special.stdtrit(self._df, np.where(self._all, 1.0, largest_p) / 2)
        self._least_r = t / np.sqrt(1 + t * t / self._df)
        self.inflation = ManyInflations(len(yy), self._df)
        self.kept = np.zeros(len(yy), np.int64)

    def block(
        self,
        gz: NDArray[np.floating[Any]],
        gg: NDArray[np.float64],
        chromosome: NDArray[np.int64],
        position: NDArray[np.int64],
        yy: NDArray[np.float64] | None = None,
    ) -> Iterator[Tested]:
        """Yield every score's statistics of a block of variants, in the scores' order.

        Args:
            gz: (n_variants, n_components) from `projection.Projector`.
            gg: (n_variants,) from there, above 0.
            chromosome: (n_variants,) any number for each chromosome.
            position: (n_variants,) base pairs.
            yy: (n_scores,) of these variants, where gz is of the basis less a LOCO prediction: the offset scores' sums
                of squares; None: those of all. The degrees of freedom stay: out of fold and of other chromosomes, an
                offset is a given number to the test, and as many coefficients are fitted beside it.
        """
        yy = self._yy if yy is None else yy
        if gz.shape != (len(gg), len(self._c)):
            raise ValueError(f"gz is {gz.shape}: wanted ({len(gg)}, {len(self._c)}), variants in gg by components in c")
        if not np.all(gg > 0):
            raise ValueError(f"{np.count_nonzero(~(gg > 0))} variants cannot be tested (gg is 0): leave them out")
        gz = np.asarray(gz, np.float64)
        self.inflation.next_block(chromosome, position)
        # Some scores at a time: many small operations would spend their time on taking turns.
        step = max(1, _VALUES_AT_ONCE // max(len(gg), 1))
        root = np.sqrt(self._df / gg)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for start in range(0, len(self._yy), _SCORES_AT_ONCE):
                gy = np.ascontiguousarray((gz @ self._c[:, start : start + _SCORES_AT_ONCE]).T)
                gy = gy[: len(self._yy) - start]
                parts = [slice(first, first + step) for first in range(0, len(gy), step)]
                for tested in pool.map(lambda part: self._test(start + part.start, gy[part], gg, root, yy), parts):  # noqa: B023
                    yield from tested

    def _test(
        self,
        first: int,
        gy: NDArray[np.float64],
        gg: NDArray[np.float64],
        root: NDArray[np.float64],
        yy: NDArray[np.float64],
    ) -> list[Tested]:
        scores = range(first, first + len(gy))
        spread = np.sqrt(yy[first : scores.stop])
        r = gy * root
        r /= spread[:, None]
        np.abs(r, out=r)
        self.inflation.add(first, r)
        return [self._kept(i, r[k], gy[k], gg, root, spread[k]) for k, i in enumerate(scores)]

    def _kept(
        self,
        score: int,
        r: NDArray[np.float64],
        gy: NDArray[np.float64],
        gg: NDArray[np.float64],
        root: NDArray[np.float64],
        spread: float,
    ) -> Tested:
        rows = None if self._all[score] else np.flatnonzero(r >= self._least_r[score])
        if rows is not None:
            r, gy, gg, root = r[rows], gy[rows], gg[rows], root[rows]
        self.kept[score] += len(r)
        # A score that is the variant itself leaves only rounding: t stays finite.
        unexplained = np.sqrt(np.maximum(1 - r * r / self._df, 1e-14))
        standard_error = unexplained * root * (spread / self._df)
        neg_log_10_p = neg_log_10_p_from_t(r / unexplained, self._df)
        return Tested(score, rows, Association(gy / gg, standard_error, neg_log_10_p))
