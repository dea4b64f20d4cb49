"""Values of UK Biobank's fields: numbers, dates, codings, missing codes, packed arrays, out of text.

One column at a time belongs here; which columns make a table of the cohort is in `people` and `diagnoses`.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

MISSING_WORDS = ("do not know", "prefer not to answer")
"""How an export with labels has them."""

CODED_MISSING = ("-1", "-3", "-121", "-818", "-1.0", "-3.0", "-121.0", "-818.0", *MISSING_WORDS)
"""Data-codings 100291, 100349 and their like, and those of the mental-health questionnaire (-121, -818): do not know,
prefer not to answer.

Not of 22000 (batches -1 to -11) nor 22009 (components of any sign).
"""

SEXES = {"0": 0, "0.0": 0, "female": 0, "1": 1, "1.0": 1, "male": 1}
"""Data-coding 9."""

MONTHS = {
    name: month
    for month, name in enumerate(
        [
            "january",
            "february",
            "march",
            "april",
            "may",
            "june",
            "july",
            "august",
            "september",
            "october",
            "november",
            "december",
        ],
        1,
    )
}
"""Data-coding 8, in an export with labels."""

UNCODED = (22000, 22009)
ICD10 = r"^([A-Za-z][0-9][0-9A-Za-z]\.?[0-9A-Za-z]{0,4})(?:\s|$)"
"""A code, alone or before its meaning: K760, K76.0, "K76.0 Fatty (change of) liver, not elsewhere classified"."""


@dataclass
class Tally:
    """What became missing of one field.

    Attributes:
        coded: values that say "do not know" or "prefer not to answer".
        unreadable: values that are none of the field's.
        example: the first of these.
    """

    coded: int = 0
    unreadable: int = 0
    example: str = ""

    def add(self, texts: pl.Series, values: pl.Series, coded: pl.Series) -> None:
        """Count what of a column's texts is no value."""
        self.coded += int(coded.sum())
        wrong = texts.filter(texts.is_not_null() & values.is_null() & ~coded)
        self.unreadable += len(wrong)
        if len(wrong) and not self.example:
            self.example = wrong[0]


def parse_values(field: int, texts: pl.Series, tally: Tally) -> pl.Series:
    """Return a field's values: Float64; 31, 34 and 52 as numbers, 53 as Date, 54 and 22000 as text.

    Args:
        field: one that `people.SCALARS` names.
        texts: (n_rows,) String, stripped, null where empty.
        tally: counts what is no value.
    """
    coded = pl.Series([False], dtype=pl.Boolean).new_from_index(0, len(texts))
    if field not in UNCODED:
        coded = texts.str.to_lowercase().is_in(CODED_MISSING).fill_null(False)
    kept = texts.zip_with(~coded, pl.Series([None], dtype=pl.String))
    values = _PARSERS.get(field, _number)(kept)
    tally.add(texts, values, coded)
    return values


def _number(texts: pl.Series) -> pl.Series:
    numbers = texts.cast(pl.Float64, strict=False)
    return numbers.zip_with(numbers.is_finite().fill_null(False), pl.Series([None], dtype=pl.Float64))


def _sex(texts: pl.Series) -> pl.Series:
    return texts.str.to_lowercase().replace_strict(SEXES, default=None, return_dtype=pl.Float64)


def _month(texts: pl.Series) -> pl.Series:
    named = texts.str.to_lowercase().replace_strict(MONTHS, default=None, return_dtype=pl.Float64)
    numbers = _number(texts)
    return named.zip_with(
        named.is_not_null(), numbers.zip_with(numbers.is_between(1, 12), pl.Series([None], dtype=pl.Float64))
    )


def parse_dates(texts: pl.Series) -> pl.Series:
    """Return ISO 8601 dates, whatever time of day follows; null where a text is none."""
    return texts.str.extract(r"^(\d{4}-\d{2}-\d{2})(?:[T ].*)?$", 1).str.to_date("%Y-%m-%d", strict=False)


def _label(texts: pl.Series) -> pl.Series:
    return texts.str.replace(r"^(\d+)\.0+$", "$1")


def _array(texts: pl.Series) -> pl.Series:
    """Return the genotyping array of a batch: data-coding 22000, UKBiLEVEAX_b1 (-1) to b11, Batch_b001 (1) to b095."""
    number = texts.cast(pl.Float64, strict=False)
    frame = pl.DataFrame({"text": texts.str.to_lowercase(), "number": number})
    text, number_ = pl.col("text"), pl.col("number")
    bileve = text.str.starts_with("ukbileve") | (number_ < 0)
    axiom = text.str.starts_with("batch_b") | (number_ > 0)
    chosen = pl.when(bileve).then(pl.lit("BiLEVE")).when(axiom).then(pl.lit("Axiom"))
    return frame.select(chosen.alias("array"))["array"]


_PARSERS = {31: _sex, 52: _month, 53: parse_dates, 54: _label, 22000: _array}


def parse_codes(texts: pl.Series) -> pl.Series:
    """Return ICD-10 codes in one spelling (K760), null where a text does not begin with one."""
    return texts.str.extract(ICD10, 1).str.to_uppercase().str.replace_all(".", "", literal=True)


def unpack(texts: pl.Series) -> pl.Series:
    """Return the elements of packed arrays, as lists of stripped texts in their order; null stays null.

    Packed as RAP has them: E119|K760 (Table exporter), ["E119","K760"] (`dx extract_dataset`), ['E119', 'K760']
    (pandas); meanings may follow the codes, with commas and apostrophes in them.
    """
    text = pl.col("text")
    listed = text.str.starts_with("[") & text.str.ends_with("]")
    inside = text.str.strip_chars("[]")
    quoted = inside.str.extract_all(r"""\"[^\"]*\"|'[^']*'""").list.eval(
        pl.element().str.slice(1, pl.element().str.len_chars() - 2)
    )
    bare = pl.when(inside.str.strip_chars() == "").then(pl.lit([], dtype=pl.List(pl.String))).otherwise(
        inside.str.split(",")
    )  # fmt: skip
    elements = (
        pl.when(listed & inside.str.contains("[\"']"))
        .then(quoted)
        .when(listed)
        .then(bare)
        .otherwise(text.str.split("|"))
    )
    frame = pl.DataFrame({"text": texts.cast(pl.String).str.strip_chars()})
    return frame.select(elements.list.eval(pl.element().str.strip_chars()).alias("elements"))["elements"]
