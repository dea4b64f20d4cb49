"""What embeddings can be adjusted for: columns of the participants, traits, and the embeddings' own components.

Names are looked up and values read here; what a factor does to embeddings is in `science.phenotypes.adjustment`.
"""

from __future__ import annotations

import polars as pl

from edp_assets.cohort.config import FILE, Cohort, did_you_mean
from edp_assets.cohort.problems import CohortError, Problem
from edp_assets.cohort.reading import read_text_table
from edp_assets.cohort.tables import DERIVED, read_participants
from edp_assets.cohort.traits import read_trait_dictionary, read_traits
from edp_assets.science.phenotypes.adjustment import EMBEDDING_FACTOR

NAMED = 30
"""Traits that an error names; a biobank has thousands."""

VALUES = {"eid": pl.String, "factor": pl.String, "value": pl.Float64, "level": pl.String}


def measured_factors(cohort: Cohort, organ: str) -> list[str]:
    """Return the organ's factors that are measured, in order; the others are components of its embeddings."""
    return [name for name in cohort.settings.organs[organ].adjust_for if not EMBEDDING_FACTOR.fullmatch(name)]


def read_factors(cohort: Cohort, organ: str) -> pl.DataFrame:
    """Return the values of an organ's measured factors, as `factor_values` does, from the cohort's files.

    Raises:
        CohortError: a table is refused, or a factor is in none of them.
    """
    names = measured_factors(cohort, organ)
    if not names:
        return pl.DataFrame(schema=VALUES)
    participants = read_participants(cohort).require()
    # The traits of a biobank are a large table: read for those factors alone that the participants do not have.
    elsewhere = [name for name in names if DERIVED.get(name, name) not in _with_values(participants)]
    traits = read_traits(cohort).require() if elsewhere else pl.DataFrame(schema={"eid": pl.String})
    if problems := factor_problems(cohort, participants, traits, [organ]):
        raise CohortError(problems)
    kinds = dict(read_trait_dictionary(cohort).table.select("trait", "kind").iter_rows()) if elsewhere else {}
    return factor_values(names, participants, traits, kinds)


def factor_problems(
    cohort: Cohort, participants: pl.DataFrame, traits: pl.DataFrame, organs: list[str] | None = None
) -> list[Problem]:
    """Return a problem for each factor of each organ that the cohort does not have, naming what there is.

    Args:
        cohort: its settings name the factors.
        participants: the participants' table; a column without a value counts as absent.
        traits: eid and one column a trait; eid alone where there is no such table.
        organs: the organs asked about; None: all.
    """
    of_people, of_traits = _with_values(participants), _with_values(traits)
    problems = []
    for organ in cohort.settings.organs if organs is None else organs:
        for name in measured_factors(cohort, organ):
            if DERIVED.get(name, name) in of_people or name in of_traits:
                continue
            columns = _columns(cohort, participants)
            known = f"embedding_pc1, embedding_pc2, ...; of the participants: {', '.join(columns)}"
            if of_traits:
                more = f" and {len(of_traits) - NAMED} more" if len(of_traits) > NAMED else ""
                known += f"; of the traits: {', '.join(of_traits[:NAMED])}{more}"
            elif cohort.traits is None:
                known += "; there is no table of traits"
            found = f'adjust_for names "{name}"{did_you_mean(name, (*columns, *of_traits, "embedding_pc1"))}'
            remedy = "correct the name, add the column, or take it off adjust_for"
            problems.append(Problem("refused", FILE, f"[organs.{organ}]", f"one of {known}", found, remedy))
    return problems


def factor_values(
    names: list[str], participants: pl.DataFrame, traits: pl.DataFrame, kinds: dict[str, str]
) -> pl.DataFrame:
    """Return eid, factor, value (where it is continuous) or level (categorical); no row where it is missing.

    A column of the participants goes before a trait of the same name. Their imaging date counts days since 1970, and
    age_squared is about the mean age. A trait is what its kind says; without one, continuous where all its values are
    numbers.

    Args:
        names: factors, each a column of one of the tables.
        participants: the participants' table: it says who counts.
        traits: eid and one column a trait.
        kinds: trait -> kind, of the trait dictionary.
    """
    frames = [pl.DataFrame(schema=VALUES)]
    for name in names:
        source = DERIVED.get(name, name)
        if source in _with_values(participants):
            frame, kind = participants.select("eid", value=source), "as it was read"
            if name == "imaging_date":
                frame = frame.with_columns(pl.col("value").str.to_date("%Y-%m-%d").to_physical().cast(pl.Float64))
            elif name != source:
                frame = frame.with_columns((pl.col("value") - pl.col("value").mean()) ** 2)
        else:
            frame = traits.select("eid", value=name).join(participants.select("eid"), on="eid", how="semi")
            kind = kinds.get(name, "")
        frame = frame.drop_nulls()
        numbers = frame["value"].cast(pl.Float64, strict=False)
        if frame["value"].dtype == pl.String and (kind or numbers.null_count()):
            frame = frame.rename({"value": "level"})
        else:
            frame = frame.with_columns(value=numbers).filter(pl.col("value").is_finite())
        frames.append(frame.sort("eid").with_columns(factor=pl.lit(name)))
    return pl.concat(frames, how="diagonal_relaxed")


def _with_values(table: pl.DataFrame) -> list[str]:
    return [name for name in table.columns if name != "eid" and table[name].null_count() < table.height]


def _columns(cohort: Cohort, participants: pl.DataFrame) -> list[str]:
    """Return the columns of the participants' file that could be factors; of those read, the ones with values."""
    _, header, _ = read_text_table(cohort.participants, cohort.label(cohort.participants), "eid".__eq__, ["eid"])
    empty = set(participants.columns) - set(_with_values(participants))
    return [name for name in header if name not in empty]
