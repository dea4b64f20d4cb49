"""Variants that tell ancestry and relatedness: common, well called, nearly independent, outside long-range LD.

Only the choice belongs here; principal components are `ancestry.py`, kinship is `kinship.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from edp_assets.science.genetics.variant_qc import centre, keep_variants

EXAMINED = 2_000_000
"""Most variants that are looked at, evenly spaced over the autosomes where there are more (imputed, mostly rare)."""

OF_KINSHIP = 100_000
"""Most variants that kinship is of, evenly spaced over those chosen (UK Biobank's: 93,511, Bycroft et al. 2018)."""

AUTOSOMES = tuple(str(i) for i in range(1, 23))

_IN_EVERY_BUILD = (("5", 44.0, 51.5), ("6", 25.0, 35.0), ("8", 7.0, 13.0), ("11", 45.0, 58.0))
LONG_RANGE_LD: dict[str, tuple[tuple[str, float, float], ...]] = {
    "NCBI36": (("2", 134.5, 138.0), *_IN_EVERY_BUILD, ("17", 40.5, 42.5)),
    "GRCh37": (("2", 134.5, 138.5), *_IN_EVERY_BUILD, ("17", 43.0, 45.0)),
    "GRCh38": (("2", 133.5, 137.5), *_IN_EVERY_BUILD, ("17", 45.0, 47.0)),
}
"""Regions of long-range LD by genome build: chromosome, first and last megabase.

LCT, chromosome 5's centromere, the MHC, the inversion of 8p23, chromosome 11's centromere, the inversion of 17q21: the
strongest of Price et al. 2008 (AJHG 83:132), which flashpca leaves out as well; wide enough for the builds they share.
"""


def outside_long_range_ld(variants: pl.DataFrame, build: str) -> pl.Series:
    """Return True for autosomal variants outside LONG_RANGE_LD, (n_variants,).

    Args:
        variants: chromosome and base_pair_location among the columns.
        build: genome build of the positions.

    Raises:
        ValueError: a build of no known regions.
    """
    if build not in LONG_RANGE_LD:
        raise ValueError(f"genome build: wanted one of {', '.join(LONG_RANGE_LD)}, found {build!r}")
    inside = [
        (pl.col("chromosome") == chromosome) & pl.col("base_pair_location").is_between(first * 1e6, last * 1e6)
        for chromosome, first, last in LONG_RANGE_LD[build]
    ]
    return variants.select(pl.col("chromosome").is_in(AUTOSOMES) & ~pl.any_horizontal(inside)).to_series()


def evenly_spaced(n: int, most: int) -> NDArray[np.int64]:
    """Return at most so many of the numbers 0 to n - 1, evenly spaced; all where there are no more."""
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).astype(np.int64)


def well_called(G: NDArray[np.floating[Any]], min_maf: float, max_missing: float) -> NDArray[np.bool_]:
    """Return which variants of a block G (n_variants, n_participants) are common and called enough, (n_variants,)."""
    return keep_variants(centre(G)[1], min_maf=min_maf, max_missing=max_missing)[0]


def prune(blocks: Iterable[NDArray[np.floating[Any]]], max_r2: float, window: int) -> NDArray[np.bool_]:
    """Choose variants of a chromosome so that no two within the window correlate by more than max_r2.

    Variants are taken in their order, each held against those kept so far, and of a pair above max_r2 the rarer goes
    (equally rare: the later one), as in plink2 --indep-pairwise with a step of one variant. r^2 counts a missing call
    as the variant's mean. Memory: the dosages of a block and of the window's kept variants.

    Args:
        blocks: dosages (n_variants, n_participants), NaN where missing, in the chromosome's order.
        max_r2: largest r^2 of two variants kept.
        window: two variants are compared that lie fewer than so many variants apart.

    Returns:
        Which variants are kept, over all blocks (n_variants,); none that does not vary.
    """
    keep = np.empty(0, bool)
    rows, place, maf = np.empty((0, 0), np.float32), np.empty(0, np.int64), np.empty(0)  # of the window's kept variants
    for block in blocks:
        X, stats = centre(np.asarray(block, np.float32))
        length = np.linalg.norm(X, axis=1)
        X /= np.where(length > 0, length, 1)[:, None]
        older, first = len(place), len(keep)
        keep = np.append(keep, length > 0)
        rows = np.concatenate([rows, X]) if older else X
        place = np.append(place, first + np.arange(len(block)))
        maf = np.append(maf, np.minimum(stats.effect_allele_frequency, 1 - stats.effect_allele_frequency))
        correlated = np.square(X @ rows.T) > max_r2
        for new in np.flatnonzero(keep[first:]):
            j = older + new
            near = correlated[new, :j] & (place[:j] > place[j] - window) & keep[place[:j]]
            for i in np.flatnonzero(near):
                if maf[i] >= maf[j]:
                    keep[place[j]] = False
                    break
                keep[place[i]] = False
        stays = keep[place] & (place > len(keep) - window)
        rows, place, maf = rows[stays], place[stays], maf[stays]
    return keep
