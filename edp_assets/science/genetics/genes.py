"""Genes of associated variants, by the scores of Open Targets (V2G of the paper, or L2G).

Loci by distance are in `loci.py`; here a hit is a gene.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from edp_assets.science.genetics.plink_tables import CHROMOSOME_NAMES

VARIANT_TO_GENE_COLUMNS = {
    "variant_id": pl.String, "rsid": pl.String, "gene": pl.String, "gene_id": pl.String, "score": pl.Float64
}  # fmt: skip
"""Columns of a variant-to-gene table: variant_id is chr_pos_ref_alt, score the overall score of the pair."""


def read_variant_to_gene(path: Path) -> pl.DataFrame:
    """Read a variant-to-gene table from .parquet, .csv or .tsv (either may be .gz); more columns are welcome.

    Raises:
        ValueError: missing columns, a score that is no number, or another kind of file.
    """
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".parquet"):
        table = pl.read_parquet(path)
    elif name.endswith((".csv", ".tsv")):
        # As text first, so that a wrong value is reported as what it is.
        table = pl.read_csv(
            path, separator="\t" if name.endswith(".tsv") else ",", infer_schema=False, null_values=["", "NA", "#NA"]
        )
    else:
        raise ValueError(f"{path}: wanted .parquet, .csv or .tsv, found {path.suffix or 'no suffix'}")
    missing = [column for column in VARIANT_TO_GENE_COLUMNS if column not in table.columns]
    if missing:
        raise ValueError(
            f"{path}: wanted the columns {', '.join(VARIANT_TO_GENE_COLUMNS)}; {', '.join(missing)} missing, "
            f"found {', '.join(table.columns)}"
        )
    table = table.select(*VARIANT_TO_GENE_COLUMNS)
    scores = table["score"].cast(pl.Float64, strict=False)
    wrong = table.filter(scores.is_null() & table["score"].is_not_null())
    if wrong.height:
        raise ValueError(f"{path}: {wrong.height} scores are no number, the first is {wrong['score'][0]!r}")
    return table.with_columns(scores).cast(VARIANT_TO_GENE_COLUMNS)  # type: ignore[arg-type]


def gene_hits(stats: pl.DataFrame, variant_to_gene: pl.DataFrame, neg_log_10_threshold: float) -> pl.DataFrame:
    """Return the genes hit by the associated variants of one phenotype.

    An associated variant goes to the gene of its highest score (paper, section 4.1): its rows are found by variant_id
    with the alleles in either order, else by rsid; of equal scores the gene first in the alphabet. A variant without a
    row stays, a row of its own with gene null.

    Args:
        stats: summary statistics: chromosome, base_pair_location, effect_allele, other_allele, rsid,
            neg_log_10_p_value.
        variant_to_gene: `VARIANT_TO_GENE_COLUMNS`; its genome build must be that of the statistics.
        neg_log_10_threshold: variants above it are associated.

    Returns:
        gene, gene_id, score, rsid, chromosome, base_pair_location, neg_log_10_p_value (of the gene's best variant) and
        variants (how many associated variants map to the gene), strongest first.
    """
    associated = stats.filter(
        pl.col("neg_log_10_p_value").is_not_nan() & (pl.col("neg_log_10_p_value") > neg_log_10_threshold)
    ).with_row_index("row")
    best = _best_gene(associated, variant_to_gene)
    ranked = associated.join(best, on="row", how="left").sort(
        ["neg_log_10_p_value", "row"], descending=[True, False], maintain_order=True
    )
    own = pl.when(pl.col("gene").is_null()).then(pl.col("row"))  # keeps variants without a gene apart
    return (
        ranked.group_by("gene", "gene_id", own.alias("own"), maintain_order=True)
        .agg(
            pl.col("score", "rsid", "chromosome", "base_pair_location", "neg_log_10_p_value").first(),
            pl.len().cast(pl.Int64).alias("variants"),
        )
        .drop("own")
    )


def _best_gene(associated: pl.DataFrame, variant_to_gene: pl.DataFrame) -> pl.DataFrame:
    """Return row, gene, gene_id, score: the best gene of each associated variant that has one."""
    genes = variant_to_gene.filter(pl.col("score").is_not_null() & pl.col("score").is_not_nan()).select(
        _canonical_id(pl.col("variant_id")).alias("key"),
        "rsid",
        pl.coalesce("gene", "gene_id").alias("gene"),
        "gene_id",
        "score",
    )
    genes = genes.filter(pl.col("gene").is_not_null())
    place = [pl.col("chromosome").cast(pl.String), pl.col("base_pair_location").cast(pl.String)]
    keys = pl.concat(
        [
            associated.select("row", pl.concat_str([*place, first, second], separator="_").alias("key"))
            for first, second in (("other_allele", "effect_allele"), ("effect_allele", "other_allele"))
        ]
    ).with_columns(_canonical_id(pl.col("key")).alias("key"))
    by_id = keys.join(genes.drop("rsid"), on="key", how="inner").drop("key")
    others = associated.join(by_id, on="row", how="anti").select("row", "rsid")
    by_rsid = others.join(genes.drop("key"), on="rsid", how="inner").drop("rsid")
    return (
        pl.concat([by_id, by_rsid])
        .sort(["row", "score", "gene"], descending=[False, True, False])
        .unique("row", keep="first", maintain_order=True)
    )


def _canonical_id(variant_id: pl.Expr) -> pl.Expr:
    """Return chr_pos_ref_alt in capitals without "chr", X and Y by letter: 23_5_a_G becomes X_5_A_G."""
    parts = variant_id.str.to_uppercase().str.replace("^CHR", "").str.replace_all(r"[:\-]", "_").str.splitn("_", 2)
    return pl.concat_str(
        parts.struct.field("field_0").replace(CHROMOSOME_NAMES), parts.struct.field("field_1"), separator="_"
    )
