"""What all pages are made from: the workspace, its results and lineage, and which pages there are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from edp_assets.report.html import page
from edp_assets.report.lineage import Lineage
from edp_assets.report.names import cell_page, href, organ_page
from edp_assets.report.results import Results
from edp_assets.settings import Settings
from edp_assets.storage.workspace import Workspace

PREFIX = "report/"
"""Paths of figures are relative to EDP_HOME."""


@dataclass(frozen=True)
class Sources:
    """One home's workspace with what is read of it."""

    workspace: Workspace
    results: Results
    lineage: Lineage

    @property
    def settings(self) -> Settings:
        """The cohort's settings."""
        return self.workspace.settings

    @cached_property
    def organs(self) -> list[str]:
        """The cohort's organs, those that anything is known of."""
        known = {cell[0][1] for cell in self.lineage.stored(("scans",))} | set(self.results.cells["organ"])
        return sorted(known & set(self.settings.organs))

    @cached_property
    def cells(self) -> pl.DataFrame:
        """organ, icd10, selected, of the cohort's organs."""
        return self.results.cells.filter(pl.col("organ").is_in(self.organs))

    @cached_property
    def shown(self) -> list[tuple[str, str]]:
        """The (organ, icd10) that have a page: those with a selected phenotype."""
        return list(self.cells.filter(pl.col("selected") > 0).select("organ", "icd10").iter_rows())

    @cached_property
    def _shown(self) -> frozenset[tuple[str, str]]:
        return frozenset(self.shown)

    @property
    def navigation(self) -> list[tuple[str, str]]:
        """What the head of every page links to: the organs."""
        return [(organ, organ_page(organ)) for organ in self.organs]

    @property
    def head(self) -> list[Any]:
        """What every page shows, or has a say in it: other content of it makes every page anew."""
        return [self.navigation, self.workspace.cohort.synthetic, self.workspace.cohort.genes_unknown]

    def cell_link(self, organ: str, icd10: str) -> str | None:
        """Return a cell's page; None where it has none."""
        return cell_page(organ, icd10) if (organ, icd10) in self._shown else None

    def files(self, figures: pl.DataFrame, page: str) -> list[dict[str, Any]]:
        """Return the rows of a table of figures whose files are there, each with the `link` to it from a page."""
        root = self.workspace.home.root
        return [
            {**row, "link": href(page, row["path"].removeprefix(PREFIX))}
            for row in figures.iter_rows(named=True)
            if row["path"].startswith(PREFIX) and (root / row["path"]).exists()
        ]

    def page(self, template: str, path: str, title: str, **shown: Any) -> str:
        """Return a page, see `html.page`."""
        return page(template, path, title, self.navigation, synthetic=self.workspace.cohort.synthetic, **shown)
