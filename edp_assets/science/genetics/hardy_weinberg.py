"""The exact test of Hardy-Weinberg equilibrium, a p-value a variant."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

HARD_CALL = 0.1
"""Farthest that a dosage may lie from 0, 1 or 2 to be taken as that genotype (plink2 --hard-call-threshold)."""

_TIE = 1e-7  # log probabilities this near are equal: those of one table, summed in another order


def hardy_weinberg_p(G: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Test every variant of a block: the two-sided exact test of Wigginton et al. 2005, as plink2 --hwe without mid-p.

    Given the alleles, the p-value is the probability of all numbers of heterozygotes that are not more likely than the
    one found.

    Args:
        G: (n_variants, n_participants) dosages, NaN where missing; those farther than `HARD_CALL` from a whole number
            are left out. On X pass females alone, as PLINK 1.9 (plink2 takes in males' allele counts as well).

    Returns:
        (n_variants,) p-values; 1 where nobody is called.
    """
    found = np.empty(len(G))
    for row, dosages in enumerate(G):  # one variant at a time stays in the processor's cache
        counts = [int(np.count_nonzero(np.abs(dosages - copies) <= HARD_CALL)) for copies in (0, 1, 2)]
        found[row] = _exact_p(*counts)
    return found


def _exact_p(homozygous: int, heterozygous: int, other_homozygous: int) -> float:
    n = homozygous + heterozygous + other_homozygous
    rare = 2 * min(homozygous, other_homozygous) + heterozygous
    if rare == 0:
        return 1.0
    log_factorial, fewest, pairs = _log_factorials(n), rare % 2, rare // 2
    # For h = fewest, fewest + 2, ... rare heterozygotes: log of 2^h / (h! (rare - h)/2! (n - (rare + h)/2)!), and what
    # is the same for every h. All three factorials are strides of one table.
    log_p = (
        np.arange(fewest, rare + 1, 2) * np.log(2)
        - log_factorial[fewest : rare + 1 : 2]
        - log_factorial[: pairs + 1][::-1]
        - log_factorial[n - rare : n - rare + pairs + 1][::-1]
    )
    log_p -= log_p.max()
    p = np.exp(log_p)
    return float(min(p[log_p <= log_p[heterozygous // 2] + _TIE].sum() / p.sum(), 1.0))


@lru_cache(maxsize=4)
def _log_factorials(n: int) -> NDArray[np.float64]:
    from scipy.special import gammaln

    return np.asarray(gammaln(np.arange(n + 1) + 1.0))
