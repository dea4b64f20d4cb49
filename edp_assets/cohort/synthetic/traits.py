"""The planted truth: latent traits of organs, the variants that move them, and who has which value.

Arrays and constants only: genotypes are drawn in `genotypes.py`, pixels in `anatomy.py`, codes in `labels.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PlantedVariant:
    """One causal variant: where it lies (GRCh37, inside the named gene) and what it moves.

    The gene, its Ensembl id and its place are real; the variant, its rsid and its effect are invented.
    """

    gene: str
    gene_id: str
    chromosome: int
    base_pair_location: int
    trait: str
    variance_explained: float


@dataclass(frozen=True)
class Trait:
    """A latent trait (mean 0, variance 1 in the cohort) and the share of its variance from each cause but genes.

    Shares are signed: a negative one lowers the trait. `ancestry` is the share due to the first ancestral population,
    which makes the genotype PCs covariates that matter.
    """

    name: str
    organ: str
    icd10: str
    age: float
    sex: float
    bmi: float
    ancestry: float


TRAITS = (
    Trait("fat_fraction", "liver", "K76", age=0.01, sex=0.02, bmi=0.08, ancestry=0.02),
    Trait("nodularity", "liver", "K76", age=0.06, sex=0.02, bmi=0.03, ancestry=0.01),
    Trait("cortex_thickness", "kidneys", "N18", age=-0.08, sex=0.02, bmi=0.02, ancestry=-0.01),
    Trait("wall_thickness", "heart", "I50", age=0.04, sex=0.04, bmi=0.05, ancestry=0.01),
)

PLANTED = (
    PlantedVariant("PNPLA3", "ENSG00000100344", 22, 44_340_000, "fat_fraction", 0.12),
    PlantedVariant("TM6SF2", "ENSG00000213996", 19, 19_379_000, "fat_fraction", 0.11),
    PlantedVariant("GCKR", "ENSG00000084734", 2, 27_733_000, "fat_fraction", 0.10),
    PlantedVariant("SERPINA1", "ENSG00000197249", 14, 94_850_000, "nodularity", 0.13),
    PlantedVariant("UMOD", "ENSG00000169344", 16, 20_356_000, "cortex_thickness", 0.12),
    PlantedVariant("SHROOM3", "ENSG00000138771", 4, 77_530_000, "cortex_thickness", 0.11),
    PlantedVariant("PRKAG2", "ENSG00000106617", 7, 151_410_000, "cortex_thickness", 0.10),
    PlantedVariant("HSPB7", "ENSG00000173641", 1, 16_343_000, "wall_thickness", 0.12),
    PlantedVariant("BAG3", "ENSG00000151929", 10, 121_424_000, "wall_thickness", 0.11),
    PlantedVariant("TBX5", "ENSG00000089225", 12, 114_819_000, "wall_thickness", 0.10),
)
"""A variance explained of 10-13% is 30 or more times what such a gene explains in life: the imaging cohort is as many
times smaller than UK Biobank's (1,200 people against 45,714), so the test statistics are of life's size."""

NULL_CHROMOSOMES = (11, 18)
"""Chromosomes with no effect on anything: what is found there is false."""

ORGANS = ("liver", "kidneys", "heart")

SIZE_CORRELATION = {"sex": 0.25, "bmi": 0.25, "fat_fraction": 0.25}
"""Correlation of log organ size with its causes; fat enlarges the liver alone."""


def standardise(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return values with mean 0 and variance 1; a constant becomes 0."""
    centred = np.asarray(values, dtype=np.float64) - np.mean(values)
    deviation = centred.std()
    return centred / deviation if deviation > 0 else centred


def draw_traits(
    rng: np.random.Generator,
    dosages: NDArray[np.int8],
    *,
    age: NDArray[np.float64],
    sex: NDArray[np.float64],
    bmi: NDArray[np.float64],
    ancestry: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """Draw each latent trait for everybody: planted variants + age, sex, BMI, ancestry + noise.

    Args:
        rng: Source of the noise and of each variant's direction.
        dosages: (len(PLANTED), n_participants), 0, 1 or 2 copies, none missing.
        age: (n_participants,) years; `sex` 0 or 1; `bmi` kg/m2; `ancestry` share of the first ancestral population.
        sex: see `age`.
        bmi: see `age`.
        ancestry: see `age`.

    Returns:
        Trait name to (n_participants,) values of variance 1.
    """
    causes = {"age": age, "sex": sex, "bmi": bmi, "ancestry": ancestry}
    scaled = {name: standardise(values) for name, values in causes.items()}
    traits = {}
    for trait in TRAITS:
        shares = {name: float(getattr(trait, name)) for name in causes}
        value = sum(np.sign(share) * np.sqrt(abs(share)) * scaled[name] for name, share in shares.items())
        left = 1.0 - sum(abs(share) for share in shares.values())
        for planted, copies in zip(PLANTED, dosages, strict=True):
            if planted.trait == trait.name:
                direction = rng.choice((-1.0, 1.0))
                value = value + direction * np.sqrt(planted.variance_explained) * standardise(copies)
                left -= planted.variance_explained
        traits[trait.name] = standardise(value + np.sqrt(left) * rng.standard_normal(age.size))
    return traits


def draw_sizes(
    rng: np.random.Generator,
    traits: dict[str, NDArray[np.float64]],
    *,
    sex: NDArray[np.float64],
    bmi: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """Draw each organ's log size, (n_participants,) of variance 1: organ to values.

    Size follows the traits weakly, so organ volume is a fair but weaker phenotype.
    """
    sizes = {}
    for organ in ORGANS:
        causes = {"sex": sex, "bmi": bmi}
        if organ == "liver":
            causes["fat_fraction"] = traits["fat_fraction"]
        value = sum(SIZE_CORRELATION[name] * standardise(values) for name, values in causes.items())
        left = 1.0 - sum(SIZE_CORRELATION[name] ** 2 for name in causes)
        sizes[organ] = standardise(value + np.sqrt(left) * rng.standard_normal(sex.size))
    return sizes
