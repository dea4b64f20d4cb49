"""Counts of genes and loci: what is planted is counted once, beside the code and the controls; intervals are exact."""

from __future__ import annotations

import polars as pl
import pytest
from scipy.stats import poisson

from edp_assets.science.evidence.counts import (
    OF_GENES,
    counts_by_code,
    counts_by_organ,
    poisson_interval,
    without_genes,
)

THRESHOLD = 7.301


def hits(*rows: tuple[object, ...]) -> pl.DataFrame:
    """Return gene hits: encoder, icd10, method, cluster, gene, -log10 p."""
    names = ["encoder", "icd10", "method", "cluster", "gene", "neg_log_10_p_value"]
    types = [pl.String, pl.String, pl.String, pl.Int32, pl.String, pl.Float64]
    return pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")


def leads(*rows: tuple[object, ...]) -> pl.DataFrame:
    """Return loci: encoder, icd10, method, cluster, chromosome, start, end."""
    names = ["encoder", "icd10", "method", "cluster", "chromosome", "locus_start", "locus_end"]
    types = [pl.String, pl.String, pl.String, pl.Int32, pl.String, pl.Int64, pl.Int64]
    return pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")


@pytest.mark.parametrize("count", [0, 1, 5, 38, 343])
def test_poisson_interval__its_bounds_are_the_means_that_just_allow_the_count(count: int) -> None:
    low, high = poisson_interval(count)
    assert poisson.cdf(count, high) == pytest.approx(0.025)
    if count:
        assert poisson.sf(count - 1, low) == pytest.approx(0.025)
    else:
        assert low == 0


def test_poisson_interval__of_less_than_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="wanted a count of 0 or more, found -1"):
        poisson_interval(-1)


GENES = hits(
    (None, "K76", "icd10_whole_cohort", None, "PNPLA3", 9.0),
    (None, "K76", "icd10_whole_cohort", None, "MAU2", 9.0),
    (None, "I10", "icd10_whole_cohort", None, "AGT", 9.0),
    ("mae", "K76", "clustering", 0, "PNPLA3", 9.0),
    ("mae", "K76", "clustering", 1, "PNPLA3", 12.0),
    ("mae", "K76", "clustering", 1, "AGT", 7.4),
    ("mae", "K76", "clustering", 1, None, 30.0),
    ("mae", "K76", "island", 0, "NEW", 8.0),
    ("mae", "I10", "classifier", None, "AGT", 8.0),
    (None, None, "organ_volume", None, "GROW", 8.0),
)
LOCI = leads(
    (None, "K76", "icd10_whole_cohort", None, "1", 600_000, 700_000),
    (None, "K76", "icd10_whole_cohort", None, "2", 3_000_000, 3_000_000),
    ("mae", "K76", "clustering", 0, "1", 1_000_000, 1_000_000),
    ("mae", "K76", "clustering", 1, "1", 1_300_000, 1_300_000),
    ("mae", "K76", "clustering", 0, "1", 3_000_000, 3_000_000),
    ("mae", "K76", "clustering", 0, "2", 5, 5),
    (None, None, "organ_volume", None, "9", 5, 5),
)


def counted(gap_kb: float = 500, unknown: tuple[str, ...] = ()) -> pl.DataFrame:
    cells = pl.DataFrame(
        {
            "encoder": [None, "mae", "mae", "mae"],
            "icd10": ["K76", "K76", "K76", "I10"],
            "method": ["icd10_whole_cohort", "clustering", "classifier", "classifier"],
            "cases": [90, 40, 40, 9],
        }
    )
    cells = cells.with_columns(reason=pl.when(pl.col("method").is_in(unknown)).then(pl.lit("not stored")))
    return counts_by_code(cells, GENES, LOCI, ["organ_volume", "fat_fraction"], gap_kb)


def test_counts_by_code__what_is_not_known_is_null_and_not_none() -> None:
    names = ["method", "icd10", "genes", "genes_low", "genes_high", "loci", "genes_and_whole", "loci_and_whole"]
    whole, clustering, classifier, _ = counted(unknown=("clustering",)).select(names).rows()[:4]
    assert whole[2] == 2
    assert clustering == ("clustering", "K76", None, None, None, None, None, None)
    assert classifier[2:4] == (0, 0.0)
    clustering = counted(unknown=("icd10_whole_cohort",)).filter(method="clustering").row(0, named=True)
    assert clustering["genes"] == 2
    assert (clustering["genes_and_whole"], clustering["loci_and_whole"]) == (None, None)


def test_counts_by_code__a_gene_of_two_clusters_is_one_and_other_codes_do_not_count() -> None:
    found = counted().select("encoder", "icd10", "method", "genes", "genes_and_whole", "cases").rows()
    assert found == [
        (None, "K76", "icd10_whole_cohort", 2, 2, 90),
        ("mae", "K76", "clustering", 2, 1, 40),  # AGT is the whole cohort's for another code
        ("mae", "K76", "classifier", 0, 0, 40),
        ("mae", "I10", "classifier", 1, 1, 9),
        (None, None, "organ_volume", 1, None, None),
        (None, None, "fat_fraction", 0, None, None),
    ]


def test_counts_by_code__loci_nearer_than_the_gap_are_one() -> None:
    columns = ["loci", "loci_and_whole"]
    assert counted().filter(method="clustering").select(columns).rows() == [(3, 1)]
    assert counted(gap_kb=100).filter(method="clustering").select(columns).rows() == [(4, 0)]
    assert counted().filter(method="organ_volume").select(columns).rows() == [(1, None)]


def test_counts_by_organ__islands_stand_apart_and_many_phenotypes_pay_for_their_number() -> None:
    tested = pl.concat(
        [
            GENES.filter(pl.col("encoder").is_not_null() | pl.col("icd10").is_null())
            .select("encoder", "icd10", "method", "cluster")
            .unique(maintain_order=True),
            pl.DataFrame({"method": ["fat_fraction"]}),
        ],
        how="diagonal",
    )
    genes = GENES.filter(pl.col("encoder").is_not_null() | pl.col("icd10").is_null())
    found = counts_by_organ(tested, genes, LOCI.filter(pl.col("encoder").is_not_null()), THRESHOLD, 500)
    mae = found.filter(source="mae").row(0, named=True)
    # Three phenotypes of classifier and clustering: 7.4 is above 7.301, not above 7.301 + log10(3).
    expected = {"phenotypes": 3, "genes": 2, "genes_of_island": 1, "associations": 4, "loci": 3}
    assert {name: mae[name] for name in expected} == expected
    assert mae["genes_corrected"] == 2  # AGT by I10's classifier at 8.0
    without = genes.filter(~((pl.col("icd10") == "I10") & (pl.col("method") == "classifier")))
    again = counts_by_organ(tested, without, LOCI.clear(), THRESHOLD, 500).filter(source="mae")
    assert again.select("genes", "genes_corrected").row(0) == (2, 1)
    assert found.filter(source="fat_fraction").select("phenotypes", "genes", "genes_low").row(0) == (1, 0, 0.0)


def test_counts_by_organ__islands_add_what_no_other_phenotype_hits_and_no_locus() -> None:
    island = ("mae", "K76", "island", 0)
    genes = pl.concat([GENES.filter(encoder="mae"), hits((*island, "PNPLA3", 8.0), (*island, "NEW", 9.0))])
    loci = pl.concat([LOCI.filter(encoder="mae"), leads((*island, "7", 5, 5))])
    tested = genes.select("encoder", "icd10", "method", "cluster").unique(maintain_order=True)
    (found,) = counts_by_organ(tested, genes, loci, THRESHOLD, 500).rows(named=True)
    assert (found["genes"], found["genes_of_island"], found["loci"]) == (2, 1, 3)
    # A gene of two identifiers is hit once.
    twice = counts_by_organ(tested, pl.concat([genes, genes]), loci, THRESHOLD, 500)
    assert twice["associations"].to_list() == [found["associations"]] == [4]


def test_counts_by_code__of_its_own_loci_those_that_the_whole_cohort_hits() -> None:
    own = ("mae", "K76", "clustering", 0, "1")
    between = (None, "K76", "icd10_whole_cohort", None, "1", 1_400_000, 1_400_000)
    cells = pl.DataFrame({"encoder": ["mae"], "icd10": ["K76"], "method": ["clustering"], "reason": [None]},
                         schema_overrides={"reason": pl.String})  # fmt: skip
    found = leads((*own, 1_000_000, 1_000_000), (*own, 1_800_000, 1_800_000), between)
    columns = ["loci", "loci_and_whole"]
    assert counts_by_code(cells, GENES, found, [], 500).select(columns).rows() == [(2, 2)]


def test_without_genes__nothing_is_said_of_genes_and_loci_stay() -> None:
    codes = counted(unknown=("clustering",))
    found = without_genes(codes, "no table")
    assert found.select(n for n in OF_GENES if n in found.columns).null_count().row(0) == (found.height,) * 4
    assert found["loci"].equals(codes["loci"])
    assert found["loci_and_whole"].equals(codes["loci_and_whole"])
    assert found["reason"].to_list() == ["no table", "not stored", *["no table"] * 4]
    tested = GENES.filter(pl.col("encoder").is_not_null()).select("encoder", "icd10", "method", "cluster").unique()
    organs = counts_by_organ(tested, GENES.clear(), LOCI, THRESHOLD, 500)
    told = without_genes(organs, "no table")
    assert {n for n in told.columns if told[n].null_count()} == set(OF_GENES) - {"genes_and_whole"}
    assert told.select("phenotypes", "loci", "reason").row(0) == (3, 3, "no table")


def test_without_genes__where_genes_are_known_counts_stay_and_there_is_a_column_for_the_reason() -> None:
    assert without_genes(counted(), "").equals(counted())
    organs = counts_by_organ(GENES.select("encoder", "icd10", "method", "cluster"), GENES, LOCI, THRESHOLD, 500)
    assert without_genes(organs, "").drop("reason").equals(organs)
    assert without_genes(organs, "")["reason"].null_count() == organs.height
