"""Which variants are fit to test: their counts over the participants, and counted reasons to leave one out.

Reading genotypes is `genotypes.py`, testing them `regression.py`, `projection.py` and `logistic.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray


@dataclass(frozen=True)
class VariantStats:
    """Counts of each variant over the participants tested; arrays are (n_variants,).

    Attributes:
        n_participants: participants in the block.
        effect_allele_frequency: of the effect allele among called dosages; NaN where nobody is called.
        missing: share of participants without a call.
        minor_allele_count: sum of the rarer allele's dosages among the called (2 a participant, X of males too).
        constant: all called dosages are equal (monomorphic, or all heterozygous): nothing to test.
    """

    n_participants: int
    effect_allele_frequency: NDArray[np.float64]
    missing: NDArray[np.float64]
    minor_allele_count: NDArray[np.float64]
    constant: NDArray[np.bool_]

    @property
    def called(self) -> NDArray[np.int64]:
        """Participants with a call, (n_variants,)."""
        return np.rint((1.0 - self.missing) * self.n_participants).astype(np.int64)

    def of(self, chosen: NDArray[Any]) -> VariantStats:
        """Return the counts of some of the variants."""
        return VariantStats(
            self.n_participants,
            self.effect_allele_frequency[chosen],
            self.missing[chosen],
            self.minor_allele_count[chosen],
            self.constant[chosen],
        )


def variant_stats(G: NDArray[Any]) -> VariantStats:
    """Count a block (n_variants, n_participants): dosages, NaN where missing, or int8 calls, below 0 where missing."""
    return _call_stats(G) if G.dtype == np.int8 else centre(G)[1]


def _call_stats(calls: NDArray[np.int8]) -> VariantStats:
    n_variants, n = calls.shape
    counts = np.empty((3, n_variants), np.int64)
    for i, row in enumerate(calls):  # one variant at a time stays in the processor's cache
        counts[:, i] = np.count_nonzero(row < 0), np.count_nonzero(row == 1), np.count_nonzero(row == 2)
    missing, one, two = counts
    called, total = n - missing, (one + 2 * two).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        frequency = total / called / 2
    constant = (one == called) | (two == called) | (one + two == 0)
    return VariantStats(n, frequency, missing / n, np.minimum(total, 2.0 * called - total), constant)


def centre(G: NDArray[np.floating[Any]]) -> tuple[NDArray[np.floating[Any]], VariantStats]:
    """Mean-impute and centre a block, so that a missing call is 0, and count it on the way.

    Mean imputation is what regenie does; plink2 leaves the participant out for that variant instead.

    Args:
        G: (n_variants, n_participants) dosages, NaN where missing; it is left as it is.

    Returns:
        The centred block, (n_variants, n_participants) of G's dtype, and its counts.
    """
    n = G.shape[1]
    if n == 0:
        raise ValueError("no participants: wanted dosages (n_variants, n_participants), found no column")
    absent = np.isnan(G)
    missing = np.count_nonzero(absent, axis=1)
    centred = G.copy()
    if missing.any():
        centred[absent] = 0
    total = centred.sum(axis=1, dtype=np.float64)
    called = n - missing
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / called
    centred -= np.where(called > 0, mean, 0.0).astype(G.dtype)[:, None]
    if missing.any():
        centred[absent] = 0
    # Equal dosages need not centre to exactly 0; dosages are stored to 1/16384 at the finest.
    constant = np.maximum(centred.max(axis=1), -centred.min(axis=1)) < 1e-5
    stats = VariantStats(n, mean / 2, missing / n, np.minimum(total, 2.0 * called - total), constant)
    return centred, stats


def repeats(variants: pl.DataFrame) -> pl.Series:
    """Return True for each variant that repeats an earlier one: its place and alleles, whichever is counted.

    An rsID may occur more than once: the variants of a site of several alleles share theirs.
    """
    place = variants.select(
        "chromosome",
        "base_pair_location",
        first=pl.min_horizontal("effect_allele", "other_allele"),
        second=pl.max_horizontal("effect_allele", "other_allele"),
    )
    return ~place.select(pl.struct(pl.all()).is_first_distinct()).to_series()


def imputation_info(
    G: NDArray[np.floating[Any]], males_with_one_x: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return the ratio of observed to expected variance of the dosages (MaCH's r2).

    As plink2's MACH_R2, which has none for X. 1 is a variant known for everyone and in Hardy-Weinberg equilibrium: hard
    calls have it near 1, not at 1.

    Args:
        G: (n_variants, n_participants) dosages, NaN where missing.
        males_with_one_x: (n_participants,), on X outside the PARs: counted 0 or 2 they
            vary twice as much; None: nobody.

    Returns:
        (n_variants,), NaN where all called alleles are the same.
    """
    info = np.full(len(G), np.nan)
    for row, dosages in enumerate(G):  # one variant at a time stays in the processor's cache
        called = ~np.isnan(dosages)
        n = np.count_nonzero(called)
        if n == 0:
            continue
        mean = np.where(called, dosages, 0).sum(dtype=np.float64) / n
        deviation = np.where(called, dosages - mean.astype(G.dtype), 0)
        one_x = 0 if males_with_one_x is None else np.count_nonzero(called & males_with_one_x)
        expected = mean * (1 - mean / 2) * (n + one_x)  # 2pq a person of two alleles
        if expected > 1e-9 * n:
            info[row] = np.dot(deviation, deviation) / expected
    return info


def keep_variants(
    stats: VariantStats,
    min_maf: float = 0.0,
    min_mac: float = 0.0,
    max_missing: float = 1.0,
    min_hwe_p: float = 0.0,
    hwe_p: NDArray[np.float64] | None = None,
    min_info: float = 0.0,
    info: NDArray[np.float64] | None = None,
    repeated: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Choose the variants to test.

    Args:
        stats: counts of the variants.
        min_maf: least minor allele frequency (plink2 --maf).
        min_mac: least minor allele count (plink2 --mac, regenie --minMAC).
        max_missing: largest share of missing calls (plink2 --geno).
        min_hwe_p: least p-value of Hardy-Weinberg equilibrium (plink2 --hwe).
        hwe_p: (n_variants,) from `hardy_weinberg.hardy_weinberg_p`; None: not tested.
        min_info: least ratio of observed to expected variance (plink2 --mach-r2-filter).
        info: (n_variants,) from `imputation_info`; None: not asked.
        repeated: (n_variants,) True where a variant repeats an earlier one (`repeats`); None: none does.

    Returns:
        (n_variants,) bool, True where the variant is kept, and how many were left out for each reason: repeated,
        missing, monomorphic, min_maf, min_mac, min_hwe_p, min_info. A variant counts once, for the first reason in
        that order.
    """
    maf = np.minimum(stats.effect_allele_frequency, 1.0 - stats.effect_allele_frequency)
    keep = np.ones(len(maf), dtype=bool)
    nobody = np.zeros(len(maf), dtype=bool)
    reasons: dict[str, int] = {}
    # The small slack keeps a variant that stands exactly on a threshold, whatever the rounding of its sum.
    for reason, fails in (
        ("repeated", nobody if repeated is None else repeated),
        ("missing", (stats.missing > max_missing + 1e-9) | np.isnan(maf)),
        ("monomorphic", stats.constant),
        ("min_maf", maf < min_maf - 1e-9),
        ("min_mac", stats.minor_allele_count < min_mac - 1e-4),
        ("min_hwe_p", nobody if hwe_p is None else hwe_p < min_hwe_p),
        ("min_info", nobody if info is None else info < min_info - 1e-6),
    ):
        reasons[reason] = int(np.count_nonzero(keep & fails))
        keep &= ~fails
    return keep, reasons
