"""What an association hits: the lead variant of each locus, and genes; the same beside all summary statistics."""

from __future__ import annotations

from collections import Counter

import polars as pl

from edp_assets.assets.genes import genes, variant_to_gene
from edp_assets.assets.stage import Stage, StageRun, stage
from edp_assets.storage.lake import Partition, Stored
from edp_assets.storage.schemas import empty

PHENOTYPE = ("encoder", "organ", "icd10", "method", "cluster")


def lead_variants(run: StageRun, gwas_summary_stats: Partition) -> Stored:
    """The most significant variant of each locus, with the locus's bounds."""
    from edp_assets.science.genetics.loci import lead_variants as leads_of

    chosen = run.workspace.settings.association
    threshold = chosen.neg_log_10_threshold
    phenotypes = significant(gwas_summary_stats, threshold)
    leads = [leads_of(phenotype, threshold, chosen.locus_window_kb) for phenotype in phenotypes]
    frame = pl.concat([empty("lead_variants"), *leads], how="diagonal_relaxed")
    return Stored(frame, metadata={"loci": frame.height})


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
    told = {f"variants_{name}": n for name, n in sorted(counts.items()) if n}
    return Stored(frame, metadata={"genes": frame["gene"].drop_nulls().n_unique(), **told})


def significant(statistics: Partition, threshold: float) -> list[pl.DataFrame]:
    """Return the variants above a -log10 p of each phenotype of a partition, reading no others."""
    hits = statistics.scan().filter(pl.col("neg_log_10_p_value") > threshold).collect()
    return hits.partition_by("method", "cluster", maintain_order=True) if hits.height else []


def hit_stages(statistics: Stage, group: str) -> tuple[Stage, Stage]:
    """Define and return `lead_variants` and `gene_hits` beside a stage of summary statistics, few-shot ones alike."""
    dimensions = statistics.spec.dimensions
    key = "/".join(statistics.spec.asset).removesuffix("gwas_summary_stats")
    kind = statistics.spec.table.removesuffix("gwas_summary_stats")
    leads = stage(
        f"{key}lead_variants",
        group=group,
        dimensions=dimensions,
        table=f"{kind}lead_variants",
        inputs={"gwas_summary_stats": statistics},
        streamed=("gwas_summary_stats",),
        settings=("association",),
    )(lead_variants)
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
