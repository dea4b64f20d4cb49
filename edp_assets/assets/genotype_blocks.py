"""The variants of a chromosome that an association may test, in blocks: read, X counted, filtered, left out by count.

Who stands in the association is `people.py`; the rules themselves are in `science/genetics`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from edp_assets.assets.stage import StageRun
from edp_assets.settings import AssociationSettings

if TYPE_CHECKING:
    from edp_assets.science.genetics.genotypes import GenotypeFile

VARIANT = ["chromosome", "base_pair_location", "effect_allele", "other_allele", "rsid"]


def usable_blocks(
    run: StageRun, people: pl.DataFrame, chromosome: str, metadata: dict[str, Any]
) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
    """Yield the usable variants of a chromosome in blocks; the arguments and blocks are those of `Sample.blocks`."""
    from edp_assets.science.genetics.genotypes import open_genotypes
    from edp_assets.science.genetics.variant_qc import repeats

    settings = run.workspace.settings.association
    paths = run.workspace.cohort.genotype_paths()
    male = (people["sex"] == 1).fill_null(value=False).to_numpy()
    with open_genotypes(paths["all"] if "all" in paths else paths[chromosome]) as genotypes:
        samples = places(genotypes.sample_ids, people["eid"], chromosome)
        mine = (genotypes.variants["chromosome"] == chromosome).to_numpy()
        rows = np.flatnonzero(mine)
        # A sorted file holds a chromosome in one stretch; read no more than that stretch.
        first, last = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
        stretch = genotypes.variants.slice(first, last - first)
        repeated = repeats(stretch).to_numpy()
        single = _males_have_one(run, chromosome, stretch)
        coding = _males_x(genotypes, samples, male, first + np.flatnonzero(single & mine[first:last]), settings)
        for start in range(first, last, settings.block_variants):
            stop = min(start + settings.block_variants, last)
            chosen = np.flatnonzero(mine[start:stop])
            if not len(chosen):
                continue
            place = start - first + chosen
            block = genotypes.read(start, stop, samples)
            block = coding.count(block if len(chosen) == len(block) else block[chosen], male, single[place])
            keep, reasons, frequency = _filter(block, repeated[place], single[place], male, settings)
            _add(metadata, {"variants_read": len(chosen)})
            _add(metadata.setdefault("variants_left_out", {}), reasons)
            if keep.any():
                variants = stretch[place].select(VARIANT).with_columns(effect_allele_frequency=pl.Series(frequency))
                yield variants.filter(pl.Series(keep)), block[keep]
        if chromosome == "X" and male.any():
            metadata["males_x"] = coding.told()
        if not len(rows):
            _add(metadata, {"variants_read": 0})


def _add(metadata: dict[str, Any], counts: dict[str, int]) -> None:
    """Add counts to those of other blocks and chromosomes; nothing is written of a reason that left out nobody."""
    for name, n in counts.items():
        if n or name in metadata or name == "variants_read":
            metadata[name] = metadata.get(name, 0) + n


def places(sample_ids: list[str], eids: pl.Series, chromosome: str) -> np.ndarray:
    """Return where the people of an association stand in a genotype file, (n_participants,)."""
    place = {eid: i for i, eid in enumerate(sample_ids)}
    missing = [eid for eid in eids if eid not in place]
    if missing:
        raise ValueError(
            f"chromosome {chromosome}: {len(missing)} of {len(eids)} people of the association are "
            f"not in its genotype file (first: {missing[0]}). All chromosomes must hold the same people."
        )
    return np.array([place[eid] for eid in eids], dtype=np.int64)


def _males_have_one(run: StageRun, chromosome: str, variants: pl.DataFrame) -> np.ndarray:
    """Return of which variants males have one allele: X outside the pseudo-autosomal regions, (n_variants,)."""
    from edp_assets.science.genetics.sex_chromosomes import pseudo_autosomal

    if chromosome != "X":
        return np.zeros(variants.height, dtype=bool)
    return ~pseudo_autosomal(variants["base_pair_location"].to_numpy(), run.workspace.cohort.genome_build)


@dataclass
class _MalesX:
    """How a file counts males' X, and how many calls were taken for missing because one X cannot have them."""

    counts_one: bool | None = None
    impossible: int = 0

    def count(self, block: np.ndarray, male: np.ndarray, single: np.ndarray) -> np.ndarray:
        from edp_assets.science.genetics.sex_chromosomes import count_males_twice

        if not (single.any() and male.any()):
            return block
        block[single], impossible = count_males_twice(block[single], male, bool(self.counts_one))
        self.impossible += impossible
        return block

    def told(self) -> str:
        how = {True: "0 or 1, doubled", False: "0 or 2", None: "taken as 0 or 2: too few carriers to tell"}
        return f"counted {how[self.counts_one]}; {self.impossible} calls of two alleles taken for missing"


def _males_x(
    genotypes: GenotypeFile, samples: np.ndarray, male: np.ndarray, rows: np.ndarray, settings: AssociationSettings
) -> _MalesX:
    """Find out how a file counts males' X from its first variants (`rows`) outside the pseudo-autosomal regions."""
    from edp_assets.science.genetics.sex_chromosomes import counts_one_x

    if not male.any():
        return _MalesX()
    carriers: list[np.ndarray] = []
    for start in range(0, len(rows), settings.block_variants):
        part = rows[start : start + settings.block_variants]
        block = genotypes.read(int(part[0]), int(part[-1]) + 1, samples[male])[part - part[0]]
        carriers.append(block[block > 0.5])
        counts_one = counts_one_x(np.concatenate(carriers)[None, :])
        if counts_one is not None:
            return _MalesX(counts_one)
    return _MalesX()


def _filter(
    block: np.ndarray, repeated: np.ndarray, single: np.ndarray, male: np.ndarray, settings: AssociationSettings
) -> tuple[np.ndarray, dict[str, int], np.ndarray]:
    """Return which variants to test, how many are left out for which reason, and the effect alleles' frequencies."""
    from edp_assets.science.genetics.hardy_weinberg import hardy_weinberg_p
    from edp_assets.science.genetics.variant_qc import imputation_info, keep_variants, variant_stats

    hwe_p = info = None
    if settings.min_hwe_p > 0:
        hwe_p = np.ones(len(block))
        hwe_p[~single] = hardy_weinberg_p(block[~single])
        hwe_p[single] = hardy_weinberg_p(block[single][:, ~male])
    if settings.min_info > 0:
        info = np.ones(len(block))
        info[~single] = imputation_info(block[~single])
        info[single] = imputation_info(block[single], male)
    stats = variant_stats(block)
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
    return keep, reasons, stats.effect_allele_frequency
