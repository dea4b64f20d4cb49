"""Regional plots of the loci of an organ and code: drawn where a variant is associated, from the locus's rows alone.

What is drawn how is in `figures.regional`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import polars as pl

from edp_assets.assets.album import Album, phenotype_title
from edp_assets.assets.association import ASSOCIATIONS
from edp_assets.assets.encoders import LEARNED
from edp_assets.assets.genes import genes as genes_stage
from edp_assets.assets.hits import people_of_basis
from edp_assets.assets.stage import REGISTRY, StageRun, stage
from edp_assets.storage.columns import of_phenotype
from edp_assets.storage.lake import Stored
from edp_assets.storage.upstream import Partition

FLANK = 250_000
"""Base pairs shown on either side of a locus."""
MAX_LOCI = 10
"""Loci of a cell that are drawn, the most significant first."""
MAX_VARIANTS = 5000
"""Variants of a locus that are drawn, the most significant first: what bounds the genotypes read."""
SHOWN = 3
"""Loci whose figures are metadata as well: Dagster's event log keeps them."""

DRAWN = ("chromosome", "base_pair_location", "effect_allele", "other_allele", "rsid", "neg_log_10_p_value")


def regional_figures(
    run: StageRun,
    gwas_summary_stats: Partition,
    lead_variants: pl.DataFrame,
    association_basis: Partition,
    genes: pl.DataFrame,
) -> Stored:
    """A regional plot of each of the cell's strongest loci, r2 from the genotypes of the association's people."""
    from edp_assets.figures.regional import regional
    from edp_assets.science.genetics.genotypes import open_genotypes

    cohort, threshold = run.workspace.cohort, run.workspace.settings.association.threshold
    labels = ("icd10", "method", "cluster", "chromosome", "base_pair_location")
    album = Album(run, (run["organ"], run["icd10"], "regional"), labels)
    loci = lead_variants.sort("neg_log_10_p_value", descending=True, maintain_order=True).head(MAX_LOCI)
    people = people_of_basis(run, association_basis) if loci.height else []
    paths = cohort.genotype_paths()
    weaker = 0
    with ExitStack() as stack:
        files = {c: stack.enter_context(open_genotypes(paths[c])) for c in paths if c in {"all", *loci["chromosome"]}}
        for rank, locus in enumerate(loci.iter_rows(named=True)):
            span = (max(locus["locus_start"] - FLANK, 0), locus["locus_end"] + FLANK)
            variants, beyond = _variants(gwas_summary_stats, locus, span)
            weaker += beyond
            drawn = partial(
                regional, variants.with_columns(r2=_r2_with_first(variants, files, people)), 0, span, genes,
                threshold=threshold, build=cohort.genome_build,
                title=phenotype_title(run, locus["method"], locus["cluster"]),
            )  # fmt: skip
            album.add("regional", drawn, shown=rank < SHOWN, **{name: locus[name] for name in labels})
    stored = album.stored()
    counts = {"loci_left_out": lead_variants.height - loci.height, "weaker_variants_not_drawn": weaker}
    stored.metadata |= {name: count for name, count in counts.items() if count}
    return stored


def _variants(statistics: Partition, locus: Mapping[str, Any], span: tuple[int, int]) -> tuple[pl.DataFrame, int]:
    """Return the locus's rows with the lead first, and how many weaker ones are beyond MAX_VARIANTS."""
    of = of_phenotype(locus["method"], locus["cluster"])
    here = pl.col("chromosome").eq(locus["chromosome"]) & pl.col("base_pair_location").is_between(*span)
    rows = statistics.scan().filter(of & here).select(DRAWN).collect()
    is_lead = pl.all_horizontal(pl.col(name).eq_missing(locus[name]) for name in DRAWN[:5])
    ordered = rows.sort(is_lead, "neg_log_10_p_value", descending=True, nulls_last=True, maintain_order=True)
    return ordered.head(MAX_VARIANTS), max(0, rows.height - MAX_VARIANTS)


def _r2_with_first(variants: pl.DataFrame, files: dict[str, Any], people: list[str]) -> pl.Series:
    """Return r2 of every row with the first one."""
    import numpy as np

    from edp_assets.science.genetics.linkage import Linkage

    others = Linkage(variants, files, people)(0, np.arange(1, variants.height))
    return pl.Series("r2", np.concatenate([[1.0], others]))


for _name, _association in ((name, ASSOCIATIONS[name]) for name in LEARNED):
    stage(
        f"{_name}/regional_figures",
        group="association",
        dimensions=("organ", "icd10"),
        table="association_figures",
        inputs={
            "gwas_summary_stats": _association.gwas_summary_stats,
            "lead_variants": REGISTRY[_name, "lead_variants"],
            "association_basis": _association.association_basis,
            "genes": genes_stage,
        },
        streamed=("gwas_summary_stats", "association_basis"),
        settings=("association",),
        files=("genotypes", "genome_build"),
        kinds={"matplotlib", "pgenlib"},
    )(regional_figures)
