"""The kinship table: related pairs that somebody else computed, and whether a cohort needs one.

UK Biobank's ukb_rel.dat, KING's .kin and .kin0, plink2's .kin0. Kinship itself is computed in `science`.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import polars as pl

from edp_assets.cohort.config import FILE, Cohort
from edp_assets.cohort.problems import Problem
from edp_assets.cohort.reading import READ_ERRORS, Read, UnreadableError, records, require_file
from edp_assets.cohort.values import row_problems

SCHEMA = {"eid": pl.String, "relative": pl.String, "kinship": pl.Float64}
NAMES = {"eid": ("iid1", "id1"), "relative": ("iid2", "id2"), "kinship": ("kinship",)}
"""What the columns are called, in small letters and without #: plink2; UK Biobank and KING."""

WANTED = "columns ID1, ID2, Kinship (ukb_rel.dat, KING) or IID1, IID2, KINSHIP (plink2 --make-king-table)"
VARIANTS = 100_000
"""Variants that the estimate of a computation is told for."""


def read_kinship(cohort: Cohort, known: Collection[str] | None) -> Read:
    """Read the kinship table: eid, relative, kinship, each pair once, sorted; empty where the cohort names none.

    Columns are separated by blanks, tabs or commas, the file plain or .gz. Pairs with people who are no participants
    (or withdrew) are left out, and counted in a "note"; a kinship that is no number is "refused".

    Args:
        cohort: the cohort.
        known: eids of the participants; None: not known, so all are kept.
    """
    if cohort.kinship is None:
        return Read(pl.DataFrame(schema=SCHEMA))
    path, file = cohort.kinship, cohort.label(cohort.kinship)
    try:
        require_file(path)
        # The separator is one that no text holds: a record is a line.
        lines = [(row, _fields(line[0])) for row, line in enumerate(records(path, "\x1f"), start=1)]
    except UnreadableError as error:
        return Read(pl.DataFrame(schema=SCHEMA), error.problems(file))
    except READ_ERRORS as error:
        remedy = "copy or write the file again, as text"
        found = str(error) or "it ends too early"
        return Read(pl.DataFrame(schema=SCHEMA), [Problem("refused", file, "", "a text table", found, remedy)])
    header = [name.lstrip("#").lower() for name in lines[0][1]] if lines else []
    places = [next((header.index(name) for name in names if name in header), None) for names in NAMES.values()]
    if None in places:
        found = f"the header {' '.join(lines[0][1])[:80]!r}" if lines else "an empty file"
        remedy = "give the table with its header"
        return Read(pl.DataFrame(schema=SCHEMA), [Problem("refused", file, "header", WANTED, found, remedy)])
    rows = [(row, *(line[p] if p < len(line) else None for p in places if p is not None)) for row, line in lines[1:]]
    frame = pl.DataFrame(rows, schema={"row": pl.Int64, **dict.fromkeys(SCHEMA, pl.String)}, orient="row")
    number = pl.col("kinship").cast(pl.Float64, strict=False)
    usable = pl.all_horizontal(pl.all().is_not_null()) & number.is_finite().fill_null(value=False)
    remedy = "correct the row, or remove it"
    text = pl.format('kinship "{}"', pl.col("kinship").fill_null(""))
    problems = row_problems(frame.filter(~usable).select("row", "kinship"), "refused", file, WANTED, text, remedy)
    frame = frame.filter(usable).select("eid", "relative", number)
    pairs = frame.select(
        pl.min_horizontal("eid", "relative"), pl.max_horizontal("eid", "relative").alias("b"), "kinship"
    )
    pairs = pairs.group_by("eid", relative="b").agg(pl.col("kinship").max()).filter(pl.col("eid") != pl.col("relative"))
    if known is not None:
        mine = pl.col("eid").is_in(list(known)) & pl.col("relative").is_in(list(known))
        kept = pairs.filter(mine)
        if others := pairs.height - kept.height:
            found_text = f"{others} of {pairs.height} pairs with people who are no participants"
            remedy = "nothing, if it is meant: they are left out"
            wanted = f"pairs of people of {cohort.label(cohort.participants)}"
            problems.append(Problem("note", file, "", wanted, found_text, remedy))
        pairs = kept
    return Read(pairs.sort("eid", "relative"), problems)


def kinship_needed(cohort: Cohort, n_people: int) -> list[Problem]:
    """Return a "refused" problem where all pairs of so many people would have to be computed; else nothing.

    Nobody is left out of associations unnoticed: such a cohort gives a table, or says that it wants nobody left out.
    """
    from edp_assets.science.genetics.kinship import hours_of_all_pairs

    settings = cohort.settings.ancestry
    if settings.max_kinship is None or cohort.kinship is not None or n_people <= settings.max_people:
        return []
    hours = hours_of_all_pairs(n_people, VARIANTS)
    wanted = f"a kinship table, where there are more than {settings.max_people:,} participants ([ancestry] max_people)"
    found = (
        f"none, and {n_people:,} participants: kinship of all pairs would take about {hours:.0f} hours on two cores "
        f"({VARIANTS:,} variants)"
    )
    remedy = (
        'give kinship = "ukb_rel.dat" (or KING\'s or plink2\'s .kin0) under [genotypes]; or write max_kinship = "none" '
        "under [ancestry], and nobody is left out as related; or raise max_people there"
    )
    return [Problem("refused", FILE, "[genotypes] kinship", wanted, found, remedy)]


def _fields(line: str) -> list[str]:
    return re.split(r"[\s,]+", line.strip())
