"""The traits' table out of any further fields, and its dictionary: their kinds are guessed, and said to be.

Choosing columns and guessing kinds belongs here; what a trait is used for is in `cohort.traits`. Rules are PHESANT's
where columns alone tell: several answers of a person are a binary trait each, several numbers their mean, and negative
whole numbers of few values codes that are missing. What its tables of UK Biobank's codings tell beside that (an order
of categories, say) is for the reader of the report to correct.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from edp_assets.cohort.ukb.columns import TITLES, Key, parse_column
from edp_assets.cohort.ukb.exports import Export, ImportRefusedError
from edp_assets.cohort.ukb.fields import Fields
from edp_assets.cohort.ukb.people import IMAGING
from edp_assets.cohort.ukb.report import Report, Taken
from edp_assets.cohort.ukb.values import CODED_MISSING, MISSING_WORDS, unpack

MANY_LEVELS = 20
"""Whole numbers of so many values or more are continuous: PHESANT's rule for integer fields."""
FEWEST = 10
"""People who must have given an answer of several for it to be a trait: fewer are never tested."""
PACKED = r"\||^\["
"""In a text that holds an array whole."""


@dataclass(frozen=True)
class Chosen:
    """A field's columns at one visit, or the one column that was asked for.

    Attributes:
        keys: of one array or of several; tables that spell a column differently have a key each.
        alone: whether a column was asked for, not the field.
    """

    keys: tuple[Key, ...]
    alone: bool

    @property
    def names(self) -> list[str]:
        """The columns as they are named once they are read."""
        return list(dict.fromkeys(key.name for key in self.keys))


def choose_traits(asked: Sequence[str], exports: Sequence[Export], report: Report) -> list[Chosen]:
    """Return the columns of the fields asked for, of the imaging visit where it has one, else of the first visit.

    Args:
        asked: fields (30760), with all their arrays, or columns in any spelling (30760-0.0, p30760_i0).
        exports: the tables.
        report: told which visit was chosen of several.

    Raises:
        ImportRefusedError: what is no field, or is in no table.
    """
    chosen: list[Chosen] = []
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
        if named is None:
            if len({key.instance for key in there}) > 1:
                visits = ", ".join(str(each) for each in sorted({key.instance for key in there}))
                report.guessed.append(f"trait {number} is of instance {visit}, of {visits}")
            there = [key for key in there if key.instance == visit]
        found = Chosen(tuple(there), named is not None)
        if found not in chosen:
            chosen.append(found)
    return chosen


def traits(
    fields: Fields, chosen: Sequence[Chosen], eids: pl.Series, report: Report
) -> tuple[pl.DataFrame, pl.DataFrame] | None:
    """Return the traits (eid as text and a column each) and their dictionary; None without any.

    A column is named as 30760-2.0, what is made of several arrays as 4080-2 (their mean) or 6138-2#1 (the answer 1).
    Whole numbers of two values are binary, of 20 or more continuous, else categorical; other numbers are continuous,
    texts categorical. Coded as missing are -1 and -3 (do not know, prefer not to answer) and their like where all
    values are whole numbers, and any negative number where they are few.
    """
    if not chosen:
        return None
    frame = fields.people.join(eids.to_frame("eid"), on="eid", how="semi").sort("eid")
    columns, rows, made = [frame["eid"].cast(pl.String)], [], set()
    for each in chosen:
        for trait in _of_field(frame, each, report):
            if trait.values.name in made:
                continue
            made.add(trait.values.name)
            columns.append(trait.values)
            read = [fields.columns.get(Key(key.field, key.instance, key.array or 0), []) for key in each.keys]
            of = each.keys[0]
            source = ", ".join(dict.fromkeys(name for names in read for name in names))
            report.taken.append(
                Taken(f"trait {trait.values.name}", f"field {of.field}, instance {of.instance}", source,
                      trait.values.count())
            )  # fmt: skip
            description = f"{TITLES.get(of.field, f'UK Biobank field {of.field}')}, instance {of.instance}{trait.more}"
            rows.append({"trait": trait.values.name, "description": description, "kind": trait.kind,
                         "category": "UK Biobank"})  # fmt: skip
    return pl.DataFrame(columns), pl.DataFrame(rows)


@dataclass(frozen=True)
class _Trait:
    """A column of the traits' table, its kind, and what its description adds to the field's."""

    values: pl.Series
    kind: str
    more: str = ""


def _of_field(frame: pl.DataFrame, chosen: Chosen, report: Report) -> Iterator[_Trait]:
    """Yield the traits of one field's columns at a visit: one, or one for each answer where a person has several."""
    names, key = chosen.names, chosen.keys[0]
    packed = not chosen.alone and any(_packed(frame[name]) for name in names)
    if chosen.alone or (len(names) == 1 and not packed):
        yield _of_column(frame[names[0]], report)
        return
    texts = [_lists(frame[name]) if packed else frame[name].cast(pl.String) for name in names]
    long = pl.concat([pl.DataFrame({"row": range(frame.height), "text": each}) for each in texts])
    long = (long.explode("text") if packed else long).drop_nulls("text").sort("row", maintain_order=True)
    numbers = long["text"].cast(pl.Float64, strict=False)
    name = f"{key.field}-{key.instance}"
    whole = not numbers.null_count() and bool((numbers == numbers.round(0)).all())
    again = long.select("row", "text").is_duplicated().any()
    if not numbers.null_count() and (again or not whole):
        report.guessed.append(
            f"trait {name} is continuous: the mean of its {len(names)} arrays, as people have a number twice or "
            "fractions; name one column to take it alone"
        )
        coded = long["text"].is_in(CODED_MISSING) & whole
        mean = long.with_columns(number=numbers).filter(~coded).group_by("row").agg(pl.col("number").mean())
        rows = pl.DataFrame({"row": range(frame.height)})
        _tell_coded(int(coded.sum()), name, report)
        yield _Trait(rows.join(mean, on="row", how="left", maintain_order="left")["number"].alias(name), "continuous")
        return
    yield from _answers(long, frame.height, name, report)


def _packed(column: pl.Series) -> bool:
    """Say whether a column holds arrays whole: as lists (of a parquet file), or as texts that do."""
    return column.dtype == pl.List or (column.dtype == pl.String and bool(column.str.contains(PACKED).any()))


def _lists(column: pl.Series) -> pl.Series:
    return column if column.dtype == pl.List else unpack(column)


def _answers(long: pl.DataFrame, people: int, name: str, report: Report) -> Iterator[_Trait]:
    """Yield a binary trait for each answer; who gave none, or one that is missing beside no other, is neither."""
    missing = pl.col("text").str.to_lowercase().is_in(CODED_MISSING) | pl.col("text").str.starts_with("-")
    given = long.filter(~missing).with_columns(pl.col("text").str.replace(r"\.0+$", "")).unique(maintain_order=True)
    counts = given.group_by("text").len().sort("text")
    often = counts.filter(pl.col("len") >= FEWEST)["text"].to_list()
    _tell_coded(long.filter(missing).height, name, report)
    report.guessed.append(
        f"trait {name} is {len(often)} binary traits, one an answer, of who gave any, as nobody gave one twice; "
        f"{counts.height - len(often)} more are of fewer than {FEWEST} people, and not made"
    )
    controls = np.full(people, np.nan)
    controls[given["row"]] = 0
    controls[long.filter(missing)["row"]] = np.nan
    for answer in often:
        values = controls.copy()
        values[given.filter(text=answer)["row"]] = 1
        yield _Trait(pl.Series(f"{name}#{answer}", values).fill_nan(None), "binary", f": answer {answer}")


def _of_column(texts: pl.Series, report: Report) -> _Trait:
    """Return the trait of one column, of a kind that is guessed."""
    name = texts.name
    values, kind, coded, below = _guess(texts.cast(pl.String))
    _tell_coded(coded, name, report)
    if below:
        report.left.append(f"{below:,} values of trait {name} below 0, where numbers are few: codes, missing")
    report.guessed.append(f"trait {name} is {kind}: {_reason(values)}; correct traits_dictionary.csv where it is not")
    return _Trait(values.alias(name), kind)


def _tell_coded(coded: int, name: str, report: Report) -> None:
    if coded:
        report.left.append(f"{coded:,} values of trait {name} that say do not know or prefer not to answer")


def _guess(texts: pl.Series) -> tuple[pl.Series, str, int, int]:
    """Return the values, their kind, how many said that they are missing, and how many others were negative codes."""
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
        return kept, "categorical", int(coded.sum()), 0
    n_values = numbers.drop_nulls().n_unique()
    fractions = bool((numbers.drop_nulls() != numbers.drop_nulls().round(0)).any())
    if fractions or n_values >= MANY_LEVELS:
        return numbers, "continuous", int(coded.sum()), 0
    negative = (numbers < 0).fill_null(value=False)
    numbers = numbers.zip_with(~negative, pl.Series([None], dtype=pl.Float64))
    kept = kept.zip_with(~negative, pl.Series([None], dtype=pl.String))
    two = numbers.drop_nulls().n_unique() <= 2
    return numbers if two else kept, "binary" if two else "categorical", int(coded.sum()), int(negative.sum())


def _reason(values: pl.Series) -> str:
    n = values.drop_nulls().n_unique()
    return f"{'numbers' if values.dtype == pl.Float64 else 'texts or few whole numbers'} of {n:,} values"
