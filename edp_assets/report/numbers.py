"""The few numbers that say how large all of it is, on the first page; what is not known is said to be so."""

from __future__ import annotations

import polars as pl

from edp_assets.assets.encoders import LEARNED, UNTRAINED
from edp_assets.report.sources import Sources
from edp_assets.report.unknown import selected_phenotypes, without
from edp_assets.science.evidence.counts import EDPS
from edp_assets.storage.cells import cell_of

OF_CODE, OF_ORGAN = ("icd10_whole_cohort", "icd10_imaging_cohort"), ("organ_volume",)
"""What the paper holds EDPs against; hand-made phenotypes of the organ go further."""
HAND_MADE = "hand_made"
TOLD = {
    OF_CODE[0]: "of {} in the whole cohort",
    OF_CODE[1]: "of {} among people with a scan",
    OF_ORGAN[0]: "of the volume of {}",
    HAND_MADE: "of hand-made phenotypes of {}",
}
"""What the baselines' gene hits are called, by the code or organ."""
NOT_MADE, NOT_KNOWN = "not made yet", "not known"
NAMED = 3
"""Baselines that are named where a number is not known for lack of them."""

Number = tuple[int | str, str]
"""A number, or why there is none, and what it counts."""


def numbers(sources: Sources) -> list[Number]:
    """Return the numbers."""
    results, stored = sources.results, sources.lineage.stored
    scans = results.table("organ_volumes")["eid"].n_unique()
    return [
        (scans if stored(("organ_volumes",)) else NOT_MADE, "people with a usable scan"),
        (len(sources.organs) or NOT_MADE, "organs"),
        (results.codes.height if stored(("icd10_codes",)) else NOT_MADE, "codes studied"),
        *_of_phenotypes(sources),
    ]


def _of_phenotypes(sources: Sources) -> list[Number]:
    """Return how many phenotypes have a GWAS, how many genes these hit, and how many of these genes are new."""
    gwas, hit = "embedding-derived phenotypes with a GWAS", "genes hit by them"
    new = "of these by neither the code itself nor organ volume"
    newer = "of those by no hand-made phenotype either: surface, intensity, fat fraction"
    if not any(sources.lineage.stored((encoder, "phenotype_selection")) for encoder in LEARNED):
        return [(NOT_MADE, what) for what in (gwas, hit, new, newer)]
    selected = selected_phenotypes(sources)
    with_gwas, with_hits = (
        selected.height - without(sources, selected, table).height for table in ("gwas_summary_stats", "gene_hits")
    )
    if with_gwas < selected.height:
        gwas += f", of {selected.height:,} selected"
    if with_hits < selected.height:
        hit += f"; of {selected.height - with_hits:,} selected the gene hits are not stored"
    if unknown := sources.workspace.cohort.genes_unknown:
        return [(with_gwas, gwas), (NOT_KNOWN, f"{hit}: {unknown}"), (NOT_KNOWN, new), (NOT_KNOWN, newer)]
    if selected.height and not with_hits:
        return [(with_gwas, gwas), *((NOT_KNOWN, what) for what in (hit, new, newer))]
    genes = edp_genes(sources)
    return [
        (with_gwas, gwas),
        (genes["gene"].n_unique(), hit),
        _beyond(sources, genes, pl.col("method").is_in([*OF_CODE, *OF_ORGAN]), OF_ORGAN, new),
        _beyond(sources, genes, ~pl.col("method").is_in(EDPS), (*OF_ORGAN, HAND_MADE), newer),
    ]


def edp_genes(sources: Sources) -> pl.DataFrame:
    """Return organ, icd10 and gene of the hits of EDPs of the studied codes; the untrained control's are none."""
    hits = sources.results.table("gene_hits")
    learned = pl.col("method").is_in(EDPS) & (pl.col("encoder") != UNTRAINED)
    own = hits.filter(learned).drop_nulls("gene").select("organ", "icd10", "gene").unique()
    return own.join(sources.cells, on=["organ", "icd10"], how="semi")


def _beyond(sources: Sources, genes: pl.DataFrame, baselines: pl.Expr, of_organ: tuple[str, ...], what: str) -> Number:
    """Return how many genes no baseline hits.

    It is not known where, of a gene that no stored one hits, a baseline of its own code or organ is not stored.

    Args:
        sources: of the report.
        genes: of EDPs.
        baselines: what holds of the baselines' hits.
        of_organ: the organ's baselines; those of the code are the same always.
        what: is counted.
    """
    left = genes.join(sources.results.table("gene_hits").filter(baselines), on="gene", how="anti")
    needed = [(name, "icd10", icd10) for name in OF_CODE for icd10 in left["icd10"].unique().sort()]
    needed += [(name, "organ", organ) for name in of_organ for organ in left["organ"].unique().sort()]
    stored = sources.lineage.stored
    missing = [TOLD[name].format(k) for name, by, k in needed if cell_of({by: k}) not in stored((name, "gene_hits"))]
    if not missing:
        return left["gene"].n_unique(), what
    more = f" and {len(missing) - NAMED:,} more" if len(missing) > NAMED else ""
    return NOT_KNOWN, f"{what}; gene hits are not stored {', '.join(missing[:NAMED])}{more}"
