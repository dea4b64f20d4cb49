"""What pages need and is not stored, and why, where that is known: what is not known is neither zero nor a no."""

from __future__ import annotations

import polars as pl

from edp_assets.assets.encoders import LEARNED, UNTRAINED
from edp_assets.report.results import CHECKS
from edp_assets.report.sources import Sources
from edp_assets.storage.verdicts import blocking
from edp_assets.storage.workspace import Asset

NOT_MADE = "Not made yet."
"""Said in place of the rows of a table that has none because nothing of it is stored."""
HITS = ("gene_hits", "lead_variants")


def why_not_stored(sources: Sources, asset: Asset, organ: str, icd10: str) -> str | None:
    """Return a sentence on an asset of which nothing is stored that is of an organ and code; None where it is.

    Gene hits of a cohort that names no table of genes tell of no gene.
    """
    lineage, unknown = sources.lineage, sources.workspace.cohort.genes_unknown
    if asset not in lineage.stages:
        return None
    if unknown and asset[-1] == HITS[0]:
        return f"{unknown[0].upper()}{unknown[1:]}."
    if lineage.has(asset, organ, icd10):
        return None
    above = ["/".join(each) for each in lineage.above(asset)]
    cells = [(o, c) for o in (organ, None) for c in (icd10, None)]
    failed = pl.concat([blocking(sources.results.of(CHECKS, *cell)) for cell in cells])
    failed = failed.select("asset", "check_name").unique().filter(pl.col("asset").is_in(above))
    checks = sorted(failed.rows(), key=lambda row: (above.index(row[0]), row[1]))
    if not checks:
        return f"{'/'.join(asset)} is not stored: it failed, is held by a check, or is still to come."
    named = " and ".join(f"{check} of {of}" for of, check in checks)
    return f"{'/'.join(asset)} is not stored: a failed check holds it, {named}."


def selected_phenotypes(sources: Sources) -> pl.DataFrame:
    """Return encoder, organ and icd10 of the studied codes' selected phenotypes, none of the untrained control's."""
    selected = sources.results.table("phenotype_selection")
    learned = selected.filter(pl.col("selected") & (pl.col("encoder") != UNTRAINED))
    return learned.join(sources.cells, on=["organ", "icd10"], how="semi").select("encoder", "organ", "icd10")


def without(sources: Sources, selected: pl.DataFrame, table: str) -> pl.DataFrame:
    """Return those of the selected phenotypes of which a table is not stored."""
    cells = [{"encoder": e, **dict(cell)} for e in LEARNED for cell in sources.lineage.stored((e, table))]
    stored = pl.DataFrame(cells, schema=dict.fromkeys(("encoder", "organ", "icd10"), pl.String))
    return selected.join(stored, on=["encoder", "organ", "icd10"], how="anti")


def cells_without_hits(sources: Sources) -> pl.DataFrame:
    """Return organ and icd10 of which genes of a trained encoder are not known: none found is not none there."""
    selected = selected_phenotypes(sources)
    cells = selected if sources.workspace.cohort.genes_unknown else without(sources, selected, "gene_hits")
    return cells.select("organ", "icd10").unique()
