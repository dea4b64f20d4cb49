"""What pages show, read from the warehouse once: small tables, by organ and code. Large ones stay in the lake."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs

from edp_assets.storage import warehouse
from edp_assets.storage.schemas import SCHEMAS, empty

SHOWN_DIGITS = 3
"""Significant digits of a fraction on a page."""

BY_CELL = (
    "phenotype_selection",
    "gene_hits",
    "lead_variants",
    "association_figures",
    "phenotype_figures",
    "label_overlap",
    "interpretation_figures",
    "paper_figures",
    "phewas_figures",
    "score_correlations",
)
"""Tables of which a page shows the rows of its organ and code."""
CHECKS = "asset_checks"
"""Of what passed a page tells the number alone."""


@dataclass(frozen=True)
class Results:
    """The results of one warehouse; rows of retired codes are left out."""

    path: Path

    @cached_property
    def tables(self) -> frozenset[str]:
        """The names of the tables and views that there are."""
        found = warehouse.query(self.path, "SELECT DISTINCT table_name FROM information_schema.tables")
        return frozenset(found["table_name"])

    @cached_property
    def _kept(self) -> dict[str, pl.DataFrame]:
        return {}

    def table(self, name: str) -> pl.DataFrame:
        """Return a table whole, its rows in one order; without rows where the warehouse does not have it (yet)."""
        if name not in self._kept:
            self._kept[name] = self._read(name)
        return self._kept[name]

    def _read(self, name: str) -> pl.DataFrame:
        if name not in self.tables:
            return empty(name)
        # The name is one of this package's constants that the warehouse was found to have.
        found = warehouse.query(self.path, f'SELECT * FROM "{name}" ORDER BY ALL')  # noqa: S608
        return found.drop("stored_asset", "stored_cell", strict=False)

    @cached_property
    def codes(self) -> pl.DataFrame:
        """The studied codes: `icd10_codes` without those that are retired or were never studied."""
        codes = self.table("icd10_codes")
        return codes.filter(pl.col("studied") & ~pl.col("retired")) if codes.height else codes

    @cached_property
    def _by_cell(self) -> dict[str, dict[tuple[Any, ...], pl.DataFrame]]:
        return {name: _parts(self.table(name), ("organ", "icd10")) for name in (*BY_CELL, CHECKS)}

    def of(self, name: str, organ: str | None, icd10: str | None) -> pl.DataFrame:
        """Return the rows of a table that are of an organ and code; null where a table has rows of all."""
        found = self._by_cell[name].get((organ, icd10))
        return self._without_rows[name] if found is None else found

    @cached_property
    def _without_rows(self) -> dict[str, pl.DataFrame]:
        return {name: next((p.clear() for p in parts.values()), empty(name)) for name, parts in self._by_cell.items()}

    @cached_property
    def cells(self) -> pl.DataFrame:
        """organ, icd10, selected: every organ and studied code with candidates, and of how many there is a GWAS."""
        selection = self.table("phenotype_selection")
        if not selection.height or not self.codes.height:
            return pl.DataFrame(schema={"organ": pl.String, "icd10": pl.String, "selected": pl.UInt32})
        studied = selection.filter(pl.col("icd10").is_in(self.codes["icd10"].implode()))
        return studied.group_by("organ", "icd10").agg(pl.col("selected").sum()).sort("organ", "icd10")

    def organ_content(self, name: str, organ: str) -> str:
        """Return what tells whether any row of a table that is of an organ has changed."""
        return digest([(cell, content_of(rows)) for cell, rows in self._by_cell[name].items() if cell[0] == organ])

    def checks(self, organ: str, icd10: str) -> pl.DataFrame:
        """Return the checks of an organ and code: of both, and of what its page needs of either, as its baselines."""
        return pl.concat([self.of(CHECKS, *cell) for cell in ((organ, icd10), (None, icd10), (organ, None))])

    def content(self, organ: str, icd10: str) -> list[Any]:
        """Return what tells whether any row that a cell's page shows has changed."""
        rows = [content_of(self.of(name, organ, icd10)) for name in BY_CELL]
        baselines = [content_of(self.of("gene_hits", *cell)) for cell in ((None, icd10), (organ, None))]
        code = content_of(self.codes.filter(icd10=icd10))
        checks = self.checks(organ, icd10)
        failed = checks.filter(~pl.col("passed"))
        return [rows, baselines, code, checks.height, content_of(failed)]


def content_of(frame: pl.DataFrame) -> str:
    """Return a hash of a frame's rows and column names; the same of all that have no row.

    Of fractions what a page shows: a case more of one code moves what every score has in common with it, by less.
    """
    shown = frame.with_columns(cs.float().round_sig_figs(SHOWN_DIGITS))
    return digest([frame.columns, shown.rows()] if frame.height else [])


def digest(value: object) -> str:
    """Return a hash of plain values."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:32]


def meanings(table: str) -> dict[str, str]:
    """Return what the columns of a stored table mean; nothing of a table that is not known."""
    return {name: column.meaning for name, column in SCHEMAS.get(table, {}).items()}


def _parts(frame: pl.DataFrame, columns: Iterable[str]) -> dict[tuple[Any, ...], pl.DataFrame]:
    if not frame.height:
        return {}
    return frame.partition_by(*columns, as_dict=True, maintain_order=True)
