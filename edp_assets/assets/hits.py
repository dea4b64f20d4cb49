"""What an association hits: the lead variant of each locus, and genes; the same beside all summary statistics."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import dagster as dg
import polars as pl

from edp_assets.assets.album import figure_folder
from edp_assets.assets.encoders import LEARNED
from edp_assets.assets.genes import genes, variant_to_gene
from edp_assets.assets.stage import Stage, StageRun, stage, table_preview
from edp_assets.storage.lake import Stored
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partition

PHENOTYPE = ("encoder", "organ", "icd10", "method", "cluster")
SHOWN, SHOWN_COLUMNS = 5, ("method", "gene", "rsid", "neg_log_10_p_value")
"""Gene hits that Dagster's UI shows of a cell: its event log keeps them for each of thousands."""

PeopleOf = Callable[..., list[str]]
"""Of a run and its inputs the eids of an association's sample, each of them genotyped."""


def leads_function(people_of: PeopleOf) -> Callable[..., Stored]:
    """Return the function of one cell that makes `lead_variants`, in the people that `people_of` tells."""

    def lead_variants(run: StageRun, gwas_summary_stats: Partition, **inputs: Any) -> Stored:
        """The most significant variant of each locus, with the locus's bounds."""
        from edp_assets.science.genetics.loci import lead_variants as leads_of

        chosen = run.workspace.settings.association
        threshold = chosen.neg_log_10_threshold
        phenotypes = significant(gwas_summary_stats, threshold)
        if run.workspace.settings.loci.clumping == "distance" or not phenotypes:
            leads = [leads_of(phenotype, threshold, chosen.locus_window_kb) for phenotype in phenotypes]
        else:
            leads = _leads_by_ld(run, gwas_summary_stats, people_of(run, **inputs), threshold)
        frame = pl.concat([empty("lead_variants"), *leads], how="diagonal_relaxed")
        return Stored(frame, metadata={"loci": frame.height, "clumping": run.workspace.settings.loci.clumping})

    return lead_variants


def _leads_by_ld(run: StageRun, statistics: Partition, people: list[str], threshold: float) -> list[pl.DataFrame]:
    """Return each phenotype's leads by LD clumping, genotypes read of the people of its own association."""
    from edp_assets.science.genetics.genotypes import open_genotypes
    from edp_assets.science.genetics.linkage import Linkage
    from edp_assets.science.genetics.loci import lead_variants_by_ld

    chosen = run.workspace.settings.loci
    member = min(-math.log10(chosen.max_p), threshold)
    leads = []
    with ExitStack() as stack:
        hit = set(pl.concat(significant(statistics, threshold))["chromosome"])
        paths = run.workspace.cohort.genotype_paths()
        files = {c: stack.enter_context(open_genotypes(path)) for c, path in paths.items() if c in {"all", *hit}}
        for phenotype in significant(statistics, member):
            near = phenotype.filter(pl.col("chromosome").is_in(hit))
            if near.height:
                r2 = Linkage(near, files, people)
                leads.append(lead_variants_by_ld(near, r2, threshold, member, chosen.min_r2, chosen.window_kb))
    return leads


def gene_hits(run: StageRun, gwas_summary_stats: Partition, variant_to_gene: Partition, genes: pl.DataFrame) -> Stored:
    """The genes hit: each associated variant's gene with the highest variant-to-gene score (paper, section 4)."""
    from edp_assets.science.genetics.genes import BY_DISTANCE, assign_genes, candidates
    from edp_assets.science.genetics.genes import gene_hits as hits_of

    settings = run.workspace.settings
    hits, counts = [empty("gene_hits")], Counter[str]()
    for phenotype in significant(gwas_summary_stats, settings.association.neg_log_10_threshold):
        label = phenotype.select(PHENOTYPE).row(0, named=True)
        rows = candidates(phenotype, variant_to_gene.scan())
        assigned = assign_genes(phenotype, rows, genes, settings.genes.nearest_kb)
        hits.append(hits_of(assigned).with_columns(**{k: pl.lit(v) for k, v in label.items()}))
        counts.update(assigned["matched_by"].drop_nulls())
        counts["palindromic"] += int(assigned["palindromic"].sum())
        counts["nearest_gene"] += int((assigned["assigned_by"] == BY_DISTANCE).sum())
        counts["without_gene"] += assigned["gene"].null_count()
    frame = pl.concat(hits, how="diagonal_relaxed")
    told: dict[str, Any] = {f"variants_{name}": n for name, n in sorted(counts.items()) if n}
    if frame.height:
        strongest = frame.sort("neg_log_10_p_value", descending=True).select(SHOWN_COLUMNS)
        told["strongest"] = table_preview(strongest, SHOWN)
        if run.spec.table == "gene_hits" and run.encoder in LEARNED:
            told["figures"] = dg.MetadataValue.path(str(figure_folder(run, (run["organ"], run["icd10"]))))
    return Stored(frame, metadata={"genes": frame["gene"].drop_nulls().n_unique(), **told})


def significant(statistics: Partition, threshold: float) -> list[pl.DataFrame]:
    """Return the variants above a -log10 p of each phenotype of a partition, reading no others."""
    hits = statistics.scan().filter(pl.col("neg_log_10_p_value") > threshold).collect()
    return hits.partition_by("method", "cluster", maintain_order=True) if hits.height else []


def hit_stages(statistics: Stage, group: str, people: Mapping[str, Stage], people_of: PeopleOf) -> tuple[Stage, Stage]:
    """Define and return `lead_variants` and `gene_hits` beside a stage of summary statistics, few-shot ones alike.

    Args:
        statistics: the stage of summary statistics.
        group: of both.
        people: argument -> upstream stage that `people_of` is given, unread.
        people_of: tells the association's sample, when loci go by LD.
    """
    dimensions = statistics.spec.dimensions
    key = "/".join(statistics.spec.asset).removesuffix("gwas_summary_stats")
    kind = statistics.spec.table.removesuffix("gwas_summary_stats")
    leads = stage(
        f"{key}lead_variants",
        group=group,
        dimensions=dimensions,
        table=f"{kind}lead_variants",
        inputs={"gwas_summary_stats": statistics, **people},
        streamed=("gwas_summary_stats", *people),
        settings=("association", "loci"),
        files=("genotypes",),
        code_version="2",
    )(leads_function(people_of))
    hits = stage(
        f"{key}gene_hits",
        group=group,
        dimensions=dimensions,
        table=f"{kind}gene_hits",
        inputs={"gwas_summary_stats": statistics, "variant_to_gene": variant_to_gene, "genes": genes},
        streamed=("gwas_summary_stats", "variant_to_gene"),
        settings=("association", "genes"),
        code_version="2",
    )(gene_hits)
    return leads, hits


def people_of_basis(run: StageRun, association_basis: Partition) -> list[str]:
    """Return the people of an organ's association basis, in which its EDPs are associated."""
    return association_basis.columns("eid")["eid"].to_list()
