"""Reader of the PheWAS traits and their dictionary, both optional.

Only the tables belong here; what a kind of trait means to a test is in `science.phenome`.
"""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from edp_assets.cohort.config import Cohort, did_you_mean
from edp_assets.cohort.problems import Problem
from edp_assets.cohort.reading import Read, read_text_table
from edp_assets.cohort.schema import EID, TRAIT_DICTIONARY, TRAIT_KINDS, Column, empty
from edp_assets.cohort.values import parse_numbers, row_problems, sound_eids
from edp_assets.cohort.withdrawals import drop_withdrawn, read_withdrawn

STAGE = "traits"


def read_trait_dictionary(cohort: Cohort) -> Read:
    """Read the dictionary: trait, description, kind, category, in the file's order; no rows where there is none."""
    if cohort.trait_dictionary is None:
        return Read(empty(TRAIT_DICTIONARY))
    file = cohort.label(cohort.trait_dictionary)
    frame, _, problems = read_text_table(
        cohort.trait_dictionary, file, TRAIT_DICTIONARY.__contains__, list(TRAIT_DICTIONARY)
    )
    if frame is None:
        return Read(empty(TRAIT_DICTIONARY), problems)
    wanted = f"a kind of trait: {', '.join(TRAIT_KINDS)}"
    wrong = frame.filter(~pl.col("kind").fill_null("").is_in(TRAIT_KINDS))
    found = pl.format('kind "{}"', pl.col("kind").fill_null(""))
    problems += row_problems(wrong.select("row", "kind"), "refused", file, wanted, found, "correct the kind")
    again = frame.filter(~pl.col("trait").is_first_distinct() | pl.col("trait").is_null())
    found = pl.format('trait "{}" again, or none', pl.col("trait").fill_null(""))
    remedy = "keep one row a trait"
    problems += row_problems(again.select("row", "trait"), "refused", file, "one row a trait", found, remedy)
    return Read(frame.drop("row"), problems)


def trait_names(cohort: Cohort) -> list[str]:
    """Return the columns of the traits' table but eid, in its order; none where there is no such table."""
    if cohort.traits is None:
        return []
    _, header, _ = read_text_table(cohort.traits, cohort.label(cohort.traits), "eid".__eq__, ["eid"])
    return [name for name in header if name != "eid"]


def read_traits(cohort: Cohort, names: Collection[str] | None = None) -> Read:
    """Read the traits: eid and a column a trait, nobody who withdrew; no columns but eid where there is no such table.

    Traits that the dictionary calls continuous, binary or ordinal are Float64 (a text for a number is "refused");
    categorical ones, and those outside the dictionary, are String.

    Args:
        cohort: the cohort.
        names: traits to read, of a table too wide to be read whole; None: all.
    """
    if cohort.traits is None:
        return Read(empty({"eid": EID}))
    file = cohort.label(cohort.traits)
    withdrawn, _ = read_withdrawn(cohort)  # its problems are told by read_participants
    wanted = None if names is None else {"eid", *names}
    frame, header, problems = read_text_table(
        cohort.traits, file, lambda name: wanted is None or name in wanted, ["eid"]
    )
    if frame is None:
        return Read(empty({"eid": EID}), problems)
    frame, found = sound_eids(frame, file)
    read = Read(frame, problems + found)
    drop_withdrawn(read, withdrawn, file, STAGE)
    again = read.table.filter(pl.col("eid").is_duplicated())
    remedy = "keep the row that is right"
    found_text = pl.lit("several rows of one eid")
    read.problems += row_problems(
        again.select("row", "eid"), "refused", file, "one row a participant", found_text, remedy
    )
    described = read_trait_dictionary(cohort).table
    kinds = dict(described.select("trait", "kind").iter_rows())
    numeric = [name for name in read.table.columns if kinds.get(name) in ("continuous", "binary", "ordinal")]
    for name in numeric:
        column = Column(pl.Float64, f"a {kinds[name]} trait")
        read.table, found = parse_numbers(read.table, name, column, file)
        read.problems += found
    if cohort.trait_dictionary is not None and names is None:
        read.problems += _unmatched(cohort, [n for n in header if n != "eid"], described["trait"].to_list())
    read.table = read.table.drop("row").unique("eid", keep="first").sort("eid")
    return read


def _unmatched(cohort: Cohort, traits: list[str], described: list[str]) -> list[Problem]:
    """Tell of traits without a row in the dictionary, and of rows without a trait."""
    if cohort.traits is None or cohort.trait_dictionary is None:
        return []
    files = cohort.label(cohort.traits), cohort.label(cohort.trait_dictionary)
    problems = []
    for name in sorted(set(traits) - set(described)):
        found = f'trait "{name}" has no row{did_you_mean(name, described)}'
        wanted, remedy = f"a row a column of {files[0]}", "add a row; until then the trait is left out of the PheWAS"
        problems.append(Problem("note", files[1], "", wanted, found, remedy))
    for name in sorted({name for name in described if name} - set(traits)):
        found = f'no column "{name}"{did_you_mean(name, traits)}'
        wanted, remedy = f"a column a row of {files[1]}", "add the column, or remove the row"
        problems.append(Problem("note", files[0], "header", wanted, found, remedy))
    return problems
