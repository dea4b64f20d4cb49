"""The X chromosome's two kinds of people: males counted 0 or 2, whatever their file counts them.

Outside the pseudo-autosomal regions a male has one X. Counted 0 or 2 he weighs as a homozygous female, as X
inactivation has it (plink2 --xchr-model 2, regenie).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PSEUDO_AUTOSOMAL = {
    "NCBI36": (2709521, 154584237),
    "GRCh37": (2699520, 154931044),
    "GRCh38": (2781479, 155701383),
}
"""Last position of PAR1 and first of PAR2 on X in base pairs, by genome build (plink2 --split-par)."""

FEWEST_CARRIERS = 10
"""Males' calls other than 0 that must be seen before it is said how a file counts them."""


def pseudo_autosomal(positions: NDArray[np.integer[Any]], build: str) -> NDArray[np.bool_]:
    """Return True for positions on X, in base pairs, where males have two alleles: (n_variants,).

    Raises:
        ValueError: a build of no known bounds.
    """
    if build not in PSEUDO_AUTOSOMAL:
        raise ValueError(f"genome build: wanted one of {', '.join(PSEUDO_AUTOSOMAL)}, found {build!r}")
    last, first = PSEUDO_AUTOSOMAL[build]
    return (positions <= last) | (positions >= first)


def counts_one_x(G: NDArray[np.floating[Any]]) -> bool | None:
    """Say whether a file counts males' X as 0 or 1, from their dosages (n_variants, n_males) outside the PARs.

    By the majority of carriers, so that a few people of the wrong sex or heterozygous calls decide nothing.

    Returns:
        True: 0 or 1; False: 0 or 2; None: fewer than `FEWEST_CARRIERS` carriers to say it by.
    """
    carriers, twice = int(np.count_nonzero(G > 0.5)), int(np.count_nonzero(G > 1.5))
    return None if carriers < FEWEST_CARRIERS else carriers > 2 * twice


def count_males_twice(
    G: NDArray[np.floating[Any]], male: NDArray[np.bool_], counts_one: bool
) -> tuple[NDArray[np.floating[Any]], int]:
    """Count males' X as 0 or 2, and take what one X cannot be for missing, as plink2 does.

    Args:
        G: (n_variants, n_participants) dosages outside the PARs, NaN where missing; it is left as it is.
        male: (n_participants,).
        counts_one: the file counts males as 0 or 1 (`counts_one_x`), where more is impossible; else as 0 or 2, where
            exactly 1 is heterozygous.

    Returns:
        The dosages, of G's dtype, and how many calls were taken for missing.
    """
    G, males = G.copy(), G[:, male]
    impossible = males > 1.5 if counts_one else males == 1
    G[:, male] = np.where(impossible, np.nan, 2 * males if counts_one else males)
    return G, int(np.count_nonzero(impossible))
