"""The first page: what there is in numbers, where genes are hit, and the closing tables."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from edp_assets import summary
from edp_assets.assets.encoders import UNTRAINED
from edp_assets.report import meanings as mean
from edp_assets.report.html import plot, table
from edp_assets.report.names import INDEX, href, organ_page
from edp_assets.report.results import meanings
from edp_assets.report.site import Page
from edp_assets.report.sources import Sources

EDPS = ("classifier", "clustering", "island")
BASELINES = ("icd10_whole_cohort", "icd10_imaging_cohort", "organ_volume")
"""What the paper holds EDPs against; hand-made phenotypes go further."""


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
            sources, hits, "Genes hit (Table 1 of the paper); empty: gene hits are not stored", mean.GENES_BY_DISEASE)),
        ("loci", "Loci by disease and organ", _by_cell(
            sources, loci, "Loci hit; empty: they are not stored", mean.LOCI_BY_DISEASE)),
        ("by-organ", "Genes by organ", table(
            organs, "Genes hit by the EDPs of each encoder, and by organ volume (Table 2 of the paper)",
            links={"organ": [href(INDEX, organ_page(o)) if o in sources.organs else None for o in organs["organ"]]},
            meanings=meanings("evidence_hits_by_organ"),
        )),
        ("embeddings", "What embeddings hold", table(
            quality, "Volume and age predicted out of sample (Tables 3 and 4 of the paper)", meanings=mean.QUALITY)),
        ("checks", "Checks", table(checks, "A phenotype or partition each; of files, whose passing is not kept, the "
                                   "failed alone", meanings=mean.CHECKS)),
        ("left-out", "Left out", table(
            excluded, "Who and what was left out, by stage and reason", meanings=mean.LEFT_OUT, empty="Nobody.")),
    ]  # fmt: skip
    return sources.page(
        "overview.html.j2",
        INDEX,
        "Overview",
        cohort=sources.workspace.cohort.name,
        numbers=_numbers(sources),
        heat=_heat_map(sources),
        tables=tables,
        made=now,
    )


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
    empty = "No code has been studied yet."
    return table(frame, caption, meanings=told, links=links, elsewhere=elsewhere, empty=empty)


def _numbers(sources: Sources) -> list[tuple[int, str]]:
    """Return the few numbers that say how large all of it is."""
    results = sources.results
    genes = _edp_genes(sources)
    hits = results.table("gene_hits")
    baselines = hits.filter(~pl.col("method").is_in(EDPS))
    of_code_and_volume = baselines.filter(pl.col("method").is_in(BASELINES))
    beyond, beyond_all = (genes.join(of, on="gene", how="anti") for of in (of_code_and_volume, baselines))
    scans = results.table("organ_volumes")
    return [
        (scans["eid"].n_unique(), "people with a usable scan"),
        (len(sources.organs), "organs"),
        (results.codes.height, "codes studied"),
        (_learned(sources), "embedding-derived phenotypes with a GWAS"),
        (genes["gene"].n_unique(), "genes hit by them"),
        (beyond["gene"].n_unique(), "of these by neither the code itself nor organ volume"),
        (beyond_all["gene"].n_unique(), "of those by no hand-made phenotype either: surface, intensity, fat fraction"),
    ]


def _learned(sources: Sources) -> int:
    """Return how many phenotypes of the studied codes are selected; those of the untrained control are none."""
    selected = sources.results.table("phenotype_selection")
    if not selected.height:
        return 0
    learned = selected.filter(pl.col("selected") & (pl.col("encoder") != UNTRAINED))
    return learned.join(sources.cells, on=["organ", "icd10"], how="semi").height


def _edp_genes(sources: Sources) -> pl.DataFrame:
    """Return organ, icd10 and gene of the hits of EDPs of the studied codes; the untrained control's are none."""
    hits = sources.results.table("gene_hits")
    learned = pl.col("method").is_in(EDPS) & (pl.col("encoder") != UNTRAINED)
    own = hits.filter(learned).drop_nulls("gene").select("organ", "icd10", "gene").unique()
    return own.join(sources.cells, on=["organ", "icd10"], how="semi")


def _without_hits(sources: Sources) -> pl.DataFrame:
    """Return the organs and codes of which no trained encoder's gene hits are stored."""
    counted = sources.results.table("evidence_hits_by_disease")
    learned = counted.filter(pl.col("encoder").is_not_null() & (pl.col("encoder") != UNTRAINED))
    known = pl.col("reason").is_null().any()
    return learned.group_by("organ", "icd10").agg(known=known).filter(~pl.col("known")).select("organ", "icd10")


def _heat_map(sources: Sources) -> str | None:
    """Return the heat map of organs and codes with a phenotype; None where there is none."""
    if not sources.shown:
        return None
    from edp_assets.figures.interactive import HEAT_ROWS, heat_map

    counts = _edp_genes(sources).group_by("organ", "icd10").agg(genes=pl.len())
    cells = sources.cells.filter(pl.col("selected") > 0).join(counts, on=["organ", "icd10"], how="left")
    cells = cells.join(_without_hits(sources), on=["organ", "icd10"], how="anti")
    links = [href(INDEX, sources.cell_link(*cell) or "") for cell in cells.select("organ", "icd10").iter_rows()]
    cells = cells.with_columns(pl.col("genes").fill_null(0), href=pl.Series(links, dtype=pl.String))
    cells = cells.join(sources.results.codes.select("icd10", "description"), on="icd10", how="left")
    codes = cells["icd10"].n_unique()
    left = f"The {HEAT_ROWS} codes of the most genes, of {codes:,}." if codes > HEAT_ROWS else ""
    alt = (
        "Genes hit by the embedding-derived phenotypes of each organ and code, trained encoders and methods together; "
        "empty: no phenotype was selected, or gene hits are not stored. A click opens the page; the table below has "
        "the same links."
    )
    return plot(heat_map(cells), "heat-map", alt, left)
