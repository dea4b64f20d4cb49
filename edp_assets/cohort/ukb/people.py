"""The participants' table out of fields: age, sex, BMI, array, centre, date of imaging, genotype components.

Which field becomes which column, and what stands in for a missing one, belongs here; reading is in `fields`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from edp_assets.cohort.ukb.columns import SHARED_TITLES, TITLES, Key, is_title
from edp_assets.cohort.ukb.fields import Fields
from edp_assets.cohort.ukb.report import Report, Taken

IMAGING, FIRST = 2, 0
"""Instances: the imaging visit, and the first visit to an assessment centre."""

PCS = tuple(range(1, 11))
SCALARS: list[tuple[int, int, int | None]] = [
    (31, 0, None), (34, 0, None), (52, 0, None), (22000, 0, None),
    *((field, instance, None) for field in (21003, 21001, 54) for instance in (IMAGING, FIRST)),
    (53, IMAGING, None),
    *((22009, 0, i) for i in PCS),
]  # fmt: skip
"""Field, instance and array of what the participants' table is made of."""

MID_MONTH = 15
DAYS_A_YEAR = 365.25


@dataclass(frozen=True)
class _Wanted:
    column: str
    field: int
    follows: str


WANTED = (
    _Wanted("age", 21003, "age at imaging is left out of the covariates"),
    _Wanted("sex", 31, "sex is left out of the covariates, and X counts by the sex of the genotype files alone"),
    _Wanted("bmi", 21001, "BMI is left out of the covariates"),
    _Wanted("genotyping_array", 22000, "the array is left out of the covariates"),
    _Wanted("imaging_centre", 54, "the centre is left out of the covariates"),
    _Wanted("imaging_date", 53, "embeddings cannot be adjusted for the date of imaging"),
    _Wanted("pc1", 22009, "ten components are computed from the genotypes"),
)


def participants(fields: Fields, eids: pl.Series, report: Report, scanned: Collection[int] = ()) -> pl.DataFrame:
    """Return the participants' table (eid as text, columns of `schema.PARTICIPANTS` that the exports have).

    People with an imaging visit have its values. For those without one, who count in associations of the whole cohort,
    age, BMI and centre are of their first visit.

    Args:
        fields: what was read.
        eids: Int64, whom the table is of.
        report: told what was taken, missing and guessed.
        scanned: who has scans, and so came to imaging whatever the exports say.
    """
    frame = fields.people.join(eids.to_frame("eid"), on="eid", how="semi").sort("eid")
    present = [name for name in (_name(53), _name(54), _name(21003)) if name in frame.columns]
    came = pl.any_horizontal(pl.col("eid").is_in(list(scanned)), *(pl.col(name).is_not_null() for name in present))
    frame = frame.with_columns(came=came)
    table = frame.select(pl.col("eid").cast(pl.String))
    for column in (
        _age(frame, fields, report),
        _plain(frame, fields, report, "sex", 31),
        _with_first(frame, fields, report, "bmi", 21001, also_imaged=True),
        _plain(frame, fields, report, "genotyping_array", 22000),
        _with_first(frame, fields, report, "imaging_centre", 54, also_imaged=False),
        _plain(frame, fields, report, "imaging_date", 53, IMAGING),
        *_components(frame, fields, report),
    ):
        if column is not None and column.null_count() < len(column):
            table = table.with_columns(column)
    if "sex" in table.columns:
        table = table.with_columns(pl.col("sex").cast(pl.Int8))
    for wanted in WANTED:
        if wanted.column not in table.columns:
            report.missing.append(f"{wanted.field} {TITLES[wanted.field]}, for {wanted.column}: {wanted.follows}")
    _tell_titles(fields, report)
    return table


def _name(field: int, instance: int = IMAGING, array: int = 0) -> str:
    return Key(field, instance, array).name


def _taken(fields: Fields, report: Report, what: str, key: Key, people: int) -> None:
    instance = f", instance {key.instance}" if key.field in (21001, 21003, 53, 54) else ""
    report.taken.append(Taken(what, f"field {key.field}{instance}", ", ".join(fields.columns.get(key, [])), people))


def _plain(
    frame: pl.DataFrame, fields: Fields, report: Report, what: str, field: int, instance: int = 0
) -> pl.Series | None:
    key = Key(field, instance, 0)
    if key.name not in frame.columns:
        return None
    values = frame[key.name].alias(what)
    _taken(fields, report, what, key, values.count())
    return values


def _components(frame: pl.DataFrame, fields: Fields, report: Report) -> list[pl.Series]:
    """Return pc1 ... pc10, as many as there are."""
    found = [i for i in PCS if _name(22009, 0, i) in frame.columns]
    columns = [frame[_name(22009, 0, i)].alias(f"pc{i}") for i in found]
    if found:
        what = f"pc{found[0]} ... pc{found[-1]}"
        _taken(fields, report, what, Key(22009, 0, found[0]), min(column.count() for column in columns))
    if found and len(found) < len(PCS):
        absent = ", ".join(str(i) for i in PCS if i not in found)
        report.missing.append(f"22009 {TITLES[22009]}, arrays {absent}: associations have the others alone")
    return columns


def _age(frame: pl.DataFrame, fields: Fields, report: Report) -> pl.Series | None:
    """Age at imaging: 21003, else from dates; of those who never came to imaging, 21003 of the first visit."""
    at_imaging, date, born = _name(21003), _name(53), _name(34, 0)
    ages = frame[at_imaging] if at_imaging in frame.columns else pl.Series([None], dtype=pl.Float64).new_from_index(
        0, frame.height
    )  # fmt: skip
    if at_imaging in frame.columns:
        _taken(fields, report, "age", Key(21003, IMAGING, 0), ages.count())
    if date in frame.columns and born in frame.columns:
        month = pl.col(_name(52, 0)) if _name(52, 0) in frame.columns else pl.lit(None, dtype=pl.Float64)
        # Year alone: the middle of the year, 1 July.
        birth = pl.date(pl.col(born).cast(pl.Int32), month.fill_null(7).cast(pl.Int8), pl.when(month.is_null()).then(
            1).otherwise(MID_MONTH))  # fmt: skip
        years = ((pl.col(date) - birth).dt.total_days() / DAYS_A_YEAR).round(1)
        computed = frame.select(years.alias("age"))["age"]
        n = int((ages.is_null() & computed.is_not_null()).sum())
        if n:
            report.guessed.append(
                f"age of {n:,} people with an imaging visit is its date (53) less year and month of birth (34, "
                "52), the "
                "15th of the month (1 July without a month): field 21003 has none of instance 2 for them"
            )
            report.taken.append(Taken("age", "fields 53, instance 2, less 34 and 52", "", n))
        ages = ages.zip_with(ages.is_not_null(), computed)
    return _first_visit(frame, fields, report, "age", 21003, ages, also_imaged=False)


def _with_first(
    frame: pl.DataFrame, fields: Fields, report: Report, what: str, field: int, *, also_imaged: bool
) -> pl.Series | None:
    """Return the values of the imaging visit, completed by those of the first visit."""
    name = _name(field)
    if name in frame.columns:
        values = frame[name]
        _taken(fields, report, what, Key(field, IMAGING, 0), values.count())
    elif _name(field, FIRST) in frame.columns:
        values = frame[_name(field, FIRST)].clear(frame.height)
    else:
        return None
    return _first_visit(frame, fields, report, what, field, values, also_imaged=also_imaged)


def _first_visit(
    frame: pl.DataFrame,
    fields: Fields,
    report: Report,
    what: str,
    field: int,
    values: pl.Series,
    *,
    also_imaged: bool,
) -> pl.Series:
    key = Key(field, FIRST, 0)
    if key.name not in frame.columns:
        return values.alias(what)
    first = frame[key.name]
    missing = values.is_null() & first.is_not_null()
    stayed = int((missing & ~frame["came"]).sum())
    imaged = int((missing & frame["came"]).sum())
    if stayed:
        report.guessed.append(
            f"{what} of {stayed:,} people without an imaging visit is that of the first visit ({field}, instance "
            "0): they "
            "count in associations of the whole cohort, which leave out who lacks a covariate"
        )
    if imaged and also_imaged:
        report.guessed.append(
            f"{what} of {imaged:,} people with an imaging visit is that of the first visit ({field}, instance 0), "
            "years "
            "earlier: the imaging visit has none"
        )
    if imaged and not also_imaged:
        report.missing.append(
            f"{what} of {imaged:,} people who came to imaging: field {field} has none of instance 2 for them, and that "
            "of the first visit, years earlier, is not taken"
        )
    taken = missing if also_imaged else missing & ~frame["came"]
    if n := int(taken.sum()):
        _taken(fields, report, what, key, n)
    return values.zip_with(~taken, first).alias(what)


def _tell_titles(fields: Fields, report: Report) -> None:
    for key, columns in fields.columns.items():
        other = SHARED_TITLES.get(key.field)
        title = next((c for c in columns if is_title(c.split(": ", 1)[1])), None)
        if other and title and key.instance == IMAGING:
            report.guessed.append(f"{title} is field {key.field}: field {other} has the same title")
