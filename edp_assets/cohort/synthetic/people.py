"""Who takes part: ids and covariates of the synthetic participants.

Nothing genetic but the principal components, nothing medical.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

CENTRES = ("Cheadle", "Newcastle", "Reading")
ARRAYS = ("UKBB", "UKBL")


def draw_eids(rng: np.random.Generator, participants: int) -> list[str]:
    """Draw unique ids of seven digits, in no order."""
    return [str(1_000_000 + eid) for eid in rng.choice(9_000_000, size=participants, replace=False)]


def draw_people(rng: np.random.Generator, eids: list[str]) -> pl.DataFrame:
    """Draw the covariates: eid, age (years), sex (0 female, 1 male), bmi (kg/m2), array, centre, date of imaging."""
    people = len(eids)
    sex = rng.integers(0, 2, size=people)
    age = np.clip(rng.normal(64.0, 7.8, size=people), 45.0, 80.0)
    bmi = np.clip(26.5 + 0.5 * sex + rng.gamma(4.0, 2.1, size=people) - 8.4, 16.0, 55.0)
    days = rng.integers(0, 2_800, size=people)
    return pl.DataFrame(
        {
            "eid": eids,
            "age": np.round(age, 1),
            "sex": sex,
            "bmi": np.round(bmi, 2),
            "genotyping_array": rng.choice(ARRAYS, size=people, p=(0.9, 0.1)),
            "imaging_centre": rng.choice(CENTRES, size=people, p=(0.6, 0.25, 0.15)),
            "imaging_date": pl.Series(np.datetime64("2014-05-01") + days, dtype=pl.Date),
        }
    )


def add_components(people: pl.DataFrame, components: NDArray[np.float64]) -> pl.DataFrame:
    """Add pc1, pc2, ... from (n_participants, n_components), rounded so that tables are the same on any machine."""
    columns = {f"pc{i}": np.round(column, 5) for i, column in enumerate(components.T, start=1)}
    return people.with_columns([pl.Series(name, values) for name, values in columns.items()])
