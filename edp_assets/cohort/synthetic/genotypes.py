"""Genotypes with linkage disequilibrium and population structure, and the PLINK 1 files that hold them.

A variant map, haplotypes, principal components, and the .bed writer; what the variants do is in `traits.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtri

from edp_assets.cohort.synthetic.traits import PLANTED

# GRCh37, base pairs; chromosome 1 first.
CHROMOSOME_LENGTHS = (
    249_250_621, 243_199_373, 198_022_430, 191_154_276, 180_915_260, 171_115_067, 159_138_663, 146_364_022,
    141_213_431, 135_534_747, 135_006_516, 133_851_895, 115_169_878, 107_349_540, 102_531_392, 90_354_753,
    81_195_210, 78_077_248, 59_128_983, 63_025_520, 48_129_895, 51_304_566,
)  # fmt: skip
FIRST_BASE = {13: 19_000_000, 14: 19_000_000, 15: 20_000_000, 21: 14_000_000, 22: 16_000_000}
"""Where the sequence of the acrocentric chromosomes starts; elsewhere near 1 Mb."""

VARIANTS = 10_000
BLOCK_VARIANTS = (8, 40)
SPACING = 4_000.0
"""Mean base pairs between neighbours of a block; blocks lie megabases apart, as on an array of chosen regions."""
CORRELATION_LENGTH = 40_000.0
"""Base pairs over which the latent correlation of a block falls to 1/e."""
FST = (0.02, 0.03, 0.05)
PLANTED_FST = 0.01
ADMIXTURE = (2.0, 0.8, 0.5)
"""Dirichlet parameters of a participant's shares of the three ancestral populations."""
MISSING = 0.002
THINNING_R2 = 0.2
THINNING_MAF = 0.05


@dataclass(frozen=True)
class Chromosome:
    """Genotypes of one chromosome.

    `variants` has one row a variant: chromosome, base_pair_location, rsid, a1 (minor, counted), a2, block, planted
    (the gene, or null). `genotypes` is (n_variants, n_participants) int8, copies of a1, -1 missing; `complete` is the
    same before calls went missing.
    """

    number: int
    variants: pl.DataFrame
    genotypes: NDArray[np.int8]
    complete: NDArray[np.int8]


def draw_admixture(rng: np.random.Generator, participants: int) -> NDArray[np.float64]:
    """Draw (n_participants, 3) shares of the ancestral populations: continuous, most from the first."""
    return rng.dirichlet(ADMIXTURE, size=participants)


def draw_variants(rng: np.random.Generator, number: int, first_rsid: int, variants: int) -> pl.DataFrame:
    """Draw the map of one chromosome: blocks spread over its length, ascending positions, alleles.

    Args:
        rng: Source of the draw.
        number: Chromosome, 1-22.
        first_rsid: Number of its first rsid; the others follow on.
        variants: How many, within a block's size.

    Returns:
        Columns chromosome, base_pair_location, rsid, block, planted.
    """
    sizes: list[int] = []
    while sum(sizes) < variants:
        sizes.append(int(rng.integers(BLOCK_VARIANTS[0], BLOCK_VARIANTS[1] + 1)))
    start, end = FIRST_BASE.get(number, 1_000_000), CHROMOSOME_LENGTHS[number - 1] - 1_000_000
    slot = (end - start) / len(sizes)
    here = {int((p.base_pair_location - start) // slot): p for p in PLANTED if p.chromosome == number}
    rows: list[tuple[int, int, str | None]] = []
    for block, size in enumerate(sizes):
        steps = np.concatenate([[0], np.cumsum(1 + rng.exponential(SPACING, size - 1).astype(np.int64))])
        causal = here.get(block)
        if causal is None:
            first = start + int(slot * block + rng.uniform(0.0, 1.0) * max(slot - steps[-1] - 1, 0))
        else:
            first = causal.base_pair_location - int(steps[size // 2])
        names = [causal.gene if causal and i == size // 2 else None for i in range(size)]
        rows += [(first + int(step), block, name) for step, name in zip(steps, names, strict=True)]
    frame = pl.DataFrame(
        rows, schema={"base_pair_location": pl.Int64, "block": pl.Int64, "planted": pl.String}, orient="row"
    )
    rsids = [f"rs{first_rsid + i}" for i in range(frame.height)]
    return frame.with_columns(chromosome=pl.lit(number, pl.Int64), rsid=pl.Series(rsids))


def draw_haplotypes(
    rng: np.random.Generator, variants: pl.DataFrame, admixture: NDArray[np.float64]
) -> NDArray[np.int8]:
    """Draw copies of one allele, (n_variants, n_participants), in blocks of decaying correlation.

    Each haplotype draws one ancestral population a block from its owner's shares; its alleles are a latent Gaussian
    AR(1) along the block, cut at that population's frequency (Balding and Nichols 1995, given the ancestral frequency
    and F_ST).
    """
    participants = admixture.shape[0]
    position, block = variants["base_pair_location"].to_numpy(), variants["block"].to_numpy()
    causal = variants["planted"].is_not_null().to_numpy()
    ancestral = 0.01 * 50.0 ** rng.uniform(size=variants.height)  # log-uniform 1-50%: three in five below 10%
    ancestral[causal] = rng.uniform(0.28, 0.45, size=causal.sum())
    fst = np.where(causal, PLANTED_FST, np.array(FST)[:, None])
    scale = (1.0 - fst) / fst
    frequencies = np.clip(rng.beta(ancestral * scale, (1.0 - ancestral) * scale), 1e-3, 1.0 - 1e-3)
    cuts = ndtri(frequencies).astype(np.float32)  # (3, n_variants)
    # Some minor alleles travel together, others apart.
    phase = np.where(rng.uniform(size=variants.height) < 0.3, -1.0, 1.0).astype(np.float32)
    cumulative = np.repeat(np.cumsum(admixture, axis=1)[:, :2], 2, axis=0)

    copies = np.empty((variants.height, participants), dtype=np.int8)
    latent = np.zeros(2 * participants, dtype=np.float32)
    origin = np.zeros(2 * participants, dtype=np.int64)
    for i in range(variants.height):
        fresh = rng.standard_normal(2 * participants, dtype=np.float32)
        if i == 0 or block[i] != block[i - 1]:
            origin = (rng.uniform(size=(2 * participants, 1)) > cumulative).sum(axis=1)
            latent = fresh
        else:
            rho = np.float32(np.exp(-(position[i] - position[i - 1]) / CORRELATION_LENGTH))
            latent = rho * latent + np.sqrt(1 - rho * rho) * fresh
        alleles = phase[i] * latent < cuts[origin, i]
        copies[i] = alleles.reshape(participants, 2).sum(axis=1)
    return copies


def draw_chromosomes(seed: int, admixture: NDArray[np.float64], variants: int = VARIANTS) -> Iterator[Chromosome]:
    """Draw the 22 chromosomes one after the other, each from its own generator.

    Args:
        seed: Of the cohort.
        admixture: (n_participants, 3) ancestral shares.
        variants: How many over all chromosomes, about.
    """
    rsid = 900_000_001  # above the rsids given out: none is mistaken for a real variant
    for number, length in enumerate(CHROMOSOME_LENGTHS, start=1):
        rng = np.random.default_rng([seed, 1, number])
        frame = draw_variants(rng, number, rsid, round(variants * length / sum(CHROMOSOME_LENGTHS)))
        rsid += frame.height
        copies = draw_haplotypes(rng, frame, admixture)
        major = copies.mean(axis=1) > 1.0
        copies[major] = 2 - copies[major]
        first = rng.integers(0, 4, size=frame.height)
        second = (first + rng.integers(1, 4, size=frame.height)) % 4
        bases = np.array(list("ACGT"))
        missing = rng.random(copies.shape, dtype=np.float32) < MISSING
        yield Chromosome(
            number,
            frame.with_columns(a1=pl.Series(bases[first]), a2=pl.Series(bases[second])),
            np.where(missing, np.int8(-1), copies),
            copies,
        )


def thin(chromosome: Chromosome) -> NDArray[np.float32]:
    """Return standardised genotypes of common variants in little LD, (n_kept, n_participants).

    Greedy from the left within each block: a variant stays if its r2 with every one kept is below 0.2.
    """
    copies = chromosome.complete.astype(np.float32)
    copies -= copies.mean(axis=1, keepdims=True)
    frequency = chromosome.complete.mean(axis=1) / 2
    deviation = copies.std(axis=1)
    usable = (np.minimum(frequency, 1 - frequency) >= THINNING_MAF) & (deviation > 0)
    block = chromosome.variants["block"].to_numpy()
    kept: list[int] = []
    for name in np.unique(block):
        rows = np.flatnonzero((block == name) & usable)
        scaled = copies[rows] / deviation[rows, None]
        r2 = (scaled @ scaled.T / copies.shape[1]) ** 2
        stay: list[int] = []
        for i in range(rows.size):
            if all(r2[i, j] < THINNING_R2 for j in stay):
                stay.append(i)
        kept += rows[stay].tolist()
    return copies[kept] / deviation[kept, None]


def principal_components(genotypes: NDArray[np.float32], components: int = 10) -> NDArray[np.float64]:
    """Return the leading principal components of standardised genotypes, (n_participants, components).

    Scaled to variance 1; the sign is such that each component's largest entry is positive.
    """
    from scipy.sparse.linalg import svds

    start = np.ones(min(genotypes.shape)) / np.sqrt(min(genotypes.shape))
    _, values, right = svds(genotypes.astype(np.float64), k=components, v0=start, solver="arpack")
    scores = right[np.argsort(-values)].T
    scores *= np.sign(scores[np.abs(scores).argmax(axis=0), np.arange(components)])
    return scores / scores.std(axis=0)


def write_plink(stem: Path, chromosome: Chromosome, fam: pl.DataFrame) -> None:
    """Write `stem`.bed, .bim and .fam: SNP-major, two bits a call, a1 counted.

    Args:
        stem: Path without the extension.
        chromosome: The genotypes.
        fam: eid and sex (0 female, 1 male), in the genotypes' order.
    """
    # PLINK 1: 00 two copies of a1, 10 one, 11 none, 01 missing (-1 takes the last of the four); four people a byte,
    # the first in the lowest bits.
    codes = np.array([0b11, 0b10, 0b00, 0b01], dtype=np.uint8)[chromosome.genotypes]
    padding = -codes.shape[1] % 4
    codes = np.pad(codes, ((0, 0), (0, padding))).reshape(codes.shape[0], -1, 4)
    packed = codes[..., 0] | codes[..., 1] << 2 | codes[..., 2] << 4 | codes[..., 3] << 6
    stem.with_suffix(".bed").write_bytes(b"\x6c\x1b\x01" + packed.tobytes())
    bim = chromosome.variants.select("chromosome", "rsid", pl.lit(0).alias("cm"), "base_pair_location", "a1", "a2")
    bim.write_csv(stem.with_suffix(".bim"), separator="\t", include_header=False)
    plink_sex = pl.when(pl.col("sex") == 1).then(1).otherwise(2).alias("sex")
    zero, none = pl.lit(0).alias("father"), pl.lit(-9).alias("phenotype")
    people = fam.select(
        pl.col("eid").alias("FID"), pl.col("eid").alias("IID"), zero, pl.lit(0).alias("mother"), plink_sex, none
    )
    people.write_csv(stem.with_suffix(".fam"), separator="\t", include_header=False)
