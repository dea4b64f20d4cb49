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
            are left out. On X pass females alone.

    Returns:
        (n_variants,) p-values; 1 where nobody is called.
    """
    near = [np.count_nonzero(np.abs(G - copies) <= HARD_CALL, axis=1) for copies in (0, 1, 2)]
    return np.array([_exact_p(int(hom), int(het), int(other)) for hom, het, other in zip(*near, strict=True)])


def _exact_p(homozygous: int, heterozygous: int, other_homozygous: int) -> float:
    n = homozygous + heterozygous + other_homozygous
    rare = 2 * min(homozygous, other_homozygous) + heterozygous
    if rare == 0:
        return 1.0
    log_factorial = _log_factorials(n)
    hets = np.arange(rare % 2, rare + 1, 2)
    rare_homs = (rare - hets) // 2
    # log of 2^hets n! / (rare_homs! hets! common_homs!), less what is the same for every number of heterozygotes.
    log_p = hets * np.log(2) - (log_factorial[rare_homs] + log_factorial[hets] + log_factorial[n - hets - rare_homs])
    found = log_p[(heterozygous - rare % 2) // 2]
    p = np.exp(log_p - log_p.max())
    return float(min(p[log_p <= found + _TIE].sum() / p.sum(), 1.0))


@lru_cache(maxsize=4)
def _log_factorials(n: int) -> NDArray[np.float64]:
    from scipy.special import gammaln

    return np.asarray(gammaln(np.arange(n + 1) + 1.0))
