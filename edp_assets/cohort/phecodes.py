"""Readers of the published phecode tables, all optional: the map from ICD-10, its definitions, its exclusions.

What phecodes make of diagnoses is in `science.phenome.phecodes`.
"""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import polars as pl

from edp_assets.cohort.config import Cohort
from edp_assets.cohort.labels import normalise_codes
from edp_assets.cohort.problems import CohortError, Problem
from edp_assets.cohort.reading import READ_ERRORS, SEPARATORS, UnreadableError, require_file
from edp_assets.science.phenome.phecodes import SEXES, PhecodeMap, canonical, ranges

ICD10 = ("icd10", "icd10 code", "icd")
PHECODE = ("phecode",)
DESCRIPTION = ("phenotype", "phecode_string", "description")
EXCLUDE = ("excl. phecodes", "phecode_exclude_range", "exclude_range")
SEX = ("sex",)
CATEGORY = ("category_string", "category", "group")
ROLLUP = ("rollup",)
"""Columns by the names that published tables give them, in lower case."""


def read_phecode_map(cohort: Cohort) -> tuple[PhecodeMap | None, list[Problem]]:
    """Read the phecode tables that cohort.toml names; no map where it names none, or one is refused."""
    if cohort.phecode_map is None:
        return None, []
    try:
        codes, definitions = _map(cohort.phecode_map, cohort.label(cohort.phecode_map))
        if cohort.phecode_definitions is not None:
            more = _definitions(cohort.phecode_definitions, cohort.label(cohort.phecode_definitions))
            definitions = pl.concat([more, definitions.join(more, on="phecode", how="anti")])
        exclusions = cohort.phecode_exclusions
        excluded = {} if exclusions is None else _exclusions(exclusions, cohort.label(exclusions))
    except CohortError as error:
        return None, error.problems
    return PhecodeMap(codes, definitions, excluded), []


def _map(path: Path, file: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the pairs of icd10 and phecode (null: the map has the code without one), and what is said of phecodes."""
    table = _read(path, file)
    icd10, phecode = _column(table, ICD10, file), _column(table, PHECODE, file)
    rows = table.with_columns(normalise_codes(table[icd10]).alias("icd10"), phecode=_canonical(table[phecode], file))
    codes = rows.select("icd10", "phecode").drop_nulls("icd10").unique(maintain_order=True)
    return codes, _described(rows.drop_nulls("phecode"), file)


def _definitions(path: Path, file: str) -> pl.DataFrame:
    table = _read(path, file)
    phecode = _canonical(table[_column(table, PHECODE, file)], file)
    return _described(table.with_columns(phecode=phecode), file)


def _exclusions(path: Path, file: str) -> dict[str, frozenset[str]]:
    """Return the phecodes whose people are no controls, by phecode: a table of two columns, a row a pair."""
    table = _read(path, file)
    if table.width < 2:
        wanted = "two columns: a phecode, and one whose people are no controls of it"
        raise _refused(file, "header", wanted, ", ".join(table.columns))
    pairs = pl.DataFrame({"of": _canonical(table.to_series(0), file), "who": _canonical(table.to_series(1), file)})
    return {of: frozenset(part["who"]) for (of,), part in pairs.drop_nulls().group_by("of")}


def _described(rows: pl.DataFrame, file: str) -> pl.DataFrame:
    """Return phecode, description, category, sex, exclude, rollup: of a phecode's rows the first."""
    first = rows.unique("phecode", keep="first", maintain_order=True)
    found = {}
    for name, spellings in (("description", DESCRIPTION), ("category", CATEGORY), ("exclude", EXCLUDE)):
        column = _column(first, spellings, file, required=name == "description")
        found[name] = pl.lit(None, pl.String) if column is None else pl.col(column)
    sex, rollup = (_column(first, names, file, required=False) for names in (SEX, ROLLUP))
    described = first.select(
        "phecode",
        description=found["description"].fill_null(pl.format("Phecode {}", "phecode")),
        category=found["category"],
        sex=pl.lit(None, pl.Float64)
        if sex is None
        else pl.col(sex).str.to_lowercase().replace_strict(SEXES, default=None, return_dtype=pl.Float64),
        exclude=found["exclude"],
        rollup=pl.lit(True) if rollup is None else pl.col(rollup).fill_null("1") != "0",
    )
    for phecode, text in described.select("phecode", "exclude").iter_rows():
        try:
            ranges(text)
        except ValueError as error:
            wanted, _, what = str(error).removeprefix("wanted ").partition(", found ")
            raise _refused(file, f"phecode {phecode}", wanted, what) from None
    return described


def _canonical(phecodes: pl.Series, file: str) -> pl.Series:
    """Return phecodes in their one spelling."""
    spelled: dict[str, Any] = {}
    for text in phecodes.drop_nulls().unique():
        try:
            spelled[text] = canonical(text)
        except ValueError:
            raise _refused(file, "", "phecodes 1.2, as numbers such as 250.2", repr(text)) from None
    return phecodes.replace_strict(spelled, default=None, return_dtype=pl.String)


def _column(table: pl.DataFrame, spellings: tuple[str, ...], file: str, *, required: bool = True) -> Any:
    """Return the table's name of a column; None where it may lack it and does."""
    by_lower = {name.lower(): name for name in reversed(table.columns)}
    if name := next((by_lower[each] for each in spellings if each in by_lower), None):
        return name
    if required:
        raise _refused(file, "header", f"a column {' or '.join(spellings)}", ", ".join(table.columns))
    return None


def _read(path: Path, file: str) -> pl.DataFrame:
    """Return a table as text, whatever its lines end in: the published exclusions end in CR alone."""
    separator = SEPARATORS.get(Path(path.name.removesuffix(".gz")).suffix)
    if separator is None:
        raise _refused(file, "", "a table that ends in .csv, .tsv, .csv.gz or .tsv.gz", path.name)
    try:
        require_file(path)
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        lines = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        table = pl.read_csv(io.BytesIO(lines), separator=separator, infer_schema=False)
    except UnreadableError as error:
        raise CohortError(error.problems(file)) from None
    except READ_ERRORS as error:
        raise _refused(file, "", "a table of text", str(error).splitlines()[0]) from None
    stripped = table.select(
        pl.col(name).str.strip_chars().alias(name.strip().lstrip("\ufeff")) for name in table.columns
    )
    return stripped.with_columns(pl.when(pl.all() != "").then(pl.all()))


def _refused(file: str, where: str, wanted: str, found: str) -> CohortError:
    remedy = "correct the file, or its name in cohort.toml"
    return CohortError([Problem("refused", file, where, wanted, found, remedy)])
