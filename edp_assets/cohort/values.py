"""Values of table columns: eids, numbers, dates out of text, with a problem for every wrong row.

What any column needs belongs here; which columns there are is in `schema` and `tables`.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from edp_assets.cohort.problems import Problem, Severity
from edp_assets.cohort.reading import Read
from edp_assets.cohort.schema import Column

EID = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
DECIMAL_EID = r"^\d+\.\d*$"
MANY = 1000
"""Above so many rows of one kind, one problem names the rows as ranges."""


def ranges(rows: Sequence[int]) -> str:
    """Return row numbers in few words.

    >>> ranges([2, 3, 4, 9])
    '2-4, 9'
    """
    parts: list[list[int]] = []
    for row in sorted(rows):
        if parts and row == parts[-1][1] + 1:
            parts[-1][1] = row
        else:
            parts.append([row, row])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def row_problems(
    frame: pl.DataFrame, severity: Severity, file: str, wanted: str, found: pl.Expr, remedy: str
) -> list[Problem]:
    """Return a problem for every row of `frame` (columns row[, eid][, organ]); for very many, one with row ranges."""
    if frame.height == 0:
        return []
    texts = frame.select("row", found.cast(pl.String).alias("found"))["found"].to_list()
    if frame.height > MANY:
        where = f"rows {ranges(frame['row'].to_list())}"
        return [Problem(severity, file, where, wanted, f"{frame.height} rows, the first: {texts[0]}", remedy)]
    # Ids that are themselves what is wrong are told in `found`.
    named = [name for name in ("eid", "organ") if name in frame.columns]
    places = frame.select("row", *named).iter_rows()
    problems = []
    for (row, *rest), text in zip(places, texts, strict=True):
        words = [f"row {row}", *(f"{n} {v}" if n == "eid" else str(v) for n, v in zip(named, rest, strict=True) if v)]
        problems.append(Problem(severity, file, ", ".join(words), wanted, text, remedy))
    return problems


def sound_eids(frame: pl.DataFrame, file: str) -> tuple[pl.DataFrame, list[Problem]]:
    """Return the rows with an eid that can be one, and a "refused" problem for each of the others."""
    eid = pl.col("eid")
    wrong_number = eid.str.contains(DECIMAL_EID)
    problems = row_problems(
        frame.filter(eid.is_null()).drop("eid"), "refused", file, "an eid in every row", pl.lit("no eid"),
        "add the eid, or remove the row",
    )  # fmt: skip
    problems += row_problems(
        frame.filter(wrong_number).select("row", id=eid), "refused", file, "an eid as a whole number or text",
        pl.format("\"{}\"", "id"), "save the eids as whole numbers or text, without decimals",
    )  # fmt: skip
    shape = eid.str.contains(EID)
    problems += row_problems(
        frame.filter(~shape & ~wrong_number).select("row", id=eid), "refused", file,
        "an eid of letters, digits, _, - and dots", pl.format("\"{}\"", "id"), "correct the eid",
    )  # fmt: skip
    return frame.filter(eid.is_not_null() & shape & ~wrong_number), problems


def parse_numbers(frame: pl.DataFrame, name: str, column: Column, file: str) -> tuple[pl.DataFrame, list[Problem]]:
    """Return the frame with a text column as Float64; a "refused" problem for each text that is no number."""
    number = pl.col(name).cast(pl.Float64, strict=False)
    wrong = frame.filter(pl.col(name).is_not_null() & number.is_null())
    wanted = f"{name} as a number: {column.meaning}"
    remedy = "write a number with a decimal point, or leave the field empty"
    problems = row_problems(wrong, "refused", file, wanted, pl.format('{} is "{}"', pl.lit(name), name), remedy)
    return frame.with_columns(number), problems


def drop_impossible(read: Read, name: str, column: Column, file: str, stage: str) -> None:
    """Make impossible numbers of a column missing, each an "excluded" problem and a row of `excluded`."""
    value = pl.col(name)
    possible = value.is_in(column.values) if column.values else value.is_between(column.low, column.high)
    if not column.possible:
        possible = value.is_finite()
    wrong = read.table.filter(~possible)
    wanted = f"{name} of {column.possible or 'finite size'}: {column.meaning}"
    remedy = "correct the value; until then it counts as missing, which leaves the participant out of associations"
    found = pl.format("{} is {}", pl.lit(name), name)
    read.problems += row_problems(wrong, "excluded", file, wanted, found, remedy)
    read.exclude(wrong.select("eid"), stage, f"impossible {name}")
    read.table = read.table.with_columns(pl.when(possible).then(value))


def parse_dates(frame: pl.DataFrame, name: str, severity: Severity, file: str) -> tuple[pl.DataFrame, list[Problem]]:
    """Return the frame with a text column as ISO 8601 dates (String); a problem for each text that is no such date."""
    day = pl.col(name).str.extract(r"^(\d{4}-\d{2}-\d{2})([T ].*)?$", 1)
    date = day.str.to_date("%Y-%m-%d", strict=False).dt.to_string("%Y-%m-%d")
    wrong = frame.filter(pl.col(name).is_not_null() & date.is_null())
    wanted = f"{name} as an ISO 8601 date, for example 2017-03-28"
    found = pl.format('{} is "{}"', pl.lit(name), name)
    remedy = "write year-month-day, or leave the field empty"
    return frame.with_columns(date.alias(name)), row_problems(wrong, severity, file, wanted, found, remedy)
