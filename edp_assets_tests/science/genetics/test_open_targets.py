"""Open Targets' tables in every layout, the real V2G rows round FTO, and the memory that a scan takes."""

import gzip
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from edp_assets.science.genetics.genes import assign_genes
from edp_assets.science.genetics.open_targets import (
    BEST_GENE_COLUMNS,
    RAW_COLUMNS,
    TABLE_COLUMNS,
    GeneTableError,
    Matched,
    best_genes,
    check_table,
    layout_of,
    same_build,
)

TABLE = pl.DataFrame(
    [
        ("1_100_G_A", "rs1", "PPARG", "ENSG1", 0.9),
        ("1_100_G_A", "rs1", "FTO", "ENSG2", 0.2),
        ("chr1_200_C_T", "rs2", "PPARG", "ENSG1", 0.5),
        ("1_999_A_C", "rs3", "TM6SF2", "ENSG3", 0.4),
        ("chrX:50:A:C", "rs4", None, "ENSG4", 0.3),
        ("1_400_A_C", "rs5", "NOSCORE", "ENSG5", None),
        ("1_500_A_C", "rs6", "ELSEWHERE", "ENSG6", 0.8),
    ],
    schema=TABLE_COLUMNS,
    orient="row",
)
WANTED = pl.DataFrame(
    [("1", 100, None), ("1", 200, "rs2"), ("1", 300, "rs3"), ("X", 50, None), ("1", 400, "rs5")],
    schema={"chromosome": pl.String, "base_pair_location": pl.Int64, "rsid": pl.String},
    orient="row",
)


def scan(path: Path, wanted: pl.DataFrame = WANTED, **options) -> tuple[Matched, pl.DataFrame]:
    with best_genes(path, wanted.iter_slices(2), **options) as (matched, frames):
        return matched, pl.concat([pl.DataFrame(schema=BEST_GENE_COLUMNS), *frames])


def write(path: Path, table: pl.DataFrame) -> Path:
    if path.suffix == ".parquet":
        path.parent.mkdir(exist_ok=True)
        table.write_parquet(path)
    else:
        text = table.write_csv(separator="," if "csv" in path.name else "\t").encode()
        path.write_bytes(gzip.compress(text) if path.name.endswith(".gz") else text)
    return path


@pytest.mark.parametrize("name", ["v.parquet", "v.csv", "v.tsv", "v.tsv.gz", "parts/part-0.parquet"])
def test_best_genes__a_table_of_every_format(tmp_path, name):
    path = write(tmp_path / name, TABLE.with_columns(extra=pl.lit(1)))
    matched, found = scan(path.parent if name.startswith("parts") else path)
    assert found.rows() == [
        ("1", 100, "1_100_G_A", "rs1", "PPARG", "ENSG1", 0.9),
        ("1", 200, "1_200_C_T", "rs2", "PPARG", "ENSG1", 0.5),
        ("1", 999, None, "rs3", "TM6SF2", "ENSG3", 0.4),  # found by rsid alone
        ("X", 50, "X_50_A_C", "rs4", "ENSG4", "ENSG4", 0.3),
    ]
    assert matched == Matched("table", 4, 2, 1)


def test_best_genes__of_another_build_by_rsid_alone(tmp_path):
    _, found = scan(write(tmp_path / "v.tsv", TABLE), by_position=False)
    assert found.select("variant_id", "rsid", "gene").rows() == [(None, "rs2", "PPARG"), (None, "rs3", "TM6SF2")]


def test_best_genes__another_build_is_seen_by_the_rsids(tmp_path):
    n = 40
    table = pl.DataFrame(
        {"variant_id": [f"1_{1000 + i}_A_C" for i in range(n)], "rsid": [f"rs{i}" for i in range(n)],
         "gene": "G", "gene_id": "E", "score": 0.5}
    )  # fmt: skip
    wanted = table.select(chromosome=pl.lit("1"), base_pair_location=pl.int_range(n) + 1007, rsid="rsid")
    path = write(tmp_path / "v.csv", table)
    with pytest.raises(GeneTableError, match=r"of 40 variants .* 40 lie at another position.*another genome build"):
        scan(path, wanted)
    assert scan(path, wanted, by_position=False)[1].height == n
    assert scan(path, wanted.with_columns(pl.col("base_pair_location") - 7))[1].height == n


def test_best_genes__fto_before_irx5_from_the_raw_rows(open_targets_v2g: Path):
    """Deciles of these rows alone make it a tie, which goes to the nearer gene: FTO, which the variant lies in."""
    assert layout_of(open_targets_v2g) == "v2g_raw"
    stats = pl.DataFrame(
        {"chromosome": ["16"], "base_pair_location": [53800954], "effect_allele": ["C"], "other_allele": ["T"],
         "rsid": ["rs1421085"]}
    )  # fmt: skip
    _, found = scan(open_targets_v2g, stats)
    assigned = assign_genes(stats, found)
    assert assigned.select("gene", "gene_id", "matched_by").rows() == [("FTO", "ENSG00000140718", "alleles")]
    assert assigned["score"][0] == pytest.approx(0.66 * 0.3 / 4.97)


def raw_rows() -> pl.DataFrame:
    """Ten promoter-capture scores of one tissue, an eQTL and a consequence."""
    blank = dict.fromkeys(RAW_COLUMNS, "0") | {"chr_id": "1", "ref_allele": "A", "alt_allele": "C", "type_id": "pchic",
        "source_id": "javierre2016", "feature": "liver", "gene_start": "1", "gene_end": "9"}  # fmt: skip
    rows = [
        blank
        | {"position": str(i), "rs_id": f"rs{i}", "gene_id": "E1", "gene_name": "NEAR", "interval_score": str(i + 5)}
        for i in range(1, 12)
    ]
    far = {"gene_id": "E2", "gene_name": "FAR", "gene_start": "5000", "gene_end": "6000"}
    rows += [
        rows[10] | far,
        blank | far | {"position": "3", "rs_id": "rs3", "type_id": "vep", "source_id": "vep",
                       "feature": "missense_variant"},
        blank | {"position": "4", "rs_id": "rs4", "gene_id": "E3", "gene_name": "QTL", "type_id": "eqtl",
                 "source_id": "gtex_v7", "qtl_pval": "1e-9"},
    ]  # fmt: skip
    return pl.DataFrame(rows).select(RAW_COLUMNS)


@pytest.mark.parametrize("header", [True, False])
def test_best_genes__raw_rows_by_deciles_and_weights(tmp_path, header):
    path = tmp_path / "v.tsv"
    path.write_text(raw_rows().write_csv(separator="\t", include_header=header))
    wanted = pl.DataFrame({"chromosome": ["1"] * 4, "base_pair_location": [3, 4, 6, 11], "rsid": [None] * 4}).cast(
        {"rsid": pl.String}
    )
    found = scan(path, wanted)[1]
    # Percent ranks among twelve rows (0, 1/11, ...), to one decimal; the two highest scores are equal.
    assert found.select("gene", pl.col("score") * 4.97).rows() == [
        ("FAR", pytest.approx(0.66)), ("NEAR", pytest.approx(0.33 * 0.3)), ("NEAR", pytest.approx(0.33 * 0.5)),
        ("NEAR", pytest.approx(0.33 * 0.9)),
    ]  # fmt: skip


def test_best_genes__deciles_give_back_the_published_scores(tmp_path):
    """Source scores and overall scores of three pairs as release 22.10 publishes them (v2g_scored)."""
    published = [
        ({"canonical_tss": 0.2, "javierre2016": 0.8}, 0.0663983903420523),
        ({"canonical_tss": 0.7, "javierre2016": 0.7}, 0.0929577464788732),
        ({"sqtl": 0.7, "pqtl": 0.9, "javierre2016": 0.7, "thurman2012": 0.0, "jung2019": 0.0, "canonical_tss": 0.3,
          "eqtl": 0.9}, 0.4462776659959758),
    ]  # fmt: skip
    kinds = {"canonical_tss": ("distance", "distance_score_q"), "javierre2016": ("pchic", "interval_score_q"),
             "jung2019": ("pchic", "interval_score_q"), "thurman2012": ("dhscor", "interval_score_q"),
             **{qtl: (qtl, "qtl_score_q") for qtl in ("sqtl", "pqtl", "eqtl")}}  # fmt: skip
    rows = [
        {"chr_id": "1", "position": i, "ref_allele": "A", "alt_allele": "C", "gene_id": "E", "source_id": source,
         "type_id": kinds[source][0], kinds[source][1]: value, "fpred_max_score": None}
        for i, (sources, _) in enumerate(published) for source, score in sources.items() for value in (score, score / 2)
    ]  # fmt: skip
    schema = ["chr_id", "position", "ref_allele", "alt_allele", "gene_id", "source_id", "type_id", "fpred_max_score",
              "qtl_score_q", "interval_score_q", "distance_score_q"]  # fmt: skip
    floats = {name: pl.Float64 for name in schema if name.endswith(("_q", "max_score"))}
    table = pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema_overrides=floats)
    path = write(tmp_path / "v2g.parquet", table)
    assert layout_of(path) == "v2g_deciles"
    wanted = pl.DataFrame({"chromosome": ["1"] * 3, "base_pair_location": [0, 1, 2], "rsid": [None] * 3}).cast(
        {"rsid": pl.String}
    )
    assert scan(path, wanted)[1]["score"].to_list() == pytest.approx([score for _, score in published], abs=1e-8)


def test_best_genes__v2g_scored_and_l2g_of_the_portal(tmp_path):
    place = {"chr_id": ["1", "1", "1"], "position": [100, 100, 7], "ref_allele": "G", "alt_allele": "A"}
    table = pl.DataFrame({**place, "gene_id": ["E1", "E2", "E3"], "overall_score": [0.1, 0.3, 0.9]})
    assert scan(write(tmp_path / "a.parquet", table))[1]["gene"].to_list() == ["E2"]
    names = {
        "chr_id": "chrom",
        "position": "pos",
        "ref_allele": "ref",
        "alt_allele": "alt",
        "overall_score": "y_proba_full_model",
    }
    assert scan(write(tmp_path / "b.parquet", table.rename(names)))[1]["gene"].to_list() == ["E2"]


@pytest.mark.parametrize("with_locus", [True, False])
def test_best_genes__l2g_goes_by_its_credible_sets(tmp_path, with_locus):
    l2g = pl.DataFrame({"studyLocusId": ["a", "a", "b"], "geneId": ["E1", "E2", "E3"], "score": [0.2, 0.7, 0.9]})
    sets = pl.DataFrame(
        {"studyLocusId": ["a", "b"], "variantId": ["1_100_G_A", "2_5_A_C"],
         "locus": [[{"variantId": "1_100_G_A", "p": 0.5}, {"variantId": "1_200_C_T", "p": 0.4}], None]}
    )  # fmt: skip
    path = write(tmp_path / "l2g.parquet", l2g)
    with pytest.raises(GeneTableError, match="L2G names loci, not variants; give the credible sets"):
        scan(path)
    beside = write(tmp_path / "sets.parquet", sets if with_locus else sets.drop("locus"))
    assert check_table(path, beside) == "l2g"
    found = scan(path, credible_sets=beside)[1].select("variant_id", "gene", "score").rows()
    assert found == [("1_100_G_A", "E2", 0.7), ("1_200_C_T", "E2", 0.7)][: 1 + with_locus]


def test_check_table__bad_files(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("variant_id,gene\n1_1_A_C,X\n")
    with pytest.raises(GeneTableError, match=r"rsid, gene_id, score missing, found variant_id, gene"):
        check_table(path)
    path.write_text("variant_id,rsid,gene,gene_id,score\n1_1_A_C,rs1,X,E,high\n")
    with pytest.raises(GeneTableError, match="1 scores are no number, the first is 'high'"):
        check_table(path)
    with pytest.raises(GeneTableError, match=r"wanted \.parquet, \.csv or \.tsv, found \.xlsx"):
        check_table(tmp_path / "v.xlsx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(GeneTableError, match=r"wanted a folder of \.parquet files, found none in it"):
        check_table(tmp_path / "empty")


def test_same_build__a_layout_of_one_build_without_rsids_is_refused():
    assert same_build(Path("v"), "table", None, "GRCh37")
    assert not same_build(Path("v"), "table", "GRCh38", "GRCh37")
    assert same_build(Path("v"), "v2g_scored", None, "GRCh38")
    assert same_build(Path("v"), "v2g_scored", "GRCh37", "GRCh37")
    with pytest.raises(GeneTableError, match=r"\(l2g\) is of GRCh38, the genotypes are of GRCh37, and it has no rsids"):
        same_build(Path("v"), "l2g", None, "GRCh37")


MEASURE = """
import sys
from pathlib import Path
import polars as pl
from edp_assets.science.genetics.open_targets import best_genes
wanted = pl.DataFrame({"chromosome": "1", "base_pair_location": pl.int_range(0, 200_000, 20, eager=True), "rsid": None})
with best_genes(Path(sys.argv[1]), [wanted.cast({"rsid": pl.String})], memory="200MB") as (matched, frames):
    found = sum(frame.height for frame in frames)
# Not ru_maxrss, which starts at what the parent held.
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(found, int(peak) // 1024)
"""


def deciles_file(path: Path, rows: int) -> Path:
    """Write V2G rows, twenty a position."""
    i = pl.int_range(pl.len())
    table = pl.DataFrame({"n": pl.zeros(rows, eager=True)}).select(
        chr_id=pl.lit("1"), position=i // 20, ref_allele=pl.lit("A"), alt_allele=pl.lit("C"),
        gene_id=pl.format("ENSG{}", i % 5), type_id=pl.lit("pchic"), source_id=pl.lit("javierre2016"),
        fpred_max_score=None, qtl_score_q=None, interval_score_q=(i * 7 % 11) / 10, distance_score_q=None,
    )  # fmt: skip
    table.write_parquet(path, row_group_size=100_000)
    return path


def test_best_genes__memory_is_flat(tmp_path: Path):
    used = []
    for rows in (200_000, 4_000_000):
        path = deciles_file(tmp_path / f"{rows}.parquet", rows)
        command = [sys.executable, "-c", MEASURE, str(path)]
        found, megabytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert int(found) == min(rows // 20, 200_000) // 20
        used.append(int(megabytes))
    print(f"\n{used} MB at 0.2 and 4 million rows")
    assert used[1] < used[0] + 60
