"""ICD-10 codes and medication as a biobank records them: noisy, incomplete, written in many ways.

Latent traits come in, rows go out; no genotypes and no pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from edp_assets.cohort.synthetic.traits import standardise

RECORDED = 0.74
"""Share of the true cases whose code is written down."""
FALSE_POSITIVES = 0.003
"""Share of the others who have the code all the same."""
MEDICATION = {"metformin": ("E11", 0.65, 0.004), "salbutamol": ("J45", 0.50, 0.010)}
"""Medication: the code it is taken for, and how many of those with and without the code take it."""


@dataclass(frozen=True)
class Code:
    """An ICD-10 code: recorded prevalence in the cohort, what its liability weighs, and how it is written.

    The liability has variance 1: the weights are correlations with its causes where these are independent.
    """

    icd10: str
    prevalence: float
    written: tuple[str, ...]
    weights: dict[str, float] = field(default_factory=dict)


CODES = (
    Code("K76", 0.060, ("K760", "K76.0", "K769", "K76.8"), {"fat_fraction": 0.58, "nodularity": 0.48}),
    Code(
        "E11", 0.070, ("E119", "E11.9", "E112", "E11"), {"fat_fraction": 0.45, "cortex_thickness": -0.35, "bmi": 0.30}
    ),
    Code("N18", 0.055, ("N183", "N18.3", "N189", "N18.4"), {"cortex_thickness": -0.72}),
    Code("I50", 0.050, ("I500", "I50.0", "I509", "I50.9"), {"wall_thickness": 0.70, "age": 0.12}),
    Code("I10", 0.200, ("I10",), {"wall_thickness": 0.22, "age": 0.30, "bmi": 0.30}),
    Code("J45", 0.080, ("J459", "J45.9", "J450"), {"bmi": 0.08}),
    Code("M54", 0.090, ("M545", "M54.5", "M542"), {"bmi": 0.10}),
    Code("H26", 0.070, ("H269", "H26.9"), {"age": 0.50}),
    Code("K40", 0.050, ("K409", "K40.9"), {"sex": 0.50}),
    Code("L40", 0.035, ("L400", "L40.0", "L409"), {}),
)


def draw_cases(rng: np.random.Generator, causes: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.bool_]]:
    """Draw who has each code on record: code to (n_participants,).

    A true case is one whose liability passes the threshold that gives the prevalence; about a quarter of them are
    never recorded, and a few people are recorded who are none.

    Args:
        rng: Source of the noise.
        causes: The traits, age, sex and bmi by name, (n_participants,) each.
    """
    scaled = {name: standardise(values) for name, values in causes.items()}
    people = next(iter(scaled.values())).size
    cases = {}
    for code in CODES:
        known = sum((weight * scaled[name] for name, weight in code.weights.items()), np.zeros(people))
        liability = known + np.sqrt(1.0 - known.var()) * rng.standard_normal(people)
        true_prevalence = (code.prevalence - FALSE_POSITIVES) / (RECORDED - FALSE_POSITIVES)
        true = liability > np.quantile(liability, 1.0 - true_prevalence)
        cases[code.icd10] = rng.uniform(size=people) < np.where(true, RECORDED, FALSE_POSITIVES)
    return cases


def write_down(rng: np.random.Generator, eids: list[str], cases: dict[str, NDArray[np.bool_]]) -> pl.DataFrame:
    """Return the cases as hospital records: eid, icd10, date; long, in no order of people.

    Some people have a code several times, under different sub-codes and spellings (K760, K76.0).
    """
    first, last = np.datetime64("1997-01-01"), np.datetime64("2022-12-31")
    rows: list[tuple[str, str, np.datetime64]] = []
    for code in CODES:
        for person in np.flatnonzero(cases[code.icd10]):
            visits = int(rng.choice((1, 2, 3), p=(0.7, 0.2, 0.1)))
            days = np.sort(rng.integers(0, (last - first).astype(int) + 1, size=visits))
            written = rng.choice(code.written, size=visits)
            rows += [(eids[person], str(text), first + day) for text, day in zip(written, days, strict=True)]
    order = rng.permutation(len(rows))
    return pl.DataFrame(
        {
            "eid": [rows[i][0] for i in order],
            "icd10": [rows[i][1] for i in order],
            "date": pl.Series(np.array([rows[i][2] for i in order], dtype="datetime64[D]"), dtype=pl.Date),
        }
    )


def write_medication(rng: np.random.Generator, eids: list[str], cases: dict[str, NDArray[np.bool_]]) -> pl.DataFrame:
    """Return who says to take what, sparsely told as in life: eid, label; long, sorted."""
    rows: list[tuple[str, str]] = []
    for name, (code, with_code, without) in MEDICATION.items():
        takes = rng.uniform(size=len(eids)) < np.where(cases[code], with_code, without)
        rows += [(eids[person], name) for person in np.flatnonzero(takes)]
    return pl.DataFrame(rows, schema=["eid", "label"], orient="row").sort("eid", "label")
