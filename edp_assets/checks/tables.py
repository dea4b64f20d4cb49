"""The checks of every stored table, by a glance at its files: `schema`, and `row_counts` against the stage before.

How they are kept and what they hold is in `storage/verdicts.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache, partial

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from edp_assets.assets.stage import REGISTRY
from edp_assets.checks.gates import register_look
from edp_assets.science.findings import Finding
from edp_assets.storage.lake import Cell, Lake
from edp_assets.storage.parquet_files import UNREADABLE
from edp_assets.storage.schemas import KEYS, SCHEMAS
from edp_assets.storage.table_files import PROVENANCE, Provenance, parquet_schema
from edp_assets.storage.upstream import Partition
from edp_assets.storage.workspace import CODES, Asset, StageSpec, Workspace

SCHEMA = "Columns, types, missing values, row count and repeated keys of each file, as its table is declared."
ROW_COUNTS = "Rows against those of the stage before, less those left out and counted: nothing is lost in silence."

_BATCH = 65_536


def evaluate(spec: StageSpec, workspace: Workspace, cell: Cell, current: bool) -> list[Finding]:
    """Return what is found of one stored partition; `current`: rows can be compared with those of its inputs."""
    settings = workspace.settings.checks
    path = workspace.lake.path(spec.asset, cell)
    findings = []
    if settings.schema_.severity != "off":
        try:
            problems = list(schema_problems(workspace.lake, spec.asset, cell, spec.table))
        except FileNotFoundError:
            return []
        remedy = f"delete {path} and run again: it is made anew; who replaced it, or why it broke, is worth knowing"
        findings = [
            Finding("schema", name, settings.schema_.severity, False, value, threshold, told, remedy)
            for name, value, threshold, told in problems
        ] or [Finding("schema", "file", settings.schema_.severity, True, 0, 0, "as declared")]
    equation = EQUATIONS.get(spec.table)
    readable = all(finding.passed for finding in findings)
    if current and readable and equation and settings.row_counts.severity != "off":
        counts = Counts(spec, workspace, cell)
        try:
            expected = equation(counts)
        except FileNotFoundError:  # what it is made from is there no more
            expected = None
        if expected is not None:
            rows = counts.rows
            severity, wanted = settings.row_counts.severity, expected.rows
            told = f"{rows} rows; {wanted} are wanted: {expected.words}"
            remedy = (
                f"delete {path} and run again; if it stays so, rows are lost by a fault of the stage: please report it "
                "(until then [checks.row_counts] severity = 'warn')"
            )
            findings.append(Finding("row_counts", "rows", severity, rows == wanted, rows, wanted, told, remedy))
    return findings


Problem = tuple[str, float, float, str]
"""Measure, what was found, what is allowed, in words."""


def schema_problems(lake: Lake, asset: Asset, cell: Cell, table: str) -> Iterator[Problem]:
    """Yield how a file differs from what its table is declared to be; of a sound one its footer and key are read alone.

    A file of an earlier version does not say which columns may not be null: there numbers are judged by the footer's
    statistics, text is read; lists and bytes, which may be large, are not.
    """
    try:
        with lake.parquet_file(asset, cell) as file:
            yield from _problems(file, table)
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        yield "file", 1, 0, f"it cannot be read ({error})"


def _problems(file: pq.ParquetFile, table: str) -> Iterator[Problem]:
    metadata = file.metadata
    if not metadata.schema.equals(parquet_schema(table)):
        found, wanted = _leaves(metadata.schema), _declared(table)
        missing, unknown = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
        if missing or unknown:
            lists = [
                f"{word} {', '.join(names)}" for word, names in (("missing", missing), ("unknown", unknown)) if names
            ]
            yield "columns", len(missing) + len(unknown), 0, f"its columns are not those of {table}: {'; '.join(lists)}"
        other = [name for name in wanted if name in found and found[name].kind != wanted[name].kind]
        if other:
            told = ", ".join(f"{name} is {found[name].kind}, {wanted[name].kind} is wanted" for name in other)
            yield "types", len(other), 0, told
        if missing or unknown or other:
            return
        for name in (name for name in wanted if found[name].levels > wanted[name].levels):
            if nulls := _nulls(file, name):
                yield "missing_values", nulls, 0, f"{nulls} values of {name} are missing; none may be"
    provenance = (metadata.metadata or {}).get(PROVENANCE)
    if provenance is None:
        yield "provenance", 0, 1, "it does not say what it was made from: it was not written by edp_assets"
    elif (rows := Provenance.from_json(provenance).rows) != metadata.num_rows:
        yield "rows", metadata.num_rows, rows, f"{metadata.num_rows} rows; it was written with {rows}"
    if (key := KEYS.get(table)) and metadata.num_rows > 1:
        columns = pl.DataFrame(file.read(columns=list(key), use_threads=False))
        if repeated := columns.height - columns.n_unique():
            yield "duplicates", repeated, 0, f"{repeated} rows repeat the {', '.join(key)} of another; none may"


@dataclass(frozen=True)
class _Leaf:
    kind: str
    levels: int


def _leaves(schema: pq.ParquetSchema) -> dict[str, _Leaf]:
    """Return the type of each column, and how many levels of it may be null (a list counts as one)."""
    found = {}
    for i in range(len(schema.names)):
        leaf = schema.column(i)
        logical = leaf.logical_type.type
        kind = leaf.physical_type.lower() if logical == "NONE" else logical.lower()
        name = leaf.path.split(".")[0]
        found[name] = _Leaf(f"list of {kind}" if leaf.max_repetition_level else kind, leaf.max_definition_level)
    return found


@cache
def _declared(table: str) -> dict[str, _Leaf]:
    return _leaves(parquet_schema(table))


def _nulls(file: pq.ParquetFile, name: str) -> int:
    """Return how many values of a column are missing, as far as that is cheap to tell."""
    place = file.schema_arrow.get_field_index(name)
    if place < 0 or pa.types.is_nested(file.schema_arrow.field(name).type):
        return 0
    leaf = next(i for i in range(len(file.schema.names)) if file.schema.column(i).path == name)
    statistics = [file.metadata.row_group(i).column(leaf).statistics for i in range(file.metadata.num_row_groups)]
    if all(each is not None and each.has_null_count for each in statistics):
        return sum(each.null_count for each in statistics)
    if pa.types.is_binary(file.schema_arrow.field(name).type):
        return 0
    return sum(batch.column(0).null_count for batch in file.iter_batches(_BATCH, columns=[name], use_threads=False))


@dataclass(frozen=True)
class Expected:
    """How many rows a partition should have, and by what equation, in words."""

    rows: int
    words: str


class Counts:
    """The row counts that a partition's equation is made of: footers, and small columns."""

    def __init__(self, spec: StageSpec, workspace: Workspace, cell: Cell) -> None:
        self.spec, self.workspace, self.lake, self.cell = spec, workspace, workspace.lake, cell

    @property
    def rows(self) -> int:
        """The partition's own."""
        return self._rows(self.spec.asset, self.cell)

    def above(self, name: str) -> int:
        """Return those of the input of that name (which has no further dimension)."""
        return self._rows(self.spec.inputs[name], self._cell_above(name))

    def column_above(self, name: str, column: str) -> pl.Series:
        """Read a column of the input of that name."""
        return Partition(self.lake, self.spec.inputs[name], self._cell_above(name)).columns(column)[column]

    def excluded(self) -> int:
        """Return how many the stage left out and counted."""
        try:
            return self._rows(self.spec.asset, self.cell, "excluded")
        except FileNotFoundError:
            return 0

    def _cell_above(self, name: str) -> Cell:
        keys = dict(self.cell)
        return tuple((dimension, keys[dimension]) for dimension in REGISTRY[self.spec.inputs[name]].spec.dimensions)

    def _rows(self, asset: Asset, cell: Cell, table: str = "part") -> int:
        with self.lake.parquet_file(asset, cell, table) as file:
            return int(file.metadata.num_rows)


def _as_above(name: str) -> Callable[[Counts], Expected]:
    def equation(counts: Counts) -> Expected:
        return Expected(counts.above(name), f"as many as {name}")

    return equation


def _less_excluded(name: str) -> Callable[[Counts], Expected]:
    def equation(counts: Counts) -> Expected:
        above, out = counts.above(name), counts.excluded()
        return Expected(above - out, f"{above} of {name} less {out} in excluded")

    return equation


def _scores(counts: Counts, chosen: str, column: str) -> Expected:
    people = counts.above("adjusted_embeddings")
    values = counts.column_above(chosen, column)
    phenotypes = int(values.sum()) if values.dtype == pl.Boolean else values.null_count()
    return Expected(phenotypes * people, f"{phenotypes} phenotypes x {people} people of adjusted_embeddings")


def _cases(counts: Counts) -> Expected | None:
    """Return what `icd10_codes`, made of the same diagnoses, counts for the code."""
    made_of = (*counts.spec.inputs.values(), CODES)
    versions = tuple(Partition(counts.lake, asset, ()).version for asset in made_of)
    cases = _cases_of_codes(counts.workspace, versions).get(dict(counts.cell)["icd10"])
    return None if cases is None else Expected(cases, "the code's cases in icd10_codes")


@lru_cache(maxsize=1)
def _cases_of_codes(workspace: Workspace, _versions: tuple[str | None, ...]) -> dict[str, int]:
    """Return the cases of each code; none where the codes are of other diagnoses than there are now."""
    if workspace.stale_cells(REGISTRY[CODES].spec, [()]):
        return {}
    return dict(Partition(workspace.lake, CODES, ()).columns("icd10", "cases").iter_rows())


def _stored_variants(counts: Counts) -> Expected | None:
    """Return what the stage noted that it stored of each phenotype; statistics made otherwise note nothing."""
    noted = counts.lake.notes(counts.spec.asset, counts.cell).get("phenotypes", [])
    if not noted:
        return None
    return Expected(sum(each["variants_stored"] for each in noted), f"variants of {len(noted)} phenotypes, as noted")


EQUATIONS: dict[str, Callable[[Counts], Expected | None]] = {
    "masked_crops": _less_excluded("scans"),
    "organ_volumes": _as_above("masked_crops"),
    "organ_measures": _as_above("masked_crops"),
    "embeddings": _as_above("masked_crops"),
    "adjusted_embeddings": _less_excluded("embeddings"),
    "clusters": _as_above("adjusted_embeddings"),
    "association_basis": _less_excluded("adjusted_embeddings"),
    "icd10_cases": _cases,
    "phenotype_selection": _as_above("phenotype_models"),
    "edp_scores": partial(_scores, chosen="phenotype_selection", column="selected"),
    "few_shot_edp_scores": partial(_scores, chosen="few_shot_phenotype_models", column="failure"),
    "gwas_summary_stats": _stored_variants,
    "few_shot_gwas_summary_stats": _stored_variants,
}
"""Of each table whose rows follow from those of the stage before, how."""

for _stage in REGISTRY.values():
    if _stage.spec.table in SCHEMAS:
        _checks = {"schema": SCHEMA} | ({"row_counts": ROW_COUNTS} if _stage.spec.table in EQUATIONS else {})
        register_look(_stage.spec, _checks, evaluate)
