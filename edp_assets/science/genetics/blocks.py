"""The variants of a chromosome in blocks: read, X counted by sex, filtered, left out by count.

Reading a file is `genotypes.py`, the rules are `variant_qc.py`, `hardy_weinberg.py` and `sex_chromosomes.py`; who
stands in the association is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from edp_assets.science.genetics.genotypes import MISSING_CALL, GenotypeFile
from edp_assets.science.genetics.hardy_weinberg import hardy_weinberg_p
from edp_assets.science.genetics.sex_chromosomes import count_males_twice, counts_one_x, pseudo_autosomal
from edp_assets.science.genetics.variant_qc import VariantStats, imputation_info, keep_variants, repeats, variant_stats
from edp_assets.settings import AssociationSettings

VARIANT = ["chromosome", "base_pair_location", "effect_allele", "other_allele", "rsid"]

BLOCK_BYTES = 128 * 2**20
"""Most that the float32 dosages of a block may take; what works on a block holds a few copies of it."""


def variants_a_block(n_participants: int, most: int) -> int:
    """Return how many variants a block has: `most`, or fewer where so many people would exceed `BLOCK_BYTES`."""
    return max(1, min(most, BLOCK_BYTES // (4 * max(n_participants, 1))))


@dataclass(frozen=True)
class Block:
    """Variants as they are read, X counted, none left out.

    Attributes:
        variants: chromosome, base_pair_location, effect_allele, other_allele, rsid.
        calls: (n_variants, n_participants) float32 dosages, NaN where missing; or int8 hard calls, `MISSING_CALL`
            where missing.
        repeated: (n_variants,) True where a variant repeats an earlier one.
        single: (n_variants,) True where males have one allele (X outside the pseudo-autosomal regions).
    """

    variants: pl.DataFrame
    calls: NDArray[Any]
    repeated: NDArray[np.bool_]
    single: NDArray[np.bool_]


@dataclass
class MalesX:
    """How a file counts males' X, and how many calls were taken for missing because one X cannot have them."""

    counts_one: bool | None = None
    impossible: int = 0

    def count(self, block: NDArray[Any], male: NDArray[np.bool_], single: NDArray[np.bool_]) -> NDArray[Any]:
        """Count the males of a block of dosages 0 or 2 where they have one X (`single`)."""
        if not (single.any() and male.any()):
            return block
        block[single], impossible = count_males_twice(block[single], male, bool(self.counts_one))
        self.impossible += impossible
        return block

    def told(self) -> str:
        """Return both in words."""
        how = {True: "0 or 1, doubled", False: "0 or 2", None: "taken as 0 or 2: too few carriers to tell"}
        return f"counted {how[self.counts_one]}; {self.impossible} calls of two alleles taken for missing"


class ChromosomeBlocks:
    """Iterates over the blocks of one chromosome of an open file, in its order.

    Attributes:
        n_variants: variants of the chromosome in the file.
        males_x: how the file counts males' X; known from the start, its calls counted while iterating.
    """

    def __init__(
        self,
        genotypes: GenotypeFile,
        chromosome: str,
        samples: NDArray[np.int64],
        male: NDArray[np.bool_],
        build: str,
        most_variants: int,
        *,
        hard_calls: bool = False,
    ) -> None:
        """Find the chromosome in the file, and how males are counted on X.

        Args:
            genotypes: the open file.
            chromosome: 1 ... 22, X, Y, MT, or another contig's name.
            samples: (n_participants,) places in the file's `sample_ids`.
            male: (n_participants,) True for males; only X asks.
            build: genome build, whose bounds the pseudo-autosomal regions have.
            most_variants: variants in a block, fewer where `BLOCK_BYTES` says so.
            hard_calls: hand over int8 hard calls where the file holds no dosages and the chromosome is not X.
        """
        self._genotypes, self._samples, self._male = genotypes, samples, male
        self._size = variants_a_block(len(samples), most_variants)
        self._mine = (genotypes.variants["chromosome"] == chromosome).to_numpy()
        rows = np.flatnonzero(self._mine)
        self.n_variants = len(rows)
        # A sorted file holds a chromosome in one stretch; read no more than that stretch.
        self._first, self._last = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
        self._stretch = genotypes.variants.slice(self._first, self._last - self._first)
        x = chromosome == "X"
        self._single = np.zeros(self._stretch.height, dtype=bool)
        if x:
            self._single = ~pseudo_autosomal(self._stretch["base_pair_location"].to_numpy(), build)
        self._hard_calls = hard_calls and not x
        alone = np.flatnonzero(self._single & self._mine[self._first : self._last])
        self.males_x = self._how_males_are_counted(self._first + alone)

    def _how_males_are_counted(self, rows: NDArray[np.int64]) -> MalesX:
        """Find out how the file counts males' X from its first variants (`rows`) where they have one allele."""
        carriers: list[NDArray[Any]] = []
        if not self._male.any():
            return MalesX()
        for start in range(0, len(rows), self._size):
            part = rows[start : start + self._size]
            block = self._genotypes.read(int(part[0]), int(part[-1]) + 1, self._samples[self._male])[part - part[0]]
            carriers.append(block[block > 0.5])
            counts_one = counts_one_x(np.concatenate(carriers)[None, :])
            if counts_one is not None:
                return MalesX(counts_one)
        return MalesX()

    def __iter__(self) -> Iterator[Block]:
        return self.after(0)

    def after(self, n_variants: int) -> Iterator[Block]:
        """Iterate without the first `n_variants`, which were read before."""
        repeated = repeats(self._stretch).to_numpy()
        read = self._genotypes.read_calls if self._hard_calls else self._genotypes.read
        begin = self._first + int(np.searchsorted(np.cumsum(self._mine[self._first : self._last]), n_variants + 1))
        for start in range(begin, self._last, self._size):
            stop = min(start + self._size, self._last)
            chosen = np.flatnonzero(self._mine[start:stop])
            if not len(chosen):
                continue
            place = start - self._first + chosen
            calls: NDArray[Any] = read(start, stop, self._samples)
            calls = calls if len(chosen) == len(calls) else calls[chosen]
            calls = self.males_x.count(calls, self._male, self._single[place])
            yield Block(self._stretch[place].select(VARIANT), calls, repeated[place], self._single[place])


def usable_calls(
    blocks: Iterable[Block], male: NDArray[np.bool_], settings: AssociationSettings, metadata: dict[str, Any]
) -> Iterator[tuple[pl.DataFrame, NDArray[Any], VariantStats]]:
    """Yield the variants that may be tested, as a table with effect_allele_frequency, their calls, and their counts.

    Calls are as the blocks have them, hard calls or dosages. A block of which nothing is left is yielded too.

    Adds to `metadata`: variants_read; variants_left_out, a dict of reason and count.

    Args:
        blocks: of one chromosome.
        male: (n_participants,).
        settings: the filters.
        metadata: counts of other chromosomes so far.
    """
    add_counts(metadata, {"variants_read": 0})
    for block in blocks:
        keep, reasons, stats = filter_variants(block.calls, block.repeated, block.single, male, settings)
        add_counts(metadata, {"variants_read": len(keep)})
        add_counts(metadata.setdefault("variants_left_out", {}), reasons)
        kept = stats.of(keep)
        variants = block.variants.filter(pl.Series(keep))
        variants = variants.with_columns(effect_allele_frequency=pl.Series(kept.effect_allele_frequency))
        yield variants, block.calls if keep.all() else block.calls[keep], kept


def add_counts(metadata: dict[str, Any], counts: dict[str, int]) -> None:
    """Add counts to those of other blocks and chromosomes; nothing is written of a reason that left out nobody."""
    for name, n in counts.items():
        if n or name in metadata or name == "variants_read":
            metadata[name] = metadata.get(name, 0) + n


def sample_places(sample_ids: Sequence[str], iids: Sequence[str], chromosome: str) -> NDArray[np.int64]:
    """Return where the people of an association stand in a genotype file, (n_participants,).

    Raises:
        ValueError: some are not in the file.
    """
    place = {iid: i for i, iid in enumerate(sample_ids)}
    missing = [iid for iid in iids if iid not in place]
    if missing:
        raise ValueError(
            f"chromosome {chromosome}: {len(missing)} of {len(iids)} people of the association are "
            f"not in its genotype file (first: {missing[0]}). All chromosomes must hold the same people."
        )
    return np.array([place[iid] for iid in iids], dtype=np.int64)


def dosages(calls: NDArray[Any]) -> NDArray[np.float32]:
    """Return a block's calls as float32 dosages, NaN where missing; dosages are returned as they are."""
    if calls.dtype != np.int8:
        return calls
    found = calls.astype(np.float32)
    found[calls == MISSING_CALL] = np.nan
    return found


def filter_variants(
    calls: NDArray[Any],
    repeated: NDArray[np.bool_],
    single: NDArray[np.bool_],
    male: NDArray[np.bool_],
    settings: AssociationSettings,
) -> tuple[NDArray[np.bool_], dict[str, int], VariantStats]:
    """Return which variants to test, how many are left out for which reason, and the counts of all of them.

    Hard calls are counted as whole numbers, a quarter of the memory and exact.
    """
    hwe_p = info = None
    block = dosages(calls) if settings.min_hwe_p > 0 or settings.min_info > 0 else calls
    if settings.min_hwe_p > 0:
        hwe_p = np.ones(len(block))
        hwe_p[~single] = hardy_weinberg_p(block[~single])
        hwe_p[single] = hardy_weinberg_p(block[single][:, ~male])
    if settings.min_info > 0:
        info = np.ones(len(block))
        info[~single] = imputation_info(block[~single])
        info[single] = imputation_info(block[single], male)
    stats = variant_stats(calls)
    keep, reasons = keep_variants(
        stats,
        settings.min_maf,
        settings.min_mac,
        settings.max_missing,
        min_hwe_p=settings.min_hwe_p,
        hwe_p=hwe_p,
        min_info=settings.min_info,
        info=info,
        repeated=repeated,
    )
    return keep, reasons, stats
