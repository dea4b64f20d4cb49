"""Lambda GC of a stream of p-values in bounded memory, its scaled forms, and what chance can make of it.

The median is read off a histogram, its chance variance off blocks of the genome; `calibration.py` holds lambda GC of an
array, and the effective number of variants from genotypes, which a file of statistics does not hold.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from edp_assets.science.genetics.calibration import MEDIAN_Z
from edp_assets.science.genetics.tails import neg_log_10_p_from_t, z_from_neg_log_10_p

BLOCK_BASE_PAIRS = 5_000_000
"""Variants this near each other may correlate; blocks of the genome this long are taken to be independent."""

_BINS_EACH = 16384  # a unit of -log10 p: lambda GC is right to 1e-4 or better
_LARGEST = 16  # -log10 p; a median above it (lambda GC of 140) is given as 16
_BLOCKS_EACH = 1 << 10  # more than a chromosome has
_MEDIAN_NEG_LOG_10_P = float(np.log10(2))


@dataclass(frozen=True)
class Inflation:
    """How inflated a phenotype's statistics are.

    Attributes:
        variants: with a p-value that is a number.
        lambda_gc: median chi-squared over 0.4549; NaN without variants.
        effective_variants: independent variants whose median would vary by chance as much as these ones' does.
        blocks: blocks of the genome that this was estimated from.
    """

    variants: int
    lambda_gc: float
    effective_variants: float
    blocks: int


class InflationStream:
    """Takes -log10 p a batch at a time, in any order, and tells `Inflation`; memory does not grow with the variants."""

    def __init__(self) -> None:
        self._histogram = np.zeros(_BINS_EACH * _LARGEST + 1, np.int64)
        self._variants: Counter[int] = Counter()
        self._below: Counter[int] = Counter()

    def add(
        self, neg_log_10_p_value: NDArray[np.float64], chromosome: NDArray[np.int64], position: NDArray[np.int64]
    ) -> None:
        """Take some variants.

        Args:
            neg_log_10_p_value: (n_variants,); what is not a number is left out.
            chromosome: (n_variants,) any number for each chromosome.
            position: (n_variants,) base pairs.
        """
        known = ~np.isnan(neg_log_10_p_value)
        if not known.any():
            return
        values = neg_log_10_p_value[known]
        counts = np.bincount((np.clip(values, 0, _LARGEST) * _BINS_EACH).astype(np.int64))
        self._histogram[: len(counts)] += counts
        block = chromosome[known] * _BLOCKS_EACH + position[known] // BLOCK_BASE_PAIRS
        first = int(block.min())
        n, k = (np.bincount(block - first, weights) for weights in (None, values > _MEDIAN_NEG_LOG_10_P))
        for place in np.flatnonzero(n):
            self._variants[first + int(place)] += int(n[place])
            self._below[first + int(place)] += int(k[place])

    def result(self) -> Inflation:
        """Return what the variants so far tell."""
        total = int(self._histogram.sum())
        if not total:
            return Inflation(0, float("nan"), 0.0, 0)
        n = np.array(list(self._variants.values()), np.float64)
        k = np.array([self._below[block] for block in self._variants], np.float64)
        return Inflation(total, self._median_z() ** 2 / MEDIAN_Z**2, _effective_variants(n, k), len(n))

    def _median_z(self) -> float:
        cumulative = np.cumsum(self._histogram)
        half = cumulative[-1] / 2
        place = int(np.searchsorted(cumulative, half))
        before = cumulative[place] - self._histogram[place]
        within = (half - before) / self._histogram[place]
        return float(z_from_neg_log_10_p((place + within) / _BINS_EACH))


class ManyInflations:
    """Takes the t-statistics of many phenotypes on the same variants, and tells `Inflation` of each.

    As `InflationStream`, with a hundredth of its memory a phenotype; lambda GC above 35 is told as that.
    """

    _BINS, _LARGEST = 4096, 4.0

    def __init__(self, n_phenotypes: int, df: int) -> None:
        """Start with nothing counted; df: degrees of freedom of t."""
        median_t = float(special.stdtrit(df, 0.75))
        self._df, self._median_r = df, median_t / np.sqrt(1 + median_t**2 / df)
        self._histograms = np.zeros((n_phenotypes, self._BINS + 1), np.int64)
        self._places: dict[int, int] = {}
        self._starts, self._rows = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._variants = np.zeros(0, np.int64)
        self._beyond = np.zeros((n_phenotypes, 0), np.int64)

    def next_block(self, chromosome: NDArray[np.int64], position: NDArray[np.int64]) -> None:
        """Take the places of a block of variants, whose statistics follow.

        Args:
            chromosome: (n_variants,) any number for each chromosome.
            position: (n_variants,) base pairs.
        """
        block = chromosome * _BLOCKS_EACH + position // BLOCK_BASE_PAIRS
        self._starts = np.flatnonzero(np.diff(block, prepend=-1))
        begun = [self._places.setdefault(int(b), len(self._places)) for b in block[self._starts]]
        self._rows = np.array(begun, np.int64)
        new = len(self._places) - len(self._variants)
        self._variants = np.append(self._variants, np.zeros(new, np.int64))
        self._beyond = np.pad(self._beyond, ((0, 0), (0, new)))
        np.add.at(self._variants, self._rows, np.diff(self._starts, append=len(block)))

    def add(self, first: int, r: NDArray[np.float64]) -> None:
        """Take some phenotypes' statistics of that block.

        Args:
            first: place of the first phenotype; the others follow it.
            r: (n_phenotypes, n_variants) |correlation| less covariates times the root of df: |t| / sqrt(1 + t^2 / df).
        """
        chosen, width = slice(first, first + len(r)), self._BINS + 1
        place = np.minimum(r * (self._BINS / self._LARGEST), self._BINS).astype(np.int32)
        place += np.arange(len(r), dtype=np.int32)[:, None] * width
        self._histograms[chosen] += np.bincount(place.ravel(), minlength=len(r) * width).reshape(len(r), width)
        beyond = np.add.reduceat(r > self._median_r, self._starts, axis=1, dtype=np.int64)
        np.add.at(self._beyond[chosen].T, self._rows, beyond.T)  # a stretch may come twice where variants are unsorted

    def results(self) -> list[Inflation]:
        """Return what the variants so far tell of each phenotype."""
        total, n = int(self._variants.sum()), self._variants.astype(np.float64)
        if not total:
            return [Inflation(0, float("nan"), 0.0, 0)] * len(self._histograms)
        r = np.array([self._median(histogram) for histogram in self._histograms])
        median = r / np.sqrt(np.maximum(1 - r * r / self._df, 1e-14))
        lambdas = np.square(z_from_neg_log_10_p(neg_log_10_p_from_t(median, self._df))) / MEDIAN_Z**2
        return [
            Inflation(total, float(lambda_gc), _effective_variants(n, k.astype(np.float64)), len(n))
            for lambda_gc, k in zip(lambdas, self._beyond, strict=True)
        ]

    def _median(self, histogram: NDArray[np.int64]) -> float:
        cumulative = np.cumsum(histogram)
        half = cumulative[-1] / 2
        place = int(np.searchsorted(cumulative, half))
        within = (half - cumulative[place] + histogram[place]) / histogram[place] if place < self._BINS else 0.0
        return float((place + within) * self._LARGEST / self._BINS)


def _effective_variants(n: NDArray[np.float64], k: NDArray[np.float64]) -> float:
    """Return how many independent variants would vary as much: n variants a block, of which k have p below 0.5.

    The share of p-values below 0.5 is a ratio of sums over independent blocks; that of m independent variants varies
    by share (1 - share) / m. Correlated variants never vary less than independent ones.
    """
    total, blocks = n.sum(), len(n)
    share = k.sum() / total
    variance = blocks / max(blocks - 1, 1) * np.square(k - share * n).sum() / total**2
    independent = max(share * (1 - share), 1e-12)
    return float(min(independent / variance, total) if variance > 0 else total)


def units_of_1000(n: int, cases: int | None = None) -> float:
    """Return how many times 1,000 people (of a binary trait: 1,000 cases and 1,000 controls) an association has.

    Args:
        n: people.
        cases: of them, where the trait is binary; at least 1, and fewer than n.
    """
    if cases is None:
        return n / 1000
    return (2 / 1000) / (1 / cases + 1 / (n - cases))


def scaled_lambda(lambda_gc: float, units: float) -> float:
    """Return lambda scaled to one unit of 1,000 people: 1 + (lambda - 1) / units (Freedman 2004, de Bakker 2008)."""
    return 1 + (lambda_gc - 1) / units


def largest_by_chance(limit: float, found: Inflation, chance: float) -> float:
    """Return the largest lambda GC that a phenotype whose true one is `limit` shows but with probability `chance`.

    The share of p-values below the median varies by 1 / (2 sqrt(m)) of m effective variants; as this m is estimated
    from few blocks, its quantile is Student's with one degree of freedom fewer than blocks. Infinite where the variants
    are too few to tell.
    """
    if found.blocks < 2:
        return float("inf")
    reach = -special.stdtrit(found.blocks - 1, chance) / (2 * np.sqrt(found.effective_variants))
    if reach >= 0.5:
        return float("inf")
    return float(limit * special.ndtri((1.5 + reach) / 2) ** 2 / MEDIAN_Z**2)
