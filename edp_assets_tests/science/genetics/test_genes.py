import polars as pl
import pytest

from edp_assets.science.genetics.genes import assign_genes, candidates, gene_hits, read_genes
from edp_assets.science.genetics.open_targets import TABLE_COLUMNS

GENES = pl.DataFrame(
    [
        ("1_100_G_A", "rs1", "PPARG", "ENSG1", 0.9),
        ("1_100_G_A", "rs1", "FTO", "ENSG2", 0.2),
        ("chr1_200_C_T", "rs2", "PPARG", "ENSG1", 0.5),  # alleles the other way round in the statistics
        ("1_999_A_C", "rs3", "TM6SF2", "ENSG3", 0.4),  # found by rsid alone
        ("X_50_A_C", "rs4", None, "ENSG4", 0.3),
        ("1_400_A_C", "rs5", "NOSCORE", "ENSG5", None),
    ],
    schema=TABLE_COLUMNS,
    orient="row",
)
SCHEMA = {
    "chromosome": pl.String, "base_pair_location": pl.Int64, "effect_allele": pl.String, "other_allele": pl.String,
    "rsid": pl.String, "neg_log_10_p_value": pl.Float64,
}  # fmt: skip
STATS = pl.DataFrame(
    [
        ("1", 100, "A", "G", "rs1", 8.0),
        ("1", 200, "C", "T", "rs2", 20.0),
        ("1", 300, "A", "C", "rs3", 9.0),
        ("23", 50, "C", "A", None, 10.0),
        ("1", 400, "C", "A", "rs5", 11.0),
        ("1", 500, "C", "A", None, 12.0),
    ],
    schema=SCHEMA,
    orient="row",
)


def places(*rows: tuple[object, ...]) -> pl.DataFrame:
    schema = {"gene": pl.String, "gene_id": pl.String, "chromosome": pl.String, "start": pl.Int64, "end": pl.Int64,
              "tss": pl.Int64}  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def variant(effect: str, other: str, position: int = 100, rsid: str | None = None) -> pl.DataFrame:
    return pl.DataFrame([("1", position, effect, other, rsid, 9.0)], schema=SCHEMA, orient="row")


def test_gene_hits__a_gene_is_a_row_and_unmapped_variants_stay():
    hits = gene_hits(assign_genes(STATS, GENES))
    assert hits.columns == [
        "gene", "gene_id", "score", "assigned_by", "rsid", "chromosome", "base_pair_location", "neg_log_10_p_value",
        "variants",
    ]  # fmt: skip
    by = "variant_to_gene"
    assert hits.rows() == [
        ("PPARG", "ENSG1", 0.5, by, "rs2", "1", 200, 20.0, 2),
        (None, None, None, None, None, "1", 500, 12.0, 1),
        (None, None, None, None, "rs5", "1", 400, 11.0, 1),
        ("ENSG4", "ENSG4", 0.3, by, None, "23", 50, 10.0, 1),
        ("TM6SF2", "ENSG3", 0.4, by, "rs3", "1", 300, 9.0, 1),
    ]


def test_gene_hits__none_associated():
    hits = gene_hits(assign_genes(STATS.clear(), GENES, places(("A", "E", "1", 1, 2, None))))
    assert hits.height == 0
    assert hits.schema["variants"] == pl.Int64


def test_assign_genes__the_variant_id_wins_over_the_rsid():
    genes = GENES.vstack(pl.DataFrame([("5_5_A_C", "rs1", "OTHER", "ENSG9", 1.0)], schema=TABLE_COLUMNS, orient="row"))
    assert assign_genes(STATS[:1], genes)["gene"].to_list() == ["PPARG"]


def test_assign_genes__equal_scores_go_by_the_alphabet():
    rows = [("1_100_G_A", "rs1", gene, gene, 0.5) for gene in ("B", "A", "C")]
    genes = pl.DataFrame(rows, schema=TABLE_COLUMNS, orient="row")
    assert assign_genes(STATS[:1], genes)["gene"].to_list() == ["A"]


@pytest.mark.parametrize(
    ("effect", "other", "matched_by"),
    [
        ("A", "G", "alleles"), ("G", "A", "alleles"), ("g", "a", "alleles"),
        ("T", "C", "other_strand"), ("C", "T", "other_strand"),
        ("A", "C", None), ("A", "T", None), ("GA", "G", None),
    ],
)  # fmt: skip
def test_assign_genes__alleles_in_either_order_and_strand(effect, other, matched_by):
    assigned = assign_genes(variant(effect, other), GENES)
    assert assigned["matched_by"].to_list() == [matched_by]
    assert assigned["palindromic"].to_list() == [(effect, other) == ("A", "T")]


def test_assign_genes__a_palindromic_variant_is_found_by_its_own_alleles_only():
    genes = pl.DataFrame(
        [("1_100_A_T", None, "SAME", "E1", 0.5), ("1_100_C_G", None, "OTHER", "E2", 0.9)],
        schema=TABLE_COLUMNS, orient="row",
    )  # fmt: skip
    assigned = assign_genes(pl.concat([variant("T", "A"), variant("A", "C")]), genes)
    assert assigned.select("gene", "matched_by", "palindromic").rows() == [
        ("SAME", "alleles", True), (None, None, False)
    ]  # fmt: skip


def test_assign_genes__own_alleles_win_over_the_other_strand():
    genes = pl.DataFrame(
        [("1_100_T_C", None, "TURNED", "E1", 0.9), ("1_100_A_G", None, "OWN", "E2", 0.1)],
        schema=TABLE_COLUMNS, orient="row",
    )  # fmt: skip
    assert assign_genes(variant("A", "G"), genes)["gene"].to_list() == ["OWN"]


def test_assign_genes__the_nearest_gene_is_a_marked_fallback():
    near = places(
        ("FAR", None, "1", 600_600, 700_000, None),
        ("LEFT", "E6", "1", 100, 450, 100),
        ("AROUND", "E7", "1", 480, 900, 900),
        ("TSS", "E8", "1", 490, 950, 510),
        ("PPARG", None, "2", 1, 10, None),
    )
    stats = STATS.vstack(pl.DataFrame([("2", 5, "A", "C", None, 8.5), ("3", 5, "A", "C", None, 8.5)],
                                      schema=SCHEMA, orient="row"))  # fmt: skip
    assigned = assign_genes(stats, GENES, near)
    assert assigned.select("gene", "gene_id", "score", "assigned_by").rows()[4:] == [
        ("LEFT", "E6", None, "nearest_gene"),  # inside it, its row in the table has no score
        ("TSS", "E8", None, "nearest_gene"),  # inside two genes: the nearer TSS
        ("PPARG", "ENSG1", None, "nearest_gene"),
        (None, None, None, None),
    ]
    hits = gene_hits(assigned).filter(gene="PPARG")
    assert hits.select("score", "assigned_by", "variants").rows() == [(0.5, "variant_to_gene", 3)]
    assert assign_genes(variant("A", "C", 600_000), GENES, near, nearest_kb=0.5)["gene"].to_list() == [None]
    assert assign_genes(variant("A", "C", 600_000), GENES, near, nearest_kb=0.6)["gene"].to_list() == ["FAR"]


def test_candidates__rows_at_the_variants_or_of_their_rsid():
    table = GENES.with_columns(
        chromosome=pl.Series(["1", "1", "1", "1", "X", "1"]),
        base_pair_location=pl.Series([100, 100, 200, 999, 50, 400]),
    )
    found = candidates(STATS[[0, 2, 3]], table.lazy())
    assert found["rsid"].to_list() == ["rs1", "rs1", "rs4", "rs3"]


@pytest.mark.parametrize("name", ["g.tsv", "g.csv", "g.parquet"])
def test_read_genes__columns_that_may_be_absent(tmp_path, name):
    table = pl.DataFrame({"gene": ["FTO"], "chromosome": ["chr16"], "start": [53737875], "end": [54155853], "x": [1]})
    path = tmp_path / name
    if name == "g.parquet":
        table.write_parquet(path)
    else:
        table.write_csv(path, separator="," if name == "g.csv" else "\t")
    assert read_genes(path).rows() == [("FTO", None, "16", 53737875, 54155853, None)]


def test_read_genes__bad_files(tmp_path):
    path = tmp_path / "g.csv"
    path.write_text("gene,chromosome\nFTO,16\n")
    with pytest.raises(ValueError, match="start, end missing, found gene, chromosome"):
        read_genes(path)
    path.write_text("gene,chromosome,start,end\nFTO,16,1,2\nIRX5,16,9,two\n")
    with pytest.raises(ValueError, match=r"row 2: wanted a gene.*found \('IRX5', '16', '9', 'two'.*1 such rows"):
        read_genes(path)
    with pytest.raises(ValueError, match=r"wanted \.parquet, \.csv or \.tsv, found \.xlsx"):
        read_genes(tmp_path / "g.xlsx")
