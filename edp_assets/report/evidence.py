"""The evidence page: what results are worth, the paper's tables among it, as far as they have been made."""

from __future__ import annotations

import polars as pl

from edp_assets.report.html import table
from edp_assets.report.names import EVIDENCE
from edp_assets.report.results import content_of, meanings
from edp_assets.report.site import Page
from edp_assets.report.sources import Sources
from edp_assets.summary import without_papers

TABLES = {
    "evidence_hits_by_disease": "Genes by disease and organ (Table 1 of the paper)",
    "evidence_hits_by_organ": "Genes by organ and encoder (Table 2 of the paper)",
    "evidence_age": "Age from embeddings (Table 3 of the paper)",
    "evidence_volume": "Organ volume from embeddings (Table 4 of the paper)",
    "evidence_sizes": "Sizes of encoders (Table 6 of the paper)",
    "encoder_quality": "What embeddings hold, beside untrained encoders and pixels",
    "permuted_labels": "Scores of random labels: what to expect of labels that mean nothing",
    "few_shot_comparison": "Phenotypes of few labels against those of all",
    "clusterings": "Clusterings compared",
    "adjustment_factors": "What was regressed out of the embeddings",
    "adjustment_genes": "Genes of scores before and after that (Figure 5 of the paper)",
}
"""Tables that are shown where the warehouse has them with rows, and what they show."""


def evidence(sources: Sources) -> Page:
    """Return the page of what results are worth."""
    there = {name: sources.results.table(name) for name in TABLES}
    synthetic = sources.workspace.cohort.synthetic
    there = {name: _shown(frame, synthetic=synthetic) for name, frame in there.items() if frame.height}
    contents = [(name, content_of(frame)) for name, frame in there.items()]
    return Page(EVIDENCE, [sources.head, contents], lambda: _render(sources, there))


def _shown(frame: pl.DataFrame, *, synthetic: bool) -> pl.DataFrame:
    """Leave out what is no value of a table's cell, vectors; and the paper's numbers, of a synthetic cohort."""
    frame = frame.drop([name for name, dtype in frame.schema.items() if dtype.is_nested()])
    return without_papers(frame) if synthetic else frame


def _render(sources: Sources, there: dict[str, pl.DataFrame]) -> str:
    tables = [(name, TABLES[name], table(frame, TABLES[name], meanings=meanings(name)))
              for name, frame in there.items()]  # fmt: skip
    return sources.page("evidence.html.j2", EVIDENCE, "Evidence", tables=tables)
