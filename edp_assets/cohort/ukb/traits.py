"""The traits' table out of any further fields, and its dictionary: their kinds are guessed, and said to be.

Choosing columns and guessing kinds belongs here; what a trait is used for is in `cohort.traits`.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from edp_assets.cohort.ukb.columns import TITLES, Key, parse_column
from edp_assets.cohort.ukb.exports import Export, ImportRefusedError
from edp_assets.cohort.ukb.fields import Fields
from edp_assets.cohort.ukb.people import IMAGING
from edp_assets.cohort.ukb.report import Report, Taken
from edp_assets.cohort.ukb.values import CODED_MISSING, MISSING_WORDS

MANY_LEVELS = 20
"""Whole numbers of so many values or more are continuous: PHESANT's rule for integer fields."""


def choose_traits(asked: Sequence[str], exports: Sequence[Export], report: Report) -> list[Key]:
    """Return the columns of the fields asked for, of the imaging visit where it has one, else of the first visit.

    Args:
        asked: fields (30760), or columns in any spelling (30760-0.0, p30760_i0).
        exports: the tables.
        report: told which visit and array was chosen.

    Raises:
        ImportRefusedError: what is no field, or is in no table.
    """
    chosen: list[Key] = []
    for text in asked:
        named = parse_column(text)
        if named is None and not text.strip().isdigit():
            raise ImportRefusedError(
                f"--traits: wanted fields as 30760, or columns as 30760-2.0 or p30760_i2, found {text!r}; correct it"
            )
        number = int(text) if named is None else named.field
        there = sorted(
            {key for export in exports for key in export.keys(number)}, key=lambda k: (k.instance, k.array or 0)
        )
        if named is not None:
            there = [key for key in there if key.name == named.name]
        if not there:
            raise ImportRefusedError(
                f"--traits: wanted a column of {text}, found none in the tables; export the field, or leave it out"
            )
        visit = IMAGING if any(key.instance == IMAGING for key in there) else there[0].instance
        key = there[0] if named is not None else next(key for key in there if key.instance == visit)
        others = len({each.name for each in there}) - 1
        if others:
            report.guessed.append(f"trait {number} is its column {key.name}, of {others + 1} instances and arrays")
        if key.name not in (each.name for each in chosen):
            # Of tables that spell it differently each has its own key.
            chosen += [each for each in there if each.name == key.name]
    return chosen


def traits(
    fields: Fields, keys: Sequence[Key], eids: pl.Series, report: Report
) -> tuple[pl.DataFrame, pl.DataFrame] | None:
    """Return the traits (eid as text and a column each, named as 30760-2.0) and their dictionary; None without any.

    Whole numbers of two values are binary, of 20 or more continuous, else categorical; other numbers are continuous,
    texts categorical. -1 and -3 (do not know, prefer not to answer) are missing where all values are whole numbers.
    """
    if not keys:
        return None
    frame = fields.people.join(eids.to_frame("eid"), on="eid", how="semi").sort("eid")
    table = frame.select(pl.col("eid").cast(pl.String))
    rows = []
    for name in dict.fromkeys(key.name for key in keys):
        key = next(key for key in keys if key.name == name)
        values, kind, coded = _guess(frame[name].cast(pl.String))
        table = table.with_columns(values.alias(name))
        if coded:
            report.left.append(f"{coded:,} values of trait {name} that say do not know or prefer not to answer")
        report.guessed.append(
            f"trait {name} is {kind}: {_reason(values)}; correct traits_dictionary.csv where it is not"
        )
        columns = ", ".join(fields.columns.get(Key(key.field, key.instance, key.array or 0), []))
        report.taken.append(
            Taken(f"trait {name}", f"field {key.field}, instance {key.instance}", columns, values.count())
        )
        description = TITLES.get(key.field, f"UK Biobank field {key.field}") + f", instance {key.instance}"
        rows.append({"trait": name, "description": description, "kind": kind, "category": "UK Biobank"})
    return table, pl.DataFrame(rows)


def _guess(texts: pl.Series) -> tuple[pl.Series, str, int]:
    """Return the values, their kind, and how many were codes for missing."""
    numbers = texts.cast(pl.Float64, strict=False)
    all_numbers = numbers.null_count() == texts.null_count()
    whole = all_numbers and bool((numbers.drop_nulls() == numbers.drop_nulls().round(0)).all())
    coded = texts.str.to_lowercase().is_in(CODED_MISSING).fill_null(False)
    if not whole and (all_numbers or not texts.str.to_lowercase().is_in(MISSING_WORDS).any()):
        # A deprivation index of -1 is a value; and a text that is a number no code.
        coded = pl.Series([False], dtype=pl.Boolean).new_from_index(0, len(texts))
    kept = texts.zip_with(~coded, pl.Series([None], dtype=pl.String))
    numbers = kept.cast(pl.Float64, strict=False)
    if numbers.null_count() > kept.null_count():
        return kept, "categorical", int(coded.sum())
    n_values = numbers.drop_nulls().n_unique()
    fractions = bool((numbers.drop_nulls() != numbers.drop_nulls().round(0)).any())
    kind = "continuous" if fractions or n_values >= MANY_LEVELS else "binary" if n_values <= 2 else "categorical"
    return (kept if kind == "categorical" else numbers), kind, int(coded.sum())


def _reason(values: pl.Series) -> str:
    n = values.drop_nulls().n_unique()
    return f"{'numbers' if values.dtype == pl.Float64 else 'texts or few whole numbers'} of {n:,} values"
