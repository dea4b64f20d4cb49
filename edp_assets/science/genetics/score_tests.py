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
        self._least_r2 = t * t / (self._df + t * t)
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
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for start in range(0, len(self._yy), _SCORES_AT_ONCE):
                chosen = range(start, min(start + _SCORES_AT_ONCE, len(self._yy)))
                gy = (gz @ self._c[:, start : start + _SCORES_AT_ONCE]).T
                yield from pool.map(lambda i, y: self._test(i, y, gg, float(yy[i])), chosen, gy)

    def _test(self, score: int, gy: NDArray[np.float64], gg: NDArray[np.float64], yy: float) -> Tested:
        gy = np.ascontiguousarray(gy)
        beta = gy / gg
        explained = beta * gy / yy
        # A score that is the variant itself leaves only rounding: t stays finite.
        unexplained = np.maximum(1 - explained, 1e-14)
        standard_error = np.sqrt(unexplained * yy / (self._df * gg))
        t = beta / standard_error
        self.inflation.add(score, t)
        rows = None if self._all[score] else np.flatnonzero(explained >= self._least_r2[score])
        if rows is not None:
            beta, standard_error, t = beta[rows], standard_error[rows], t[rows]
        self.kept[score] += len(t)
        return Tested(score, rows, Association(beta, standard_error, neg_log_10_p_from_t(t, self._df)))
