"""Readers of the cohort's tables: participants and diagnoses (and, from `scans`, the scans).

What a table's rows mean together belongs here: who is counted, what repeats, what is unknown. Opening files is in
`reading`, single values are in `values`.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import polars as pl

from edp_assets.cohort.config import Cohort, did_you_mean
from edp_assets.cohort.labels import normalise_codes
from edp_assets.cohort.problems import Problem
from edp_assets.cohort.reading import Read, read_text_table
from edp_assets.cohort.scans import drop_unknown, read_scans
from edp_assets.cohort.schema import DIAGNOSES, PARTICIPANTS, Column, empty
from edp_assets.cohort.values import drop_impossible, parse_dates, parse_numbers, row_problems, sound_eids
from edp_assets.cohort.withdrawals import drop_withdrawn, read_withdrawn

__all__ = ["covariate_sources", "read_diagnoses", "read_participants", "read_scans"]

DERIVED = {"age_squared": "age"}
"""Covariates computed from a column of the participants table."""


def covariate_sources(cohort: Cohort) -> list[str]:
    """Return the participants' columns that the associations' covariates and the organs' factors are made of."""
    names = list(cohort.settings.association.covariates)
    for organ in cohort.settings.organs.values():
        names += [factor for factor in organ.adjust_for if not factor.startswith("embedding_pc")]
    return list(dict.fromkeys(DERIVED.get(name, name) for name in names))


def read_participants(cohort: Cohort) -> Read:
    """Read the participants: one row an eid, sorted, nobody who withdrew.

    The table has `eid` and those of `schema.PARTICIPANTS` and of `covariate_sources` that the file has: a column that
    is absent there is absent here, and noted. Other factors are Float64 where every value is a number, else String.
    Impossible values are null and "excluded"; a row that repeats is "excluded"; texts for numbers, eids that cannot be
    one and rows that contradict each other are "refused".
    """
    file = cohort.label(cohort.participants)
    extra = [name for name in covariate_sources(cohort) if name not in PARTICIPANTS]
    known = {**PARTICIPANTS, **{name: Column(pl.String, "factor of cohort.toml") for name in extra}}
    withdrawn, problems = read_withdrawn(cohort)
    frame, header, found = read_text_table(cohort.participants, file, known.__contains__, ["eid"])
    problems += found
    if frame is None:
        return Read(empty(PARTICIPANTS), problems)
    frame, found = sound_eids(frame, file)
    read = Read(frame, problems + found)
    drop_withdrawn(read, withdrawn, file, "participants")
    present = [name for name in known if name in header]
    for name in present:
        if (
            name in extra
            and read.table[name].cast(pl.Float64, strict=False).null_count() == read.table[name].null_count()
        ):
            known[name] = Column(pl.Float64, "factor of cohort.toml")
        if known[name].dtype == pl.Float64:
            read.table, found = parse_numbers(read.table, name, known[name], file)
            read.problems += found
    if "imaging_date" in present:
        read.table, found = parse_dates(read.table, "imaging_date", "refused", file)
        read.problems += found
    _drop_repeats(read, present, file)
    for name in present:
        if known[name].dtype == pl.Float64:
            drop_impossible(read, name, known[name], file, "participants")
    read.table = read.table.select(present).sort("eid")
    read.problems += _covariate_problems(cohort, read.table, header, file)
    return read


def _drop_repeats(read: Read, columns: list[str], file: str) -> None:
    """Keep one of equal rows of an eid; rows of an eid that differ are refused."""
    table = read.table
    repeats = table.filter(pl.col("eid").is_duplicated())
    others = [name for name in columns if name != "eid"]
    if repeats.height == 0:
        return
    # A value counts, and so does its absence: 55 and nothing contradict each other.
    kinds = repeats.group_by("eid").agg(
        *(pl.col(name).n_unique() for name in others), rows=pl.col("row").sort().cast(pl.String).str.join(", ")
    )
    differ = pl.concat_str([pl.when(pl.col(n) > 1).then(pl.lit(n)) for n in others], separator=", ", ignore_nulls=True)
    conflicts = kinds.select("eid", "rows", differ=differ if others else pl.lit("")).filter(pl.col("differ") != "")
    for eid, rows, names in conflicts.sort("eid").iter_rows():
        where, found = f"rows {rows}, eid {eid}", f"rows that differ in {names}"
        remedy = "keep the row that is right"
        read.problems.append(Problem("refused", file, where, "one row a participant", found, remedy))
    first = pl.col("row") == pl.col("row").min().over("eid")
    again = repeats.filter(~first).filter(~pl.col("eid").is_in(conflicts["eid"].to_list()))
    remedy = "remove the row; until then the first one is used"
    found_text = pl.lit("a row that repeats an earlier one")
    read.problems += row_problems(
        again.select("row", "eid"), "excluded", file, "one row a participant", found_text, remedy
    )
    read.exclude(again, "participants", "duplicate row")
    read.table = table.filter(first)


def _covariate_problems(cohort: Cohort, table: pl.DataFrame, header: list[str], file: str) -> list[Problem]:
    """Tell which covariates are absent, constant, or missing in some; absent factors are told by `factors`."""
    problems: list[Problem] = []
    sources = [DERIVED.get(name, name) for name in cohort.settings.association.covariates]
    pcs = [name for name in sources if re.fullmatch(r"pc\d+", name)]
    computed = bool(pcs) and not any(name in table.columns for name in PARTICIPANTS if name.startswith("pc"))
    if computed:
        wanted = "genotype principal components, pc1 ... pc10"
        found = f'no column "{pcs[0]}"{did_you_mean(pcs[0], [name for name in header if name not in PARTICIPANTS])}'
        remedy = "nothing: they are computed from the genotypes ([ancestry]); or add the columns"
        problems.append(Problem("note", file, "header", wanted, found, remedy))
    for name in covariate_sources(cohort):
        if name not in table.columns and computed and name in pcs and name in PARTICIPANTS:
            continue
        if name not in table.columns:
            # A column that is another's is no misspelling of this one (pc3 of pc4).
            candidates = [other for other in header if name not in PARTICIPANTS or other not in PARTICIPANTS]
            found = f'no column "{name}"{did_you_mean(name, candidates)}'
            if name in sources and name not in PARTICIPANTS:
                by = "[association] covariates"
                remedy = f"add the column, or take it out of {by}"
                problems.append(Problem("refused", file, "header", f"the factor of {by}", found, remedy))
            elif name in sources:
                wanted = "a column for every covariate of the associations"
                remedy = "add the column; until then it is left out of the covariates"
                problems.append(Problem("note", file, "header", wanted, found, remedy))
            continue
        values = table[name].drop_nulls()
        if values.n_unique() == 1 and table.height > 1:
            wanted, remedy = "covariates that differ between participants", "nothing: it is left out of the covariates"
            found = f"{name} is {values[0]} for everyone"
            problems.append(Problem("note", file, f'column "{name}"', wanted, found, remedy))
        if missing := table.height - len(values):
            found = f"{missing} of {table.height} participants have no {name}"
            wanted, remedy = (
                "a value for everyone",
                "fill them in; until then associations leave these participants out",
            )
            problems.append(Problem("note", file, f'column "{name}"', wanted, found, remedy))
    return problems


def read_diagnoses(cohort: Cohort, known: Collection[str] | None) -> Read:
    """Read the diagnoses: unique rows of eid, icd10[, date], sorted; codes as precise as recorded, normalised.

    Args:
        cohort: the cohort.
        known: eids of the participants; rows of anyone else are "excluded". None: not known, so nobody is.
    """
    file = cohort.label(cohort.diagnoses)
    withdrawn, _ = read_withdrawn(cohort)  # its problems are told by read_participants
    required = [name for name, column in DIAGNOSES.items() if column.required]
    frame, header, problems = read_text_table(cohort.diagnoses, file, DIAGNOSES.__contains__, required)
    if frame is None:
        return Read(empty(DIAGNOSES), problems)
    frame, found = sound_eids(frame, file)
    read = Read(frame, problems + found)
    drop_withdrawn(read, withdrawn, file, "diagnoses")
    drop_unknown(read, known, file, "diagnoses", cohort.label(cohort.participants))
    read.table = read.table.with_columns(normalise_codes(read.table["icd10"]).alias("code"))
    wrong = read.table.filter(pl.col("code").is_null())
    wanted = "an ICD-10 code in every row, for example K76.0 or K760"
    text = pl.format('"{}"', pl.col("icd10").fill_null(""))
    remedy = "correct the code, one a row (split E119|K760); until then the row counts for no code"
    read.problems += row_problems(wrong.select("row", "eid", "icd10"), "note", file, wanted, text, remedy)
    table = read.table.filter(pl.col("code").is_not_null()).with_columns(icd10="code")
    if "date" in header:
        table, found = parse_dates(table, "date", "note", file)
        read.problems += found
        table = table.group_by("eid", "icd10").agg(pl.col("date").min())
    else:
        table = table.select("eid", "icd10").unique()
    read.table = table.sort("eid", "icd10")
    return read
