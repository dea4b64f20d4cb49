"""Which gene a variant points to: the synthetic cohort's `variant_to_gene` table. No effects, no genotypes."""

from __future__ import annotations

import numpy as np
import polars as pl

from edp_assets.cohort.synthetic.traits import PLANTED

WITHOUT_GENE = 0.03
"""Share of the variants with no row; none in a planted gene's block."""


def name_genes(variants: pl.DataFrame) -> pl.DataFrame:
    """Give each block one gene: the planted one where there is one, else an invented one.

    Args:
        variants: chromosome, block, planted; in order of position.

    Returns:
        chromosome, block, gene, gene_id, planted (bool); one row a block, in order.
    """
    real = {planted.gene: planted.gene_id for planted in PLANTED}
    blocks = variants.group_by("chromosome", "block", maintain_order=True).agg(
        pl.col("planted").drop_nulls().first().alias("gene")
    )
    names = [gene or f"GENE{i:04d}" for i, gene in enumerate(blocks["gene"], start=1)]
    ids = [real.get(name, f"ENSG9{i:010d}") for i, name in enumerate(names, start=1)]
    return blocks.with_columns(gene=pl.Series(names), gene_id=pl.Series(ids), planted=pl.col("gene").is_not_null())


def score_genes(rng: np.random.Generator, variants: pl.DataFrame) -> pl.DataFrame:
    """Score one to three genes a variant, the block's own highest, as Open Targets V2G would.

    Args:
        rng: Source of the scores.
        variants: chromosome, base_pair_location, rsid, a1, a2, block, planted; in order of position.

    Returns:
        variant_id (chr_pos_ref_alt, alt the counted allele a1), rsid, gene, gene_id, score in 0-1.
    """
    genes = name_genes(variants)
    number = {key: i for i, key in enumerate(genes.select("chromosome", "block").iter_rows())}
    own = np.array([number[key] for key in variants.select("chromosome", "block").iter_rows()])
    planted = genes["planted"].to_numpy()[own]
    listed = (rng.uniform(size=own.size) >= WITHOUT_GENE) | planted
    top = rng.uniform(0.45, 0.9, size=own.size)
    others = rng.integers(0, 3, size=own.size)
    rows, gene, score = [np.flatnonzero(listed)], [own[listed]], [top[listed]]
    for step, neighbour in ((1, 1), (2, -1)):
        near = np.clip(own + neighbour, 0, genes.height - 1)
        chosen = np.flatnonzero(listed & (others >= step) & (near != own))
        rows.append(chosen)
        gene.append(near[chosen])
        score.append(top[chosen] * rng.uniform(0.1, 0.8, size=chosen.size))
    variant_id = pl.concat_str("chromosome", "base_pair_location", "a2", "a1", separator="_")
    table = variants.select(variant_id.alias("variant_id"), "rsid")[np.concatenate(rows)]
    named = genes.select("gene", "gene_id")[np.concatenate(gene)]
    order = pl.Series("order", np.concatenate(rows))
    return (
        pl.concat([table, named], how="horizontal")
        .with_columns(pl.Series("score", np.round(np.concatenate(score), 4)), order)
        .sort("order", "score", descending=[False, True], maintain_order=True)
        .drop("order")
    )
