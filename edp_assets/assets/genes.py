"""What says which gene a variant is of, as assets: the gene table, and the best gene of each genotyped variant.

Which genes an association hits is in `hits`.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from edp_assets.assets.stage import StageRun, stage
from edp_assets.storage.lake import Stored
from edp_assets.storage.schemas import empty


def read_gene_table(run: StageRun) -> Stored:
    """Where the genes lie: for variants that no variant-to-gene score holds, and for regional plots; may be empty."""
    from edp_assets.science.genetics.genes import read_genes

    path = run.workspace.cohort.gene_table
    return Stored(empty("genes") if path is None else read_genes(path))


def read_variant_to_gene(run: StageRun, genes: pl.DataFrame) -> Stored:
    """The best gene of each of the genotypes' variants by Open Targets' scores (V2G, L2G, or a table made by hand)."""
    from edp_assets.science.genetics.genotypes import open_genotypes
    from edp_assets.science.genetics.open_targets import best_genes, layout_of, same_build

    source = run.workspace.cohort
    path = source.variant_to_gene
    if path is None:
        return Stored(empty("variant_to_gene"))
    by_position = same_build(path, layout_of(path), run.workspace.settings.genes.build, source.genome_build)
    symbols = genes.drop_nulls("gene_id").unique("gene_id").select("gene_id", "gene")
    stored = Stored(())

    def variants() -> Iterator[pl.DataFrame]:
        for file in source.genotype_paths().values():
            with open_genotypes(file) as genotypes:
                yield genotypes.variants

    def frames() -> Iterator[pl.DataFrame]:
        yield empty("variant_to_gene")
        with best_genes(path, variants(), by_position=by_position, credible_sets=source.credible_sets) as (
            matched,
            found,
        ):
            stored.metadata |= {"joined_by": "position, else rsid" if by_position else "rsid", **vars(matched)}
            for frame in found:
                named = frame.join(symbols, on="gene_id", how="left", maintain_order="left", suffix="_symbol")
                symbol = pl.when(pl.col("gene") == pl.col("gene_id")).then("gene_symbol")
                yield named.with_columns(gene=pl.coalesce(symbol, "gene")).drop("gene_symbol")

    stored.frames = frames()
    return stored


genes = stage("genes", group="cohort", dimensions=(), table="genes", files=("gene_table",))(read_gene_table)
variant_to_gene = stage(
    "variant_to_gene",
    group="cohort",
    dimensions=(),
    table="variant_to_gene",
    inputs={"genes": genes},
    settings=("genes",),
    files=("variant_to_gene", "credible_sets", "genotypes", "genome_build"),
    code_version="2",
    kinds={"duckdb", "parquet"},
)(read_variant_to_gene)
