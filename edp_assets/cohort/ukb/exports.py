"""Exports of UK Biobank fields: their headers, and the wanted columns a batch of rows at a time.

Opening files belongs here (csv, tsv, txt, tab, plain or .gz, and parquet); what columns mean is in `columns`.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from edp_assets.cohort.reading import MISSING, READ_ERRORS
from edp_assets.cohort.ukb.columns import Key, eid_column, is_title, parse_column

BATCH_BYTES = 1 << 23
"""Text parsed at once: 8 MiB, some 2,500 people of a wide export."""

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t", ".tab": "\t"}
EID = r"^[1-9]\d*(\.0+)?$"


class ImportRefusedError(ValueError):
    """An export, a folder or an option that cannot be used: what was wanted, what was found, what to do."""


@dataclass
class Export:
    """A table as UK Biobank's tools write it.

    Attributes:
        path: the file.
        separator: of its columns; empty for parquet.
        header: all names, as written.
        eid: the name of the eid column.
        columns: the name of each field's column.
        no_eid: rows without an eid, counted as they are read.
        negative: rows whose eid is negative, which UK Biobank writes for people who withdrew; counted as well.
    """

    path: Path
    separator: str
    header: list[str]
    eid: str
    columns: dict[Key, str]
    no_eid: int = 0
    negative: int = 0
    _titles: list[str] = field(default_factory=list)

    def key(self, number: int, instance: int = 0, array: int | None = None) -> Key | None:
        """Return the key of a field's column that the export has; without an array, 0 and none are the same."""
        arrays = (None, 0) if array is None else (array,)
        return next((key for a in arrays if (key := Key(number, instance, a)) in self.columns), None)

    def keys(self, number: int) -> list[Key]:
        """Return the keys of all of a field's columns, by instance and array."""
        return sorted((key for key in self.columns if key.field == number), key=lambda k: (k.instance, k.array or 0))

    @property
    def fields(self) -> set[int]:
        """The fields that it has."""
        return {key.field for key in self.columns}

    @property
    def by_title(self) -> list[str]:
        """Columns known by their title alone."""
        return [name for name in self.columns.values() if is_title(name)]

    def read(self, keys: Sequence[Key]) -> Iterator[pl.DataFrame]:
        """Yield the rows in batches: `eid` (Int64), `row_hash`, and the keys' columns under `key.name`.

        Columns are String, stripped, null where empty; packed ones of a parquet file are lists of them. Rows without an
        eid, and of negative ones, are counted and left out.

        Raises:
            ImportRefusedError: the file is damaged, rows have more or fewer fields than the header, an eid is none.
        """
        names = [self.columns[key] for key in keys]
        batches = _parquet(self.path, [self.eid, *names]) if not self.separator else self._text(names)
        try:
            for batch in batches:
                frame = batch.select(
                    _cleaned(batch, self.eid).alias("eid"),
                    *(_cleaned(batch, n).alias(k.name) for n, k in zip(names, keys, strict=True)),
                )
                yield self._sound(frame)
        except ImportRefusedError:
            raise
        except (*READ_ERRORS, ValueError) as error:
            raise ImportRefusedError(_damaged(self.path, error)) from None

    def _text(self, names: list[str]) -> Iterator[pl.DataFrame]:
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        wanted = [self.eid, *names]
        # Strict about the number of fields in a row, also where the columns before were all that is wanted: a
        # separator in an unquoted text shifts every value behind it. Only wanted columns are decoded.
        reader = arrow_csv.open_csv(
            self.path,
            read_options=arrow_csv.ReadOptions(block_size=BATCH_BYTES, use_threads=True),
            parse_options=arrow_csv.ParseOptions(delimiter=self.separator, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=wanted,
                column_types={name: pa.string() for name in wanted},
                strings_can_be_null=True,
                null_values=list(MISSING),
            ),
        )
        with reader:
            for batch in reader:
                yield _frame(batch)

    def _sound(self, frame: pl.DataFrame) -> pl.DataFrame:
        eid = pl.col("eid")
        absent, negative = frame["eid"].null_count(), frame["eid"].str.contains(r"^-\d+(\.0+)?$").fill_null(False)
        self.no_eid += absent
        self.negative += int(negative.sum())
        frame = frame.filter(eid.is_not_null() & ~negative)
        wrong = frame.filter(~eid.str.contains(EID))
        if wrong.height:
            raise ImportRefusedError(
                f"{self.path.name}: wanted eids as whole numbers in {self.eid!r}, found {wrong['eid'][0]!r}; "
                "write eids as integers (spreadsheets and R write 1000000 as 1e+06)"
            )
        frame = frame.with_columns(row_hash=frame.hash_rows())
        return frame.with_columns(eid.str.replace(r"\.0+$", "").cast(pl.Int64))


def open_export(path: Path) -> Export:
    """Read the header of an export.

    Raises:
        ImportRefusedError: no such file, another format, no eid column, or a field in two columns.
    """
    path = Path(path)
    if not path.is_file():
        raise ImportRefusedError(f"{path}: wanted a table of UK Biobank fields, found no such file; correct --tables")
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    if ending == ".parquet":
        try:
            separator, header = "", list(pl.read_parquet_schema(path))
        except READ_ERRORS as error:
            raise ImportRefusedError(_damaged(path, error)) from None
    elif ending in SEPARATORS:
        separator, header = _text_header(path, SEPARATORS[ending])
    else:
        formats = ".csv, .tsv, .txt, .tab (each may be .gz) or .parquet"
        hint = "; run ukbconv on it first" if ending in (".enc", ".enc_ukb") else "; convert it, or rename it"
        raise ImportRefusedError(f"{path}: wanted a table that ends in {formats}, found {path.name}{hint}")
    repeated = [name for name, n in Counter(header).items() if n > 1 and (parse_column(name) or name == "eid")]
    if repeated:
        raise ImportRefusedError(
            f"{path}: wanted every column once, found {header.count(repeated[0])} columns {repeated[0]!r} "
            f"({len(repeated)} names repeat); export it again with field names instead of titles"
        )
    eid = eid_column(header)
    if eid is None:
        shown = ", ".join(header[:5])
        raise ImportRefusedError(
            f"{path}: wanted a column eid, f.eid, participant.eid or Participant ID, found {len(header)} columns, the "
            f"first {shown}; export the table with the participants' ids"
        )
    columns: dict[Key, str] = {}
    places: dict[str, str] = {}
    for name in header:
        key = parse_column(name)
        if key is None:
            continue
        other = places.setdefault(key.name, name)
        if other != name:
            raise ImportRefusedError(
                f"{path}: wanted field {key.field} once, found it as {other!r} and as {name!r}; remove one of them"
            )
        columns[key] = name
    return Export(path, separator, header, eid, columns)


def _text_header(path: Path, separator: str) -> tuple[str, list[str]]:
    """Return the separator and the header: that of the file's ending, unless only another one finds an eid column."""
    first: list[str] = []
    for each in dict.fromkeys((separator, ",", "\t")):
        try:
            # Names are ASCII; free texts further on, which nobody asked for, may be in any encoding.
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as raw:
                lines = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace", newline="")
                header = next(csv.reader(lines, delimiter=each), [])
        except READ_ERRORS as error:
            raise ImportRefusedError(_damaged(path, error)) from None
        if eid_column(header) is not None:
            return each, header
        first = first or header
    return separator, first


def _damaged(path: Path, error: Exception) -> str:
    found = (str(error).splitlines() or [type(error).__name__])[0]
    return f"{path}: wanted a whole table, every row with as many fields as the header, found: {found}; export it again"


def _frame(batch: Any) -> pl.DataFrame:
    frame = pl.from_arrow(batch)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101  # of a record batch it is one
    return frame


def _parquet(path: Path, names: list[str]) -> Iterator[pl.DataFrame]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=10_000, columns=names):
            yield _frame(batch)


def _cleaned(batch: pl.DataFrame, name: str) -> pl.Expr:
    dtype = batch.schema[name]
    column = pl.col(name)
    if isinstance(dtype, pl.List):
        return column.cast(pl.List(pl.String))
    if dtype.is_float():  # 22000 and the like, which pandas makes floats of: -1.0 is -1
        column = pl.when(column == column.round(0)).then(column.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(
            column.cast(pl.String)
        )  # fmt: skip
    text = column.cast(pl.String).str.strip_chars()
    return pl.when(~text.is_in(MISSING)).then(text)
