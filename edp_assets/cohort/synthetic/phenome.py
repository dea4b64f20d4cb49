"""Traits of every kind for the PheWAS, some moved by the organs' latent traits and some by nothing, and a phecode map.

Latent traits come in, columns go out; who is diagnosed with what is drawn in `labels`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from edp_assets.cohort.synthetic.labels import Code
from edp_assets.cohort.synthetic.traits import standardise

MISSING = 0.08
"""Share of the people who have no value of a trait."""
DIETS, COLOURS = ("omnivore", "pescatarian", "vegan", "vegetarian"), ("black", "blond", "brown", "red")


@dataclass(frozen=True)
class PhenomeTrait:
    """A trait, and what its liability (variance 1) weighs; what causes nothing here is a null.

    `cuts` are quantiles of the liability at which an ordered or binary trait steps; `at_zero` is the share of people
    who all have the value 0; `measured` the share who have a value at all.
    """

    name: str
    kind: str
    category: str
    description: str
    weights: dict[str, float] = field(default_factory=dict)
    cuts: tuple[float, ...] = ()
    at_zero: float = 0.0
    measured: float = 1.0 - MISSING
    labels: tuple[str, ...] = ()


BLOOD, LIFE, BODY, HEALTH = "blood biochemistry", "lifestyle", "body measures", "health"
PHENOME = (
    PhenomeTrait("alt", "continuous", BLOOD, "Alanine aminotransferase", {"fat_fraction": 0.50, "sex": 0.20}),
    PhenomeTrait("cystatin_c", "continuous", BLOOD, "Cystatin C", {"cortex_thickness": -0.50, "age": 0.20}),
    PhenomeTrait("nt_probnp", "continuous", BLOOD, "NT-proBNP", {"wall_thickness": 0.50, "age": 0.20}),
    PhenomeTrait("calcium", "continuous", BLOOD, "Calcium"),
    PhenomeTrait("apo_e4", "continuous", BLOOD, "Assay of few people", measured=0.05),
    PhenomeTrait("height", "continuous", BODY, "Standing height", {"sex": 0.60}),
    PhenomeTrait("grip", "continuous", BODY, "Hand grip strength", {"sex": 0.50, "age": -0.20}),
    PhenomeTrait("alcohol", "continuous", LIFE, "Alcohol, g a day", {"fat_fraction": 0.40}, at_zero=0.30),
    PhenomeTrait("coffee", "continuous", LIFE, "Cups of coffee a day", cuts=(0.15, 0.4, 0.6, 0.75, 0.88, 0.95)),
    PhenomeTrait("ultrasound", "binary", HEALTH, "Told of a fatty liver", {"fat_fraction": 0.60}, cuts=(0.85,)),
    PhenomeTrait("oedema", "binary", HEALTH, "Swollen ankles", {"wall_thickness": 0.50}, cuts=(0.80,)),
    PhenomeTrait("glasses", "binary", HEALTH, "Wears glasses", {"age": 0.20}, cuts=(0.40,)),
    PhenomeTrait("tinnitus", "binary", HEALTH, "Tinnitus", cuts=(0.90,)),
    PhenomeTrait("transplant", "binary", HEALTH, "Has had a transplant", cuts=(0.998,)),
    PhenomeTrait("fatigue", "ordinal", HEALTH, "Fatigue", {"cortex_thickness": -0.40}, cuts=(0.3, 0.6, 0.85)),
    PhenomeTrait("snoring", "ordinal", HEALTH, "Snoring", {"fat_fraction": 0.40, "bmi": 0.30}, cuts=(0.5, 0.8)),
    PhenomeTrait("chores", "ordinal", LIFE, "Days of gardening a week", cuts=(0.2, 0.5, 0.7, 0.9)),
    PhenomeTrait("diet", "categorical", LIFE, "Diet", {"fat_fraction": -0.60}, labels=DIETS),
    PhenomeTrait("hair", "categorical", BODY, "Hair colour", labels=COLOURS),
)

PHECODES = {
    "K76": ("571.5", "Chronic nonalcoholic liver disease", "570-573.99", "digestive"),
    "E11": ("250.2", "Type 2 diabetes", "249-250.99", "endocrine/metabolic"),
    "N18": ("585.3", "Chronic renal failure", "580-590.99", "genitourinary"),
    "I50": ("428.1", "Heart failure", "428-429.99", "circulatory system"),
    "I10": ("401.1", "Essential hypertension", "401-405.99", "circulatory system"),
    "J45": ("495", "Asthma", "490-498.99", "respiratory"),
    "M54": ("760", "Back pain", "760-760.99", "symptoms"),
    "H26": ("366", "Cataract", "366-366.99", "sense organs"),
    "K40": ("550.1", "Inguinal hernia", "550-550.99", "digestive"),
    "L40": ("696.4", "Psoriasis", "690-697.99", "dermatologic"),
}
FINER = {"E112": ("250.22", "Type 2 diabetes with renal manifestations", "249-250.99", "endocrine/metabolic")}
"""A code with a phecode of its own, below that of its category."""


def draw_phenome(
    rng: np.random.Generator, eids: list[str], causes: dict[str, NDArray[np.float64]]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Draw everybody's traits, and describe them.

    Args:
        rng: Source of all that the causes do not explain.
        eids: (n_participants,).
        causes: The latent traits, age, sex and bmi by name, (n_participants,) each.

    Returns:
        The traits (eid and a column each, null where missing) and their dictionary.
    """
    scaled = {name: standardise(values) for name, values in causes.items()}
    columns: dict[str, Any] = {"eid": eids}
    for trait in PHENOME:
        known = sum((weight * scaled[name] for name, weight in trait.weights.items()), np.zeros(len(eids)))
        if trait.labels:
            # Utilities of the categories: the causes speak for the last ones.
            lean = np.linspace(-1, 1, len(trait.labels))[:, None] * 2 * known
            chosen = (lean + rng.gumbel(size=(len(trait.labels), len(eids)))).argmax(axis=0)
            values: Any = np.array(trait.labels)[chosen].astype(object)
        else:
            liability = known + np.sqrt(1.0 - known.var()) * rng.standard_normal(len(eids))
            values = _measured(liability, trait).astype(object)
        values[rng.uniform(size=len(eids)) >= trait.measured] = None
        columns[trait.name] = pl.Series(values.tolist(), dtype=pl.String if trait.labels else pl.Float64)
    rows = [(trait.name, trait.description, trait.kind, trait.category) for trait in PHENOME]
    return pl.DataFrame(columns), pl.DataFrame(rows, schema=["trait", "description", "kind", "category"], orient="row")


def _measured(liability: NDArray[np.float64], trait: PhenomeTrait) -> NDArray[np.float64]:
    """Return what is written down of a liability: steps, or a skewed measure with some people at 0."""
    if trait.cuts:
        return np.digitize(liability, np.quantile(liability, trait.cuts)).astype(np.float64)
    measure = np.round(10 * np.exp(0.4 * liability), 4)
    return np.where(liability < np.quantile(liability, trait.at_zero), 0.0, measure) if trait.at_zero else measure


def phecode_map(codes: tuple[Code, ...]) -> pl.DataFrame:
    """Return a map of the codes and of how they are written, under the column names of the published one."""
    rows = []
    for code in codes:
        for written in sorted({code.icd10, *(text.replace(".", "") for text in code.written)}):
            phecode, phenotype, exclude, category = FINER.get(written, PHECODES[code.icd10])
            dotted = written if len(written) == 3 else f"{written[:3]}.{written[3:]}"
            rows.append((dotted, phecode, phenotype, exclude, "Both", category))
    names = ("ICD10", "PheCode", "Phenotype", "Excl. Phecodes", "sex", "category_string")
    return pl.DataFrame(rows, schema=list(names), orient="row")


def phenome_truth() -> dict[str, dict[str, float]]:
    """Return what each trait's liability weighs; nothing: a null."""
    return {trait.name: trait.weights for trait in PHENOME}
