"""Kinship of all pairs of people by KING's robust estimator, and who is left out so that no related pair remains.

A kinship table that somebody else computed is read in `cohort.kinship`.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from edp_assets.science.genetics.hard_calls import MISSING, HardCalls

log = logging.getLogger(__name__)

TILE_BYTES = 1 << 27
"""Most bytes of the products of some people with all others; five arrays of this size are held."""

MOST_PAIRS = 100
"""Related pairs a person, on average, above which the cutoff is refused: it would be of chance, and fill the memory."""

PRODUCTS_A_SECOND = 5e10
"""Multiply-adds that two cores do in a second, reading and counting included: edp_assets_tests/benchmarks/ancestry.py
prints 4e10 with other work beside it."""

BY_CHANCE = 0.05
"""Unrelated pairs of a whole cohort that may reach the cutoff by chance, expected; of more it is raised."""

_PAIRS_AT_ONCE = 4096


@dataclass(frozen=True)
class RelatedPairs:
    """Pairs of people, each once, sorted.

    Attributes:
        first: (n_pairs,) index of the one.
        second: (n_pairs,) index of the other, above `first`.
        kinship: (n_pairs,) KING-robust: 0.5 of the same genome, 0.25 of parent and child and of full siblings, 0.125 of
            second degree, 0 of the unrelated, below 0 of different ancestry.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    kinship: NDArray[np.float64]


def hours_of_all_pairs(n_participants: int, n_variants: int) -> float:
    """Estimate how long `related_pairs` takes on two cores: half the people squared x variants multiply-adds."""
    return n_participants**2 / 2 * n_variants / PRODUCTS_A_SECOND / 3600


def related_pairs(calls: HardCalls, cutoff: float) -> RelatedPairs:
    """Return the pairs whose kinship is at or above a cutoff.

    phi = 1/2 - D / (4 min(h_i, h_j)), where D is the sum of (g_i - g_j)^2 and h the heterozygous calls, over variants
    that both have called: KING-robust between families (Manichaikul et al. 2010, equation 11), plink2's KINSHIP.

    One float32 product a pair finds the few candidates: with z = -1, 0, 1 (0 also where missing),
    |z_i|^2 + |z_j|^2 - 2 z_i'z_j exceeds D by at most the missing calls of the two, so no related pair is lost. Their
    kinship is then counted exactly. People are taken in tiles against all later ones, so that memory is bounded
    (TILE_BYTES, a block of genotypes, and the pairs found).

    Args:
        calls: genotypes of autosomal variants.
        cutoff: least kinship of a pair, above 0.

    Raises:
        ValueError: more than MOST_PAIRS pairs a person.
    """
    n, m = calls.n_participants, calls.n_variants
    log.info(
        "kinship of all pairs of %d people over %d variants: %.1e multiply-adds, about %.2g hours on two cores",
        n, m, n**2 / 2 * m, hours_of_all_pairs(n, m),
    )  # fmt: skip
    homozygous, heterozygous, missing = (np.zeros(n, np.float32) for _ in range(3))
    for variants in calls.blocks():
        codes = calls.codes(variants)
        heterozygous += np.count_nonzero(codes == 1, axis=0)
        missing += np.count_nonzero(codes == MISSING, axis=0)
    homozygous[:] = m - heterozygous - missing
    tile = min(max(TILE_BYTES // (4 * n), 64), 4096) // 4 * 4  # `decode` starts at a multiple of 4
    found: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    pairs, told = 0, time.monotonic()
    for first in range(0, n, tile):
        products = np.zeros((min(tile, n - first), n - first), np.float32)
        for variants in calls.blocks():
            z = calls.decode(variants, (-1, 0, 1, 0), first)
            products += z[:, : len(products)].T @ z
        rows, others = slice(first, first + len(products)), slice(first, n)
        least = homozygous[rows, None] - missing[rows, None] + (homozygous - missing)[None, others] - 2 * products
        most = (2 - 4 * cutoff) * np.minimum(heterozygous[rows, None], heterozygous[None, others])
        i, j = np.nonzero(least <= most + 0.5)
        later = j > i
        found.append((first + i[later], first + j[later]))
        pairs += int(later.sum())
        if pairs > 2 * MOST_PAIRS * n:
            raise ValueError(_too_many(pairs, n, m, cutoff))
        if time.monotonic() - told > 60:
            told = time.monotonic()
            log.info("kinship: %d of %d people held against all others", first + len(products), n)
    i, j = (np.concatenate(part) for part in zip(*found, strict=True))
    kinship = pair_kinship(calls, i, j)
    related = kinship >= cutoff  # False where it is not a number
    if related.sum() > MOST_PAIRS * n:
        raise ValueError(_too_many(int(related.sum()), n, m, cutoff))
    return RelatedPairs(i[related], j[related], kinship[related])


def pair_kinship(calls: HardCalls, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return KING-robust kinship of given pairs, (n_pairs,), exactly; NaN where one of them has no heterozygous call.

    Args:
        calls: genotypes of autosomal variants.
        first: (n_pairs,) index of the one.
        second: (n_pairs,) index of the other.
    """
    counts = np.zeros((3, len(first)))  # D, heterozygous of the first, of the second
    for variants in calls.blocks(1 << 24):  # bounds the copies of 4,096 pairs
        codes = np.ascontiguousarray(calls.codes(variants).T)
        for start in range(0, len(first), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            a, b = codes[first[part]], codes[second[part]]
            both = (a != MISSING) & (b != MISSING)
            apart = np.where(a > b, a - b, b - a) * both
            counts[0, part] += np.count_nonzero(apart, axis=1) + 3 * np.count_nonzero(apart == 2, axis=1)
            counts[1, part] += np.count_nonzero((a == 1) & both, axis=1)
            counts[2, part] += np.count_nonzero((b == 1) & both, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        kinship = 0.5 - counts[0] / (4 * np.minimum(counts[1], counts[2]))
    return np.where(np.isfinite(kinship), kinship, np.nan)


@dataclass(frozen=True)
class Chance:
    """What kinship unrelated people have by chance: half a normal distribution, above 0.

    Attributes:
        pairs: how many pairs have any of it.
        spread: standard deviation of the normal distribution; 0 where no pair has any.
    """

    pairs: float
    spread: float

    def expected(self, cutoff: float) -> float:
        """Return how many unrelated pairs reach a cutoff: about 0 where there are variants enough."""
        return float(self.pairs * 2 * ndtr(-cutoff / self.spread)) if self.spread else 0.0

    def beyond(self, cutoff: float) -> float:
        """Return the cutoff, or the least above it that unrelated pairs reach once in `1 / BY_CHANCE` cohorts."""
        if self.expected(cutoff) <= BY_CHANCE:
            return cutoff
        return float(-self.spread * ndtri(BY_CHANCE / 2 / self.pairs))


def kinship_by_chance(calls: HardCalls, sample: int = 2000) -> Chance:
    """Estimate `Chance` from the kinship of pairs at random, above 0: pairs of different ancestry lie below.

    Args:
        calls: genotypes of autosomal variants.
        sample: pairs drawn.
    """
    n = calls.n_participants
    i, j = np.random.default_rng(0).integers(0, n, (2, sample))
    kinship = pair_kinship(calls, i[i != j], j[i != j])
    above = kinship[kinship > 0]
    if not above.size:
        return Chance(0.0, 0.0)
    return Chance(n * (n - 1) / 2 * above.size / kinship.size, float(np.median(above) / ndtri(0.75)))


def choose_left_out(pairs: Sequence[tuple[str, str]], imaged: frozenset[str] = frozenset()) -> set[str]:
    """Choose whom to leave out so that no pair remains, few in all.

    Greedily: whoever has the most relatives left, again and again; of equals first one without a scan, then the first
    eid in the order of text.

    Args:
        pairs: eids of related people.
        imaged: eids of people with a scan.
    """
    relatives: dict[str, set[str]] = {}
    for a, b in pairs:
        relatives.setdefault(a, set()).add(b)
        relatives.setdefault(b, set()).add(a)
    heap = [(-len(others), eid in imaged, eid) for eid, others in relatives.items()]
    heapq.heapify(heap)
    left_out: set[str] = set()
    while heap:
        n, _, eid = heapq.heappop(heap)
        if n == 0:
            break
        if -n != len(relatives.get(eid, ())):
            continue  # an older entry: a relative has gone since
        left_out.add(eid)
        for other in relatives.pop(eid):
            relatives[other].remove(eid)
            heapq.heappush(heap, (-len(relatives[other]), other in imaged, other))
    return left_out


def _too_many(pairs: int, n: int, m: int, cutoff: float) -> str:
    return (
        f"kinship: {pairs} pairs of {n} people reach {cutoff} over {m} variants, more than {MOST_PAIRS} a person: "
        "wanted a cutoff that tells relatives from chance. Raise [ancestry] max_kinship, or give more variants."
    )
