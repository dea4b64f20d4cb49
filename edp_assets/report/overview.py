"""The first page: what there is in numbers, where genes are hit, and the closing tables."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from edp_assets import summary
from edp_assets.report import meanings as mean
from edp_assets.report.html import plot, table
from edp_assets.report.names import INDEX, href, organ_page
from edp_assets.report.numbers import edp_genes, numbers
from edp_assets.report.results import meanings
from edp_assets.report.site import Page
from edp_assets.report.sources import Sources
from edp_assets.report.unknown import NOT_MADE, cells_without_hits
from edp_assets.science.evidence.counts import EDPS

LEAVING_OUT = ("participants", "icd10_codes", "scans", "masked_crops")
"""Tables that a run begins with: as long as one is not made, it is not known who is left out."""


def overview(sources: Sources) -> Page:
    """Return the page; it tells when it was made, and is always written."""
    now = datetime.now(UTC)
    return Page(INDEX, now.isoformat(), lambda: _render(sources, now.strftime("%Y-%m-%d %H:%M UTC")))


def _render(sources: Sources, now: str) -> str:
    path = sources.results.path
    hits = summary.hits_by_disease(path)
    hits, loci = _hits_first(hits), _hits_first(summary.loci_by_disease(path))
    quality, checks, excluded = summary.encoder_quality(path), summary.check_counts(path), summary.left_out(path)
    organs = summary.hits_by_organ(path, synthetic=sources.workspace.cohort.synthetic)
    tables = [
        ("by-disease", "Genes by disease and organ", _by_cell(
            sources, hits, "Genes hit (Table 1 of the paper); empty: not known", mean.GENES_BY_DISEASE)),
        ("loci", "Loci by disease and organ", _by_cell(
            sources, loci, "Loci hit; empty: not known", mean.LOCI_BY_DISEASE)),
        ("by-organ", "Genes by organ", table(
            organs, "Genes hit by the EDPs of each encoder, and by organ volume (Table 2 of the paper)",
            links={"organ": [href(INDEX, organ_page(o)) if o in sources.organs else None for o in organs["organ"]]},
            meanings=meanings("evidence_hits_by_organ"), empty=_none(sources, "evidence/hits_by_organ"),
        )),
        ("embeddings", "What embeddings hold", table(
            quality, "Volume and age predicted out of sample (Tables 3 and 4 of the paper)", meanings=mean.QUALITY,
            empty=_none(sources, "evidence/encoder_quality"))),
        ("checks", "Checks", table(checks, "A phenotype or partition each; of files, whose passing is not kept, the "
                                   "failed alone", meanings=mean.CHECKS, empty=NOT_MADE)),
        ("left-out", "Left out", table(
            excluded, "Who and what was left out, by stage and reason", meanings=mean.LEFT_OUT,
            empty=_nobody(sources))),
    ]  # fmt: skip
    return sources.page(
        "overview.html.j2",
        INDEX,
        "Overview",
        cohort=sources.workspace.cohort.name,
        numbers=numbers(sources),
        heat=_heat_map(sources),
        tables=tables,
        made=now,
    )


def _none(sources: Sources, asset: str, none: str = "None.") -> str:
    """Return what is said where a table has no row."""
    return none if sources.lineage.stored(tuple(asset.split("/"))) else NOT_MADE


def _nobody(sources: Sources) -> str:
    """Return what is said where nobody is left out."""
    ahead = [name for name in LEAVING_OUT if not sources.lineage.stored((name,))]
    return f"Not known: {', '.join(ahead)} not made yet." if ahead else "Nobody."


def _hits_first(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows by what their EDPs hit: of thousands the page has the first alone."""
    if not frame.height:
        return frame
    most = pl.max_horizontal(*EDPS).fill_null(0)
    then = ["selected"] if "selected" in frame.columns else []
    return frame.sort(most, *then, descending=True, nulls_last=True, maintain_order=True)


def _by_cell(sources: Sources, frame: pl.DataFrame, caption: str, told: dict[str, str]) -> str:
    """Return a table of organs and codes whose codes lead to their pages."""
    links: dict[str, list[str | None]] = {}
    if frame.height:
        pages = [sources.cell_link(*cell) for cell in frame.select("organ", "icd10").iter_rows()]
        links["icd10"] = [href(INDEX, page) if page else None for page in pages]
        links["organ"] = [href(INDEX, organ_page(o)) if o in sources.organs else None for o in frame["organ"]]
    elsewhere = "the pages of the organs list all their codes"
    empty = _none(sources, "evidence/hits_by_disease", "No code has been studied yet.")
    return table(frame, caption, meanings=told, links=links, elsewhere=elsewhere, empty=empty)


def _heat_map(sources: Sources) -> str | None:
    """Return the heat map of organs and codes with a phenotype; None where there is none, or no gene is known."""
    if not sources.shown:
        return None
    from edp_assets.figures.interactive import HEAT_ROWS, heat_map

    counts = edp_genes(sources).group_by("organ", "icd10").agg(genes=pl.len())
    cells = sources.cells.filter(pl.col("selected") > 0).join(counts, on=["organ", "icd10"], how="left")
    unknown = cells_without_hits(sources).with_columns(unknown=True)
    cells = cells.join(unknown, on=["organ", "icd10"], how="left")
    cells = cells.filter(pl.col("genes").is_not_null() | pl.col("unknown").is_null()).drop("unknown")
    if not cells.height:
        return None
    links = [href(INDEX, sources.cell_link(*cell) or "") for cell in cells.select("organ", "icd10").iter_rows()]
    cells = cells.with_columns(pl.col("genes").fill_null(0), href=pl.Series(links, dtype=pl.String))
    cells = cells.join(sources.results.codes.select("icd10", "description"), on="icd10", how="left")
    codes = cells["icd10"].n_unique()
    left = f"The {HEAT_ROWS} codes of the most genes, of {codes:,}." if codes > HEAT_ROWS else ""
    alt = (
        "Genes hit by the embedding-derived phenotypes of each organ and code, trained encoders and methods together; "
        "empty: no phenotype was selected, or genes are not known. A click opens the page; the table below has "
        "the same links."
    )
    return plot(heat_map(cells), "heat-map", alt, left)
