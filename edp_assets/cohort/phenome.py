"""The phenome of a cohort's imaged people: which traits and phecodes there are, and everybody's values.

Tables are put together here; what a kind of trait is tested as is in `science.phenome.traits`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from edp_assets.cohort.config import Cohort
from edp_assets.cohort.phecodes import read_phecode_map
from edp_assets.cohort.problems import CohortError
from edp_assets.cohort.traits import read_trait_dictionary, read_traits, trait_names
from edp_assets.science.phenome.phecodes import Mapped, map_diagnoses

BLOCK = 64
"""Traits that are read and stored together: of 500,000 people 64 columns of text take 1 GB."""

TEXTS = ("trait", "description", "category", "kind", "reason")
UNDESCRIBED = "undescribed"


def read_phecodes(cohort: Cohort, diagnoses: pl.DataFrame, people: pl.DataFrame) -> Mapped | None:
    """Return the phecodes of the people (eid, sex) by their diagnoses (eid, icd10); None without a map.

    Raises:
        CohortError: a phecode table is refused.
    """
    phecode_map, problems = read_phecode_map(cohort)
    if problems:
        raise CohortError(problems)
    if phecode_map is None:
        return None
    sex = people["sex"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    return map_diagnoses(diagnoses, people["eid"], sex, phecode_map)


def read_phenome_dictionary(cohort: Cohort, people: pl.DataFrame, phecodes: Mapped | None) -> pl.DataFrame:
    """Return every trait and phecode with its kind, or why it has none.

    Args:
        cohort: the cohort.
        people: eid; whose categories count.
        phecodes: of these people.

    Returns:
        trait, description, category, kind, place (of its values), levels (of a categorical trait, by their number),
        reason; traits in the order of their table, then phecodes by number.

    Raises:
        CohortError: the traits or their dictionary are refused.
    """
    described = {row["trait"]: row for row in read_trait_dictionary(cohort).require().iter_rows(named=True)}
    names, rows = trait_names(cohort), []
    for name in names:
        row = described.get(name, {"description": name, "category": UNDESCRIBED, "kind": UNDESCRIBED})
        reason = None if name in described else "no row in the trait dictionary: its kind is not known"
        rows.append({**row, "trait": name, "reason": reason})
    lacking = [row for name, row in described.items() if name not in set(names)]
    rows += [{**row, "reason": "no column in the traits' table"} for row in lacking]
    if phecodes is not None:
        for phecode, description, category in phecodes.table.select("phecode", "description", "category").iter_rows():
            row = {"trait": f"phecode:{phecode}", "description": description, "category": category or "phecodes"}
            rows.append({**row, "kind": "phecode", "reason": None})
    frame = pl.DataFrame(rows, schema=dict.fromkeys(TEXTS, pl.String))
    frame = frame.with_columns(pl.col("category", "description").fill_null(UNDESCRIBED))
    usable = pl.col("reason").is_null()
    place = pl.when(usable).then(usable.cum_sum() - 1).cast(pl.Int32)
    levels = _levels(cohort, frame.filter(usable & (pl.col("kind") == "categorical"))["trait"].to_list(), people)
    of_trait = pl.Series([levels.get(name) for name in frame["trait"]], dtype=pl.List(pl.String))
    return frame.with_columns(place=place, levels=of_trait)


def _levels(cohort: Cohort, names: list[str], people: pl.DataFrame) -> dict[str, list[str]]:
    """Return the categories of each trait among the people, sorted."""
    levels: dict[str, list[str]] = {}
    for first in range(0, len(names), BLOCK):
        table = read_traits(cohort, names[first : first + BLOCK]).require().join(people, on="eid", how="semi")
        levels |= {name: table[name].drop_nulls().unique().sort().to_list() for name in table.columns if name != "eid"}
    return levels


def phenome_blocks(
    cohort: Cohort, dictionary: pl.DataFrame, people: pl.DataFrame, phecodes: Mapped | None
) -> Iterator[pl.DataFrame]:
    """Yield everybody's values, a block of traits a frame: block, eid (in the order of `people`), values.

    Args:
        cohort: the cohort.
        dictionary: as `read_phenome_dictionary` gives it.
        people: eid; who is imaged.
        phecodes: of these people.
    """
    placed = dictionary.filter(pl.col("place").is_not_null()).sort("place")
    first_phecode = placed.filter(pl.col("kind") != "phecode").height
    for first in range(0, placed.height, BLOCK):
        block = placed[first : first + BLOCK]
        traits = block.filter(pl.col("kind") != "phecode")
        parts = [_trait_values(cohort, traits, people)] if traits.height else []
        if traits.height < block.height and phecodes is not None:
            places = range(max(first, first_phecode) - first_phecode, first + block.height - first_phecode)
            parts.append(phecodes.status(places))
        values = pl.Series(np.concatenate(parts, axis=1), dtype=pl.Array(pl.Float64, block.height))
        yield people.select(block=pl.lit(first // BLOCK, pl.Int32), eid="eid", values=values.arr.to_list())


def _trait_values(cohort: Cohort, traits: pl.DataFrame, people: pl.DataFrame) -> NDArray[np.float64]:
    """Return the values of some traits (n_participants, n_traits), categories as their numbers, NaN where missing."""
    table = read_traits(cohort, traits["trait"].to_list()).require()
    table = people.select("eid").join(table, on="eid", how="left", maintain_order="left")
    columns = []
    for name, levels in traits.select("trait", "levels").iter_rows():
        column = table[name]
        if levels is not None:
            numbers = {level: float(number) for number, level in enumerate(levels)}
            column = column.replace_strict(numbers, default=None, return_dtype=pl.Float64)
        columns.append(column.cast(pl.Float64).fill_null(np.nan).to_numpy())
    values = np.column_stack(columns)
    values[~np.isfinite(values)] = np.nan
    return values
