"""Genes and loci hit, counted by code and by organ beside what they are held against (paper, Tables 1, 2 and 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from edp_assets.science.genetics.loci import merge_loci, shared_loci

WHOLE, IMAGING = "icd10_whole_cohort", "icd10_imaging_cohort"
EDPS = ("classifier", "clustering", "island")
PAPERS = ("classifier", "clustering")
"""The EDPs that the paper's Table 2 combines."""

OF_GENES = (
    "genes", "genes_low", "genes_high", "genes_and_whole", "genes_of_island", "associations", "genes_corrected",
)  # fmt: skip
"""Columns of either table of counts that count genes; loci are known without them."""

CELL = ["encoder", "icd10", "method"]
PHENOTYPE = [*CELL, "cluster"]


def poisson_interval(count: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of the mean of a Poisson count (Garwood 1936).

    It tells how far a count of so few events goes by chance. Genes of one locus, and phenotypes of one organ, are not
    independent events, so that of such counts it is a lower bound of the uncertainty.
    """
    from scipy.special import gammainccinv, gammaincinv  # a tenth of what the graph takes to load

    if count < 0:
        raise ValueError(f"wanted a count of 0 or more, found {count}")
    tail = (1 - level) / 2
    # Half the chi-squared quantiles of 2 and 2 + 2 counts degrees of freedom; scipy.stats takes a second to import.
    low = gammaincinv(count, tail) if count else 0.0
    return float(low), float(gammainccinv(count + 1, tail))


def counts_by_code(
    cells: pl.DataFrame, genes: pl.DataFrame, leads: pl.DataFrame, others: Sequence[str], gap_kb: float
) -> pl.DataFrame:
    """Count the genes and loci of one organ: of every code and method, and of what knows no code.

    Args:
        cells: encoder, icd10, method, and what is known of them: a row for each that is to be counted; encoder null for
            the code as a binary trait; reason, why its hits are not known, null where they are.
        genes: encoder, icd10, method, gene of the organ's gene hits, and of the codes' own.
        leads: encoder, icd10, method, chromosome, locus_start, locus_end of their lead variants.
        others: methods without a code or an encoder, such as organ_volume.
        gap_kb: loci whose bounds lie so near (thousand base pairs) are one.

    Returns:
        `cells` and a row for each of `others`, with genes, genes_low, genes_high (`poisson_interval`), loci, and
        genes_and_whole, loci_and_whole: of them those that the code hits in the whole cohort; null without a code. All
        are null where hits are not known, and the latter two where the whole cohort's are not: none found is another
        thing.
    """
    unknown = set(cells.filter(pl.col("reason").is_not_null()).select(CELL).rows())
    genes_of, loci_of = _by_cell(genes), _by_cell(merge_loci(leads, CELL, gap_kb))
    rest = pl.DataFrame({"method": list(others)}, schema={"method": pl.String})
    rows = []
    for cell in pl.concat([cells, rest], how="diagonal").iter_rows(named=True):
        own, whole = (cell["encoder"], cell["icd10"], cell["method"]), (None, cell["icd10"], WHOLE)
        if own in unknown:
            rows.append(cell)
            continue
        names, own_loci = set(genes_of(own)["gene"].drop_nulls()), loci_of(own)
        low, high = poisson_interval(len(names))
        row = {"genes": len(names), "genes_low": low, "genes_high": high, "loci": own_loci.height}
        if cell["icd10"] is not None and whole not in unknown:
            row["genes_and_whole"] = len(names & set(genes_of(whole)["gene"]))
            row["loci_and_whole"] = shared_loci(own_loci, loci_of(whole), gap_kb).height
        rows.append({**cell, **row})
    numbers = {"genes": pl.Int64, "genes_low": pl.Float64, "genes_high": pl.Float64, "loci": pl.Int64}
    shared = {"genes_and_whole": pl.Int64, "loci_and_whole": pl.Int64}
    return pl.DataFrame(rows, schema={**cells.schema, **numbers, **shared})


def _by_cell(table: pl.DataFrame) -> Callable[[tuple[str | None, ...]], pl.DataFrame]:
    """Return the function that tells a cell's rows: encoder, icd10, method."""
    parts, none = table.partition_by(CELL, as_dict=True), table.clear()
    return lambda cell: parts.get(cell, none)


def counts_by_organ(
    tested: pl.DataFrame, genes: pl.DataFrame, leads: pl.DataFrame, neg_log_10_threshold: float, gap_kb: float
) -> pl.DataFrame:
    """Count the genes and loci of one organ by source: all EDPs of an encoder, or a phenotype that needs none.

    Args:
        tested: encoder, icd10, method, cluster of every phenotype associated, hit or none; encoder null for hand-made
            ones, whose source is the method.
        genes: the same, with gene and neg_log_10_p_value (the gene's best).
        leads: encoder, icd10, method, chromosome, locus_start, locus_end of their lead variants.
        neg_log_10_threshold: of `genes`.
        gap_kb: loci whose bounds lie so near (thousand base pairs) are one.

    Returns:
        source, phenotypes (tested), genes (distinct; of encoders those of classifier and clustering, as the paper's
        Table 2), genes_low, genes_high (`poisson_interval`), genes_of_island (what islands add), associations (pairs of
        phenotype and gene), genes_corrected (genes still hit when the threshold is divided by the number of
        phenotypes: what many phenotypes reach by being many is left out), loci.
    """
    source = pl.coalesce("encoder", "method").alias("source")
    island = pl.col("method") == "island"
    sources = tested.group_by(source, maintain_order=True).agg(phenotypes=pl.len() - island.sum())
    hits, found = genes.drop_nulls("gene").with_columns(source), leads.with_columns(source)
    loci = merge_loci(found.filter(~island), ["source"], gap_kb)
    rows = []
    for name, phenotypes in sources.iter_rows():
        own = hits.filter(pl.col("source") == name)
        papers = own.filter(~island)
        distinct = set(papers["gene"])
        low, high = poisson_interval(len(distinct))
        corrected = neg_log_10_threshold + pl.lit(max(phenotypes, 1)).log10()
        rows.append(
            {
                "source": name,
                "phenotypes": phenotypes,
                "genes": len(distinct),
                "genes_low": low,
                "genes_high": high,
                "genes_of_island": len(set(own["gene"]) - distinct),
                "associations": papers.select(*PHENOTYPE, "gene").unique().height,
                "genes_corrected": papers.filter(pl.col("neg_log_10_p_value") > corrected)["gene"].n_unique(),
                "loci": loci.filter(pl.col("source") == name).height,
            }
        )
    return pl.DataFrame(rows, schema=BY_ORGAN)


def without_genes(counts: pl.DataFrame, why: str) -> pl.DataFrame:
    """Return counts of a cohort in which nobody knows which gene a variant is of: not known is not none found.

    Args:
        counts: `counts_by_code` or `counts_by_organ`; a row may have a reason of its own, which stays.
        why: the reason; empty: genes are known, and nothing changes but that there is a column reason.
    """
    own = pl.col("reason") if "reason" in counts.columns else pl.lit(None, pl.String)
    if not why:
        return counts.with_columns(reason=own)
    nulls = [pl.lit(None, dtype).alias(name) for name, dtype in counts.schema.items() if name in OF_GENES]
    return counts.with_columns(*nulls, reason=pl.coalesce(own, pl.lit(why)))


BY_ORGAN = {
    "source": pl.String, "phenotypes": pl.Int64, "genes": pl.Int64, "genes_low": pl.Float64, "genes_high": pl.Float64,
    "genes_of_island": pl.Int64, "associations": pl.Int64, "genes_corrected": pl.Int64, "loci": pl.Int64,
}  # fmt: skip
"""Columns of `counts_by_organ`."""
