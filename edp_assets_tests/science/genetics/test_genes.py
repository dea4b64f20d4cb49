import gzip

import polars as pl
import pytest

from edp_assets.science.genetics.genes import VARIANT_TO_GENE_COLUMNS, gene_hits, read_variant_to_gene

GENES = pl.DataFrame(
    [
        ("1_100_G_A", "rs1", "PPARG", "ENSG1", 0.9),
        ("1_100_G_A", "rs1", "FTO", "ENSG2", 0.2),
        ("chr1_200_C_T", "rs2", "PPARG", "ENSG1", 0.5),  # alleles the other way round in the statistics
        ("1_999_A_C", "rs3", "TM6SF2", "ENSG3", 0.4),  # found by rsid alone
        ("X_50_A_C", "rs4", None, "ENSG4", 0.3),
        ("1_400_A_C", "rs5", "NOSCORE", "ENSG5", None),
    ],
    schema=VARIANT_TO_GENE_COLUMNS,
    orient="row",
)
STATS = pl.DataFrame(
    [
        ("1", 100, "A", "G", "rs1", 8.0),
        ("1", 200, "C", "T", "rs2", 20.0),
        ("1", 300, "A", "C", "rs3", 9.0),
        ("23", 50, "C", "A", None, 10.0),
        ("1", 400, "C", "A", "rs5", 11.0),
        ("1", 500, "C", "A", None, 12.0),
        ("1", 600, "C", "A", "rs1", 3.0),  # not associated
        ("1", 700, "C", "A", "rs1", float("nan")),
    ],
    schema={
        "chromosome": pl.String, "base_pair_location": pl.Int64, "effect_allele": pl.String, "other_allele": pl.String,
        "rsid": pl.String, "neg_log_10_p_value": pl.Float64,
    },
    orient="row",
)  # fmt: skip


def test_gene_hits__a_gene_is_a_row_and_unmapped_variants_stay():
    hits = gene_hits(STATS, GENES, 7.3)
    assert hits.columns == [
        "gene", "gene_id", "score", "rsid", "chromosome", "base_pair_location", "neg_log_10_p_value", "variants"
    ]  # fmt: skip
    assert hits.rows() == [
        ("PPARG", "ENSG1", 0.5, "rs2", "1", 200, 20.0, 2),
        (None, None, None, None, "1", 500, 12.0, 1),
        (None, None, None, "rs5", "1", 400, 11.0, 1),
        ("ENSG4", "ENSG4", 0.3, None, "23", 50, 10.0, 1),
        ("TM6SF2", "ENSG3", 0.4, "rs3", "1", 300, 9.0, 1),
    ]


def test_gene_hits__the_variant_id_wins_over_the_rsid():
    genes = GENES.vstack(
        pl.DataFrame([("5_5_A_C", "rs1", "OTHER", "ENSG9", 1.0)], schema=VARIANT_TO_GENE_COLUMNS, orient="row")
    )
    assert gene_hits(STATS[:1], genes, 7.3)["gene"].to_list() == ["PPARG"]


def test_gene_hits__none_associated():
    hits = gene_hits(STATS, GENES, 50)
    assert hits.height == 0
    assert hits.schema["variants"] == pl.Int64


def test_gene_hits__equal_scores_go_by_the_alphabet():
    genes = pl.DataFrame(
        [("1_100_G_A", "rs1", gene, gene, 0.5) for gene in ("B", "A", "C")],
        schema=VARIANT_TO_GENE_COLUMNS, orient="row",
    )  # fmt: skip
    assert gene_hits(STATS[:1], genes, 7.3)["gene"].to_list() == ["A"]


@pytest.mark.parametrize("name", ["v.parquet", "v.csv", "v.tsv", "v.tsv.gz"])
def test_read_variant_to_gene__every_format(tmp_path, name):
    path = tmp_path / name
    table = GENES.with_columns(extra=pl.lit(1))
    if name == "v.parquet":
        table.write_parquet(path)
    else:
        text = table.write_csv(separator="," if "csv" in name else "\t").encode()
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert read_variant_to_gene(path).equals(GENES)


def test_read_variant_to_gene__bad_files(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("variant_id,gene\n1_1_A_C,X\n")
    with pytest.raises(ValueError, match=r"rsid, gene_id, score missing, found variant_id, gene"):
        read_variant_to_gene(path)
    path.write_text("variant_id,rsid,gene,gene_id,score\n1_1_A_C,rs1,X,E,high\n")
    with pytest.raises(ValueError, match="1 scores are no number, the first is 'high'"):
        read_variant_to_gene(path)
    with pytest.raises(ValueError, match=r"wanted \.parquet, \.csv or \.tsv, found \.xlsx"):
        read_variant_to_gene(tmp_path / "v.xlsx")
