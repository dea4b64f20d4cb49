"""Which gene an associated variant goes to, and the genes hit.

Tables of variants and genes are read in `open_targets.py`; loci are in `loci.py`; here a hit is a gene.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from edp_assets.science.genetics.plink_tables import CHROMOSOME_NAMES, normalise_chromosome

BY_SCORE, BY_DISTANCE = "variant_to_gene", "nearest_gene"
"""How a variant came to its gene: the highest variant-to-gene score, or, where it has none, the nearest gene."""

GENE_COLUMNS = {
    "gene": pl.String, "gene_id": pl.String, "chromosome": pl.String, "start": pl.Int64, "end": pl.Int64,
    "tss": pl.Int64,
}  # fmt: skip
"""Columns of a gene table: positions in base pairs, both ends in the gene, in the genotypes' genome build."""

VARIANTS_AT_ONCE = 1000
"""Variants that are held against all genes of their chromosome at once."""

_COMPLEMENT = {"A": "T", "T": "A", "C": "G", "G": "C"}


def read_genes(path: Path) -> pl.DataFrame:
    """Read a gene table from .parquet, .csv or .tsv (either may be .gz): gene, chromosome, start, end[, tss, gene_id].

    Raises:
        ValueError: missing columns, a position that is no whole number, an end before its start, or another kind of
            file.
    """
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".parquet"):
        table = pl.read_parquet(path)
    elif name.endswith((".csv", ".tsv")):
        separator = "\t" if name.endswith(".tsv") else ","
        table = pl.read_csv(path, separator=separator, infer_schema=False, null_values=["", "NA", "#NA"])
    else:
        raise ValueError(f"{path}: wanted .parquet, .csv or .tsv, found {path.suffix or 'no suffix'}")
    wanted = [column for column in GENE_COLUMNS if column not in ("tss", "gene_id")]
    missing = [column for column in wanted if column not in table.columns]
    if missing:
        raise ValueError(
            f"{path}: wanted the columns {', '.join(wanted)} and, if known, tss and gene_id; {', '.join(missing)} "
            f"missing, found {', '.join(table.columns)}"
        )
    table = table.with_columns(pl.lit(None).alias(c) for c in GENE_COLUMNS if c not in table.columns)
    found = table.select(*GENE_COLUMNS).cast(GENE_COLUMNS, strict=False)  # type: ignore[arg-type]
    wrong = found.with_row_index("row", 1).filter(
        pl.any_horizontal(pl.col("gene", "chromosome", "start", "end").is_null()) | (pl.col("end") < pl.col("start"))
    )
    if wrong.height:
        raise ValueError(
            f"{path}, row {wrong['row'][0]}: wanted a gene, a chromosome and whole numbers start <= end, "
            f"found {table.row(wrong['row'][0] - 1)}; {wrong.height} such rows"
        )
    return found.with_columns(normalise_chromosome(pl.col("chromosome")))


def candidates(associated: pl.DataFrame, variant_to_gene: pl.LazyFrame) -> pl.DataFrame:
    """Return the rows of a large variant-to-gene table that the associated variants may match.

    Args:
        associated: chromosome, base_pair_location, rsid.
        variant_to_gene: with chromosome, base_pair_location and rsid, chromosomes as 1 to 22, X, Y, MT.
    """
    place = associated.lazy().select(normalise_chromosome(pl.col("chromosome")), "base_pair_location").unique()
    named = associated.lazy().select("rsid").drop_nulls().unique()
    here = variant_to_gene.join(place, on=["chromosome", "base_pair_location"], how="semi")
    by_name = variant_to_gene.join(named, on="rsid", how="semi")
    return pl.concat([here, by_name]).unique(maintain_order=True).collect(engine="streaming")


def assign_genes(
    associated: pl.DataFrame, variant_to_gene: pl.DataFrame, genes: pl.DataFrame | None = None, nearest_kb: float = 500
) -> pl.DataFrame:
    """Return the associated variants with the gene of each.

    A variant is found in the table by chromosome, position and alleles, in either order; else by the complements of its
    alleles, which is the other strand (single bases; A/T and C/G are their own complements: such a variant is found by
    its alleles or not at all, and is told as palindromic); else by rsid. It goes to the gene of the highest score
    (paper, section 4.1), of equal scores the first in the alphabet. A variant without a row goes to the nearest gene,
    where there is a gene table: nearest to its body, then to its TSS, then first in the alphabet.

    Args:
        associated: chromosome, base_pair_location, effect_allele, other_allele, rsid.
        variant_to_gene: variant_id, rsid, gene, gene_id, score, in the variants' genome build.
        genes: GENE_COLUMNS; None: no variant goes to its nearest gene.
        nearest_kb: beyond it a gene counts as none, thousand base pairs.

    Returns:
        The rows in their order with gene, gene_id, score; assigned_by (BY_SCORE, BY_DISTANCE, null: no gene);
        matched_by (alleles, other_strand, rsid; null: no row) and palindromic.
    """
    rows = associated.with_row_index("row").with_columns(palindromic=_palindromic())
    found = rows.join(_best_gene(rows, variant_to_gene), on="row", how="left", maintain_order="left")
    found = found.with_columns(assigned_by=pl.when(pl.col("gene").is_not_null()).then(pl.lit(BY_SCORE)))
    if genes is not None and genes.height:
        near = _nearest_gene(found.filter(pl.col("gene").is_null()), genes, 1000 * nearest_kb)
        found = found.join(near, on="row", how="left", maintain_order="left", suffix="_near").with_columns(
            pl.coalesce("gene", "gene_near").alias("gene"),
            pl.coalesce("gene_id", "gene_id_near").alias("gene_id"),
            pl.coalesce("assigned_by", "assigned_by_near").alias("assigned_by"),
        )
    # A gene that some variants reach by score and others by distance is one gene, with the id that the score has.
    id_of_gene = pl.col("gene_id").drop_nulls().first().over("gene")
    found = found.with_columns(
        gene_id=pl.coalesce("gene_id", pl.when(pl.col("gene").is_not_null()).then(id_of_gene)),
    )
    columns = ["gene", "gene_id", "score", "assigned_by", "matched_by", "palindromic"]
    return found.select(*associated.columns, *columns)


def gene_hits(assigned: pl.DataFrame) -> pl.DataFrame:
    """Return the genes hit by one phenotype's associated variants; a variant without a gene is a row of its own.

    Args:
        assigned: from `assign_genes`, with neg_log_10_p_value.

    Returns:
        gene, gene_id, score, assigned_by (of the gene's best variant by score, where there is one), rsid, chromosome,
        base_pair_location, neg_log_10_p_value (of the gene's best variant) and variants (how many associated variants
        go to the gene), strongest first.
    """
    ranked = assigned.with_row_index("row").sort(
        ["neg_log_10_p_value", "row"], descending=[True, False], maintain_order=True
    )
    own = pl.when(pl.col("gene").is_null()).then(pl.col("row"))  # keeps variants without a gene apart
    by_score = pl.when((pl.col("assigned_by") == BY_SCORE).any()).then(pl.lit(BY_SCORE))
    return (
        ranked.group_by("gene", "gene_id", own.alias("own"), maintain_order=True)
        .agg(
            pl.col("score").drop_nulls().first(),
            by_score.otherwise(pl.col("assigned_by").first()).alias("assigned_by"),
            pl.col("rsid", "chromosome", "base_pair_location", "neg_log_10_p_value").first(),
            pl.len().cast(pl.Int64).alias("variants"),
        )
        .drop("own")
    )


def _best_gene(variants: pl.DataFrame, variant_to_gene: pl.DataFrame) -> pl.DataFrame:
    """Return row, gene, gene_id, score, matched_by: the best gene of each variant that has one."""
    genes = variant_to_gene.filter(pl.col("score").is_not_null() & pl.col("score").is_not_nan()).select(
        _canonical_id(pl.col("variant_id")).alias("key"),
        "rsid",
        pl.coalesce("gene", "gene_id").alias("gene"),
        "gene_id",
        "score",
    )
    genes = genes.filter(pl.col("gene").is_not_null())
    found: list[pl.DataFrame] = []
    left = variants
    effect, other = pl.col("effect_allele").str.to_uppercase(), pl.col("other_allele").str.to_uppercase()
    effect_turned, other_turned = (allele.replace_strict(_COMPLEMENT, default=None) for allele in (effect, other))
    for how, first, second in (("alleles", effect, other), ("other_strand", effect_turned, other_turned)):
        chosen = left if how == "alleles" else left.filter(~pl.col("palindromic"))
        by_id = _keys(chosen, first, second).join(genes.drop("rsid"), on="key", how="inner").drop("key")
        found.append(by_id.with_columns(matched_by=pl.lit(how)))
        left = left.join(by_id, on="row", how="anti")
    by_rsid = left.select("row", "rsid").join(genes.drop("key"), on="rsid", how="inner").drop("rsid")
    found.append(by_rsid.with_columns(matched_by=pl.lit("rsid")))
    return (
        pl.concat(found)
        .sort(["row", "score", "gene"], descending=[False, True, False])
        .unique("row", keep="first", maintain_order=True)
    )


def _keys(variants: pl.DataFrame, first: pl.Expr, second: pl.Expr) -> pl.DataFrame:
    """Return row and key: chromosome, position and both alleles, in both orders."""
    place = [pl.col("chromosome").cast(pl.String), pl.col("base_pair_location").cast(pl.String)]
    keys = [
        variants.select("row", pl.concat_str([*place, *alleles], separator="_").alias("key"))
        for alleles in ((second, first), (first, second))
    ]
    return pl.concat(keys).with_columns(_canonical_id(pl.col("key")).alias("key"))


def _palindromic() -> pl.Expr:
    effect, other = pl.col("effect_allele").str.to_uppercase(), pl.col("other_allele").str.to_uppercase()
    return (effect.replace_strict(_COMPLEMENT, default=None) == other).fill_null(False)


def _nearest_gene(variants: pl.DataFrame, genes: pl.DataFrame, within: float) -> pl.DataFrame:
    """Return row, gene, gene_id, assigned_by: each variant's nearest gene, where one is within so many base pairs."""
    position = pl.col("base_pair_location")
    places = variants.select(
        "row", "base_pair_location", normalise_chromosome(pl.col("chromosome")).alias("chromosome")
    )
    found = []
    for some in places.iter_slices(VARIANTS_AT_ONCE):
        pairs = some.join(genes, on="chromosome", how="inner").with_columns(
            distance=pl.max_horizontal(pl.col("start") - position, position - pl.col("end"), 0),
            to_tss=(pl.col("tss") - position).abs(),
        )
        near = pairs.filter(pl.col("distance") <= within).sort("row", "distance", "to_tss", "gene", nulls_last=True)
        found.append(near.unique("row", keep="first").select("row", "gene", "gene_id", assigned_by=pl.lit(BY_DISTANCE)))
    schema: dict[str, Any] = {
        "row": places.schema["row"],
        "gene": pl.String,
        "gene_id": pl.String,
        "assigned_by": pl.String,
    }
    return pl.concat([pl.DataFrame(schema=schema), *found])


def _canonical_id(variant_id: pl.Expr) -> pl.Expr:
    """Return chr_pos_ref_alt in capitals without "chr", X and Y by letter: 23_5_a_G becomes X_5_A_G."""
    parts = variant_id.str.to_uppercase().str.replace("^CHR", "").str.replace_all(r"[:\-]", "_").str.splitn("_", 2)
    return pl.concat_str(
        parts.struct.field("field_0").replace(CHROMOSOME_NAMES), parts.struct.field("field_1"), separator="_"
    )
