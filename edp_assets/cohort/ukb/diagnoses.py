"""The diagnoses' table out of fields 41270 and 41280: a code a row, with its date where that is sure.

Pairing codes and dates belongs here; unpacking them is in `values`, joining tables in `fields`.
"""

from __future__ import annotations

import polars as pl

from edp_assets.cohort.ukb.columns import TITLES
from edp_assets.cohort.ukb.exports import ImportRefusedError
from edp_assets.cohort.ukb.fields import CODES, DATES, Fields
from edp_assets.cohort.ukb.report import Report, Taken

NOT_TAKEN = {
    40001: "underlying cause of death",
    40002: "contributory causes of death",
    40006: "cancer register",
    41201: "external causes",
    41202: "main diagnoses",
    41204: "secondary diagnoses",
    20002: "self-reported illness, not ICD-10",
}
"""Other sources of diagnoses; 41202, 41204 and 41201 are within 41270."""

PEOPLE_AT_ONCE = 50_000


def diagnoses(fields: Fields, eids: pl.Series, present: set[int], report: Report) -> pl.DataFrame:
    """Return the diagnoses: eid (text), icd10 (K760) and, where the exports have 41280, date; sorted by eid and code.

    A date belongs to the code of the same place in the array. In a packed list places are counted, so a person's dates
    are taken only where there are as many as codes.

    Args:
        fields: what was read.
        eids: Int64, whose diagnoses.
        present: all fields of the exports.
        report: told what was taken and left out.

    Raises:
        ImportRefusedError: no table has field 41270.
    """
    if CODES not in present:
        others = [f"{number} ({NOT_TAKEN[number]})" for number in sorted(present & set(NOT_TAKEN))]
        found = f"; found {', '.join(others)}, which are not taken" if others else ""
        raise ImportRefusedError(
            f"--tables: wanted field 41270 ({TITLES[CODES]}), found it in no table{found}; export it, with 41280 "
            "for the "
            "dates"
        )
    wanted = eids.to_frame("eid")
    codes = fields.codes.join(wanted, on="eid", how="semi")
    people = codes["eid"].n_unique()
    report.taken.append(Taken("icd10", "field 41270", _columns(fields, CODES), people))
    _tell_others(present, report)
    if DATES not in present:
        report.missing.append(f"41280 {TITLES[DATES]}: diagnoses have no date")
        table = codes.drop_nulls("code").select("eid", icd10="code").unique()
        return table.sort("eid", "icd10").with_columns(pl.col("eid").cast(pl.String))
    dates = fields.dates.join(wanted, on="eid", how="semi")
    if fields.packed:
        dates = _as_many(codes, dates, report)
    lost = 0
    parts = [pl.DataFrame(schema={"eid": pl.Int64, "icd10": pl.String, "date": pl.Date})]
    # Millions of codes: joined and grouped for some people at a time, the whole is held once.
    for start in range(0, len(eids), PEOPLE_AT_ONCE):
        some = eids.sort().slice(start, PEOPLE_AT_ONCE)
        theirs = pl.col("eid").is_between(some[0], some[-1])
        part, n = _paired(codes.filter(theirs), dates.filter(theirs))
        parts.append(part)
        lost += n
    table = pl.concat(parts)
    n_undated = table["date"].null_count()
    if lost:
        report.left.append(f"{lost:,} dates (41280) at places of the array without a code")
    with_date = table.filter(pl.col("date").is_not_null())["eid"].n_unique()
    report.taken.append(Taken("date", "field 41280", _columns(fields, DATES), with_date))
    if n_undated:
        report.left.append(f"the dates of {n_undated:,} of {table.height:,} diagnoses: there are none")
    return table.with_columns(pl.col("eid").cast(pl.String))


def _paired(codes: pl.DataFrame, dates: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Return each eid's codes once, with the earliest date, sorted; and how many dates stand where no code does."""
    table = codes.join(dates, on=["eid", "position"], how="left").drop_nulls("code")
    lost = dates.join(codes, on=["eid", "position"], how="anti").height
    table = table.group_by("eid", "code").agg(pl.col("date").min()).sort("eid", "code")
    return table.select("eid", icd10="code", date="date"), lost


def _as_many(codes: pl.DataFrame, dates: pl.DataFrame, report: Report) -> pl.DataFrame:
    """Return the dates of people who have as many as codes, at the places 0, 1, 2, ... of both."""

    def shape(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.group_by("eid").agg(n=pl.len(), last=pl.col("position").max())

    shapes = shape(codes).join(shape(dates), on="eid", how="full", coalesce=True, suffix="_dates")
    paired = (pl.col("n") == pl.col("n_dates")) & (pl.col("last") == pl.col("last_dates"))
    wrong = shapes.filter(pl.col("n_dates").is_not_null() & ~paired.fill_null(False)).select("eid")
    if wrong.height:
        n = dates.join(wrong, on="eid", how="semi").height
        report.left.append(
            f"{n:,} dates (41280) of {wrong.height:,} people who have not as many dates as codes (41270, packed): "
            "which is "
            "whose cannot be told; their codes are taken without date"
        )
    return dates.join(wrong, on="eid", how="anti")


def _columns(fields: Fields, number: int) -> str:
    keys = sorted((key for key in fields.columns if key.field == number), key=lambda key: key.array or 0)
    first = ", ".join(fields.columns[keys[0]])
    return first if len(keys) == 1 else f"{first} and {len(keys) - 1} more"


def _tell_others(present: set[int], report: Report) -> None:
    found = [f"{number} ({NOT_TAKEN[number]})" for number in sorted(present & set(NOT_TAKEN))]
    if found:
        report.left.append(f"other diagnoses in the tables, not taken: {', '.join(found)}")
    if first := [number for number in present if 130000 <= number <= 132605]:
        report.left.append(f"{len(first)} fields of first occurrences (130000 to 132605), not taken")
