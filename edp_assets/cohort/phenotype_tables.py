"""Phenotype and covariate tables as plink2 and regenie take them: FID IID and a column each, blank or tab delimited.

A cohort folder's own tables are read in `tables.py`.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

MISSING = ("", "na", "nan", "-nan")
"""What stands for a missing value, in any case (plink2's and regenie's)."""

MISSING_CODE = "-9"
"""PLINK's code of a missing phenotype, as it is written: -9.0 is a number."""


class PhenotypeTableError(ValueError):
    """A table that cannot be read as people and their values."""


@dataclass(frozen=True)
class PhenotypeTable:
    """A table of people.

    Attributes:
        path: the file.
        frame: FID (the IID where the file has none), IID, and the columns: Float64 with null for missing, or String
            where none of a column's values is a number.
        missing_codes: how many values were missing by `MISSING_CODE`.
    """

    path: Path
    frame: pl.DataFrame
    missing_codes: int

    @property
    def columns(self) -> list[str]:
        """The names of the phenotypes or covariates."""
        return self.frame.columns[2:]


def read_phenotype_table(path: Path, *, text: bool) -> PhenotypeTable:
    """Read a table with the head `FID IID ...`, `#FID IID ...`, `IID ...` or `#IID ...`; it may be .gz.

    A head with a tab has tabs alone between its fields, so that an empty field is a missing value; else fields lie
    between blanks. Missing are `MISSING` and `MISSING_CODE`.

    Args:
        path: the file.
        text: take a column without any number as categories (covariates); else it raises.

    Raises:
        PhenotypeTableError: no such file or head, a line of another number of fields, IIDs or columns that occur more
            than once, a value that is no number, or an infinite one.
    """
    path = Path(path)
    frame = _raw(path)
    names = [name for name in frame.columns if name not in ("FID", "IID")]
    _check_iids(frame["IID"], path)
    read = [_column(path, frame[name], text=text) for name in names]
    columns, coded = [column for column, _ in read], sum(n for _, n in read)
    fid = frame["FID"] if "FID" in frame.columns else frame["IID"]
    table = pl.DataFrame({"FID": fid, "IID": frame["IID"]}).with_columns(*columns)
    return PhenotypeTable(path, table, coded)


def _raw(path: Path) -> pl.DataFrame:
    """Return the file's fields as text under its head's names."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        data.decode("utf-8")
    except gzip.BadGzipFile:
        raise PhenotypeTableError(f"{path} is not gzip, as its name says: rename it or compress it") from None
    except OSError as error:
        raise PhenotypeTableError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise PhenotypeTableError(f"{path} is not text: byte {error.start} is not UTF-8") from None
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").strip(b"\n")
    head, _, _ = data.partition(b"\n")
    if b"\t" not in head.strip():
        data = re.sub(rb"[ \t]+", b"\t", re.sub(rb"(?m)^[ \t]+|[ \t]+$", b"", data))
        head, _, _ = data.partition(b"\n")
    names = head.decode().removeprefix("#").split("\t")
    if names[0] != "IID" and names[:2] != ["FID", "IID"]:
        raise PhenotypeTableError(
            f"{path}: wanted a head of FID IID or IID and then the columns' names (tab or blank delimited), found "
            f"{' '.join(names[:4])[:80]!r}"
        )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or "" in names:
        raise PhenotypeTableError(f"{path}: columns must have one name each; found {repeated or 'an empty name'}")
    _check_fields(path, data, len(names))
    if b"\n" not in data:
        raise PhenotypeTableError(f"{path} has a head and no people")
    return pl.read_csv(data, separator="\t", infer_schema=False, quote_char=None, new_columns=names)


def _check_fields(path: Path, data: bytes, width: int) -> None:
    """Raise for the first line that has another number of fields than the head."""
    lines = data.split(b"\n")
    # Counted in one go; the place is sought only where the count is wrong, or right by two wrongs.
    if data.count(b"\t") == len(lines) * (width - 1) and all(line.count(b"\t") == width - 1 for line in lines):
        return
    for number, line in enumerate(lines, 1):
        found = len(line.split(b"\t")) if line else 0
        if found != width:
            raise PhenotypeTableError(
                f"{path}, line {number}: wanted {width} fields as in the head, found {found}; a missing value is NA"
            )


def _check_iids(iids: pl.Series, path: Path) -> None:
    if iids.null_count():
        raise PhenotypeTableError(f"{path}: {iids.null_count()} lines have no IID; every person needs one")
    repeated = iids.filter(iids.is_duplicated())
    if len(repeated):
        raise PhenotypeTableError(
            f"{path}: {repeated.n_unique()} IIDs occur more than once, the first is {repeated[0]}; people are joined "
            "by IID, so leave one line of each"
        )


def _column(path: Path, values: pl.Series, *, text: bool) -> tuple[pl.Series, int]:
    """Return one column as numbers or categories, null where missing, and how many are missing by `MISSING_CODE`."""
    numbers = values.cast(pl.Float64, strict=False)
    # Nearly all are finite numbers: what is not, or may be the code, is looked at as text.
    doubtful = ((numbers == float(MISSING_CODE)) | ~numbers.is_finite()).fill_null(value=True).arg_true()
    written = values.gather(doubtful).fill_null("").str.strip_chars()
    code = written == MISSING_CODE
    missing = code | written.str.to_lowercase().is_in(list(MISSING))
    again = pl.select(pl.when(~missing).then(written.cast(pl.Float64, strict=False))).to_series()
    numbers = numbers.scatter(doubtful, again)
    strange = doubtful.filter(~missing & ~again.is_finite().fill_null(value=False))
    if not len(strange):
        return numbers, int(code.sum())
    there = len(values) - int(missing.sum())
    if text and len(strange) == there:
        return values.str.strip_chars().scatter(doubtful.filter(missing), None), int(code.sum())
    raise PhenotypeTableError(
        f"{path}, column {values.name}, line {int(strange[0]) + 2}: wanted a number or NA, found "
        f"{values[int(strange[0])]!r}; {len(strange)} such of {there} values"
        + ("; a column of categories has no numbers in it" if text else "")
    )
