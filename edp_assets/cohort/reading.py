"""Table files as text: .csv, .tsv (plain or .gz) and .parquet into string columns with row numbers.

Opening files belongs here, for any table; checking values is in `values`, what a column means in `tables`.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from edp_assets.cohort.config import did_you_mean
from edp_assets.cohort.problems import CohortError, Problem, refused
from edp_assets.cohort.schema import EXCLUDED

SEPARATORS = {".csv": ",", ".tsv": "\t"}
MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", ".")
"""Spellings of a missing value."""

READ_ERRORS = (UnicodeDecodeError, OSError, EOFError, zlib.error, csv.Error, pl.exceptions.PolarsError)
"""What opening, unzipping and parsing a damaged table raise."""


@dataclass
class Read:
    """A table as read, what is wrong with it, and who was left out.

    Attributes:
        table: the sound rows.
        problems: everything found; where one is "refused" the table is only as good as it can be.
        excluded: columns eid, organ, stage, reason.
    """

    table: pl.DataFrame
    problems: list[Problem] = field(default_factory=list)
    excluded: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=EXCLUDED))

    def require(self) -> pl.DataFrame:
        """Return the table, or raise CohortError where a problem is "refused"."""
        if stopping := refused(self.problems):
            raise CohortError(stopping)
        return self.table

    def exclude(self, rows: pl.DataFrame, stage: str, reason: str | pl.Expr, *, named: bool = True) -> None:
        """Count the rows (columns eid[, organ]) as left out; `named=False` leaves the eid out of the record."""
        if rows.height == 0:
            return
        organ = pl.col("organ") if "organ" in rows.columns else pl.lit(None, dtype=pl.String)
        addition = rows.with_columns(
            (pl.col("eid") if named else pl.lit(None, dtype=pl.String)).alias("eid"),
            organ.alias("organ"),
            pl.lit(stage).alias("stage"),
            (pl.lit(reason) if isinstance(reason, str) else reason).cast(pl.String).alias("reason"),
        ).select(list(EXCLUDED))
        self.excluded = pl.concat([self.excluded, addition])


def read_text_table(
    path: Path, file: str, wanted: Callable[[str], bool], required: Sequence[str]
) -> tuple[pl.DataFrame | None, list[str], list[Problem]]:
    """Read the wanted columns of a table file as strings, blanks stripped and missing values null.

    Args:
        path: the file, by its ending .csv, .tsv, .csv.gz, .tsv.gz or .parquet.
        file: its name in problems.
        wanted: says of a column's name whether to read it.
        required: columns without which the table cannot be used.

    Returns:
        The table with an Int64 column `row` in front (None where it cannot be read or lacks a required column), all
        names in the header, and the problems.
    """
    try:
        frame, header = _open(path, wanted)
    except UnreadableError as error:
        return None, [], error.problems(file)
    problems: list[Problem] = []
    for name in sorted({name for name in header if wanted(name) and header.count(name) > 1}):
        found = f'{header.count(name)} columns "{name}"'
        problems.append(Problem("refused", file, "header", "every column once", found, "rename or remove all but one"))
    others = [name for name in header if not wanted(name)]
    problems += [_missing_column(file, name, header, others) for name in required if name not in header]
    if problems:
        return None, header, problems
    if frame.height == 0:
        found = "a header and no rows"
        problems.append(
            Problem("refused", file, "", "at least one row", found, "check that the file was written fully")
        )
    return frame, header, problems


def _missing_column(file: str, name: str, header: list[str], others: list[str]) -> Problem:
    shown = ", ".join(header[:8]) + (", ..." if len(header) > 8 else "")
    found = f'no column "{name}"{did_you_mean(name, others)} (the header holds {shown!r})'
    remedy = f'add the column "{name}", or rename the column that holds it'
    if len(header) == 1 and (other := next((c for c in "\t;,|" if c in header[0]), None)):
        remedy = f"separate the columns by commas in .csv and by tabs in .tsv; this file seems to use {other!r}"
    return Problem("refused", file, "header", f'a column "{name}"', found, remedy)


class UnreadableError(Exception):
    """A table that cannot be opened: (where, wanted, found, remedy) of each reason."""

    def __init__(self, *reasons: tuple[str, str, str, str]) -> None:
        self.reasons = reasons

    def problems(self, file: str) -> list[Problem]:
        """Return each reason as a "refused" problem of the file."""
        return [Problem("refused", file, *reason) for reason in self.reasons]


def _open(path: Path, wanted: Callable[[str], bool]) -> tuple[pl.DataFrame, list[str]]:
    """Return the wanted columns, stripped, after `row`; and the stripped names of all columns."""
    require_file(path)
    if path.suffix == ".parquet":
        return _open_parquet(path, wanted)
    separator = SEPARATORS.get(Path(path.name.removesuffix(".gz")).suffix)
    if separator is None:
        formats = ".csv, .tsv, .csv.gz, .tsv.gz or .parquet"
        raise UnreadableError(("", f"a table that ends in {formats}", path.name, "convert or rename the file"))
    try:
        first = next(records(path, separator), [])
        if not any(name.strip() for name in first):
            found = "an empty file"
            raise UnreadableError(("", "a header line and rows", found, "check that the file was written fully"))
        header = [name.strip() for name in first]
        columns = [name for i, name in enumerate(first) if wanted(name.strip()) and name not in first[:i]]
        frame = pl.read_csv(path, separator=separator, infer_schema=False, columns=columns or first[:1])
    except READ_ERRORS as error:
        raise UnreadableError(*_why_unreadable(path, separator, error)) from None
    frame = frame.with_row_index("row", offset=2).with_columns(pl.col("row").cast(pl.Int64))
    return _clean(frame, {name: name.strip() for name in columns}), header


def require_file(path: Path) -> None:
    """Raise `UnreadableError` where there is no such file."""
    if path.is_file():
        return
    try:
        beside = os.listdir(path.parent)
    except OSError:
        beside = []
    found = f"no file {path.name}{did_you_mean(path.name, beside)}"
    raise UnreadableError(("", "the file that cohort.toml names", found, "put the file there, or correct cohort.toml"))


def _open_parquet(path: Path, wanted: Callable[[str], bool]) -> tuple[pl.DataFrame, list[str]]:
    try:
        schema = pl.read_parquet_schema(path)
        columns = [name for name in schema if wanted(name.strip())]
        frame = pl.read_parquet(path, columns=columns or list(schema)[:1])
    except (OSError, pl.exceptions.PolarsError) as error:
        remedy = "write the file again; it may be cut off"
        raise UnreadableError(("", "a Parquet file", str(error).splitlines()[0], remedy)) from None
    wrong = [(name, schema[name]) for name in columns if schema[name].is_nested() or schema[name] == pl.Binary]
    if "eid" in columns and schema["eid"].is_float():
        wrong.append(("eid", schema["eid"]))
    if wrong:
        wanted_text = "text, numbers or dates, and eids as text or integers"
        remedy = "save the column as text (eids: as integers), one value a row"
        raise UnreadableError(*((f'column "{n}"', wanted_text, f"type {dtype}", remedy) for n, dtype in wrong))
    frame = frame.with_columns(pl.all().cast(pl.String)).with_row_index("row", offset=1)
    frame = frame.with_columns(pl.col("row").cast(pl.Int64))
    return _clean(frame, {name: name.strip() for name in columns}), [name.strip() for name in schema]


def _clean(frame: pl.DataFrame, names: dict[str, str]) -> pl.DataFrame:
    """Strip names and values, make missing values null, drop blank lines."""
    text = [pl.col(raw).str.strip_chars().alias(name) for raw, name in names.items()]
    frame = frame.select("row", *text)
    values = pl.all().exclude("row")
    blank = pl.all_horizontal(values.is_null() | (values == "")) if names else pl.lit(False)
    frame = frame.filter(~blank)
    return frame.with_columns(pl.when(~values.is_in(MISSING)).then(values))


def records(path: Path, separator: str) -> Iterator[list[str]]:
    """Yield the records of a text table, plain or .gz, header first; an empty line is skipped."""
    with _text(path) as text:
        for record in csv.reader(text, delimiter=separator):
            if record:
                yield record


@contextmanager
def _text(path: Path) -> Iterator[io.TextIOWrapper]:
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw) if zipped else raw
        yield io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")


def _why_unreadable(path: Path, separator: str, error: Exception) -> list[tuple[str, str, str, str]]:
    """Say in which rows, and why, a text table cannot be read."""
    first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
    wanted = "every row with at most as many fields as the header"
    reasons: list[tuple[str, str, str, str]] = []
    try:
        lines = records(path, separator)
        n_columns = len(next(lines, []))
        for row, record in enumerate(lines, start=2):
            if len(record) > n_columns:
                found = f"{len(record)} fields for {n_columns} columns"
                reasons.append((f"row {row}", wanted, found, "put fields that hold the separator in quotes"))
        with _text(path) as text:
            start = text.read(1 << 16)
        if "\r" in start and "\n" not in start:
            reasons = [
                ("", "lines that end in LF or CRLF", "lines that end in CR", "save the file with other line ends")
            ]
    except UnicodeDecodeError as wrong:
        reasons.append(("", "UTF-8 text", f"byte {wrong.object[wrong.start]:#x}", "save the file as UTF-8"))
    except (OSError, EOFError, zlib.error) as wrong:
        reasons.append(("", "a readable file", str(wrong) or "it ends too early", "copy or compress the file again"))
    except csv.Error as wrong:
        reasons.append(
            ("", "a table of text", str(wrong), "look for a quote that is never closed, or control characters")
        )
    return reasons or [("", "a table of text", first_line, "look for a quote that is never closed")]
