import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edp_assets.science.genetics.loci import lead_variants, lead_variants_by_ld, merge_loci, shared_loci


def table(rows: list[tuple[str, int, float | None]]) -> pl.DataFrame:
    schema = {"chromosome": pl.String, "base_pair_location": pl.Int64, "neg_log_10_p_value": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_row_index("row")


def test_lead_variants__greedy_by_distance():
    stats = table([
        ("1", 100_000, 9.0),  # within 500 kb of the lead
        ("1", 400_000, 12.0),  # lead
        ("1", 900_000, 11.0),  # exactly 500 kb away: same locus
        ("1", 900_001, 10.0),  # just beyond: its own locus, though 1 bp from a member of the first
        ("1", 2_000_000, 7.0),  # not associated
        ("2", 400_000, 8.0),
        ("2", 500_000, float("nan")),
        ("2", 600_000, None),
    ])  # fmt: skip
    leads = lead_variants(stats, 7.30, 500)
    assert leads.columns == [*stats.columns, "locus_start", "locus_end"]
    assert leads.select("row", "locus_start", "locus_end").rows() == [
        (1, 100_000, 900_000), (3, 900_001, 900_001), (5, 400_000, 400_000)
    ]  # fmt: skip


def test_lead_variants__ties_go_to_the_lower_position():
    leads = lead_variants(table([("1", 300, 9.0), ("1", 100, 9.0), ("1", 200, 9.0)]), 7.3, 1)
    assert leads["base_pair_location"].to_list() == [100]
    assert leads.select("locus_start", "locus_end").row(0) == (100, 300)


def test_lead_variants__none():
    leads = lead_variants(table([("1", 100, 2.0)]), 7.3, 500)
    assert leads.height == 0
    assert leads.schema["locus_start"] == pl.Int64


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["1", "2"]), st.integers(1, 5000), st.floats(0, 20)), max_size=30))
def test_lead_variants__leads_stand_apart_and_cover_all(rows):
    stats = table(rows)
    leads = lead_variants(stats, 5, 1)
    for name in ("1", "2"):
        mine = leads.filter(pl.col("chromosome") == name)
        positions = sorted(mine["base_pair_location"].to_list())
        assert all(b - a > 1000 for a, b in itertools.pairwise(positions))
        for row in stats.filter((pl.col("chromosome") == name) & (pl.col("neg_log_10_p_value") > 5)).rows(named=True):
            near = mine.filter((pl.col("base_pair_location") - row["base_pair_location"]).abs() <= 1000)
            assert near["neg_log_10_p_value"].max() >= row["neg_log_10_p_value"]


def test_lead_variants__threshold_is_strict():
    assert lead_variants(table([("1", 1, 7.3)]), 7.3, 1).height == 0


def clumps(stats: pl.DataFrame, r2: np.ndarray, p1=7.0, p2=2.0, least=0.5, kb=250.0) -> list[tuple[int, int, int]]:
    found = lead_variants_by_ld(stats, lambda lead, others: r2[lead, others], p1, p2, least, kb)
    return found.select("row", "locus_start", "locus_end").rows()


def test_lead_variants_by_ld__members_correlate_and_are_near():
    stats = table([
        ("1", 100_000, 3.0),  # correlates: in the locus, though not associated
        ("1", 200_000, 12.0),  # lead
        ("1", 210_000, 11.0),  # near, does not correlate: a lead of its own
        ("1", 450_000, 1.9),  # correlates, too weak
        ("1", 450_001, 9.0),  # correlates, too far: a lead of its own
        ("2", 200_000, 8.0),
        ("2", 200_000, float("nan")),
        ("2", 200_000, None),
    ])  # fmt: skip
    r2 = np.full((8, 8), 0.9)
    r2[1, 2] = r2[2, 1] = 0.49
    r2[2] = 0
    r2[5] = np.nan
    assert clumps(stats, r2) == [
        (1, 100_000, 200_000),
        (2, 210_000, 210_000),
        (4, 450_001, 450_001),
        (5, 200_000, 200_000),
    ]


def test_lead_variants_by_ld__none():
    found = lead_variants_by_ld(table([("1", 100, 6.0)]), lambda lead, others: np.zeros(len(others)), 7.3, 2, 0.5, 250)
    assert found.height == 0
    assert found.schema["locus_start"] == pl.Int64


@pytest.mark.parametrize("seed", range(8))
def test_lead_variants_by_ld__as_clumping_step_by_step(seed):
    """Against the steps of plink1.9's description of --clump, in plain loops."""
    rng = np.random.default_rng(seed)
    n = 60
    stats = table(
        [
            ("1", int(at), float(p))
            for at, p in zip(np.sort(rng.integers(0, 900_000, n)), rng.uniform(0, 12, n), strict=True)
        ]
    )
    r2 = np.square(np.corrcoef(rng.normal(size=(n, 4))))
    position, strength = stats["base_pair_location"].to_list(), stats["neg_log_10_p_value"].to_list()
    unused, expected = set(range(n)), []
    for lead in sorted(range(n), key=lambda i: -strength[i]):
        if lead in unused and strength[lead] > 7:
            members = {
                i
                for i in unused - {lead}
                if abs(position[i] - position[lead]) <= 250_000 and strength[i] > 2 and r2[lead, i] >= 0.5
            }
            unused -= members | {lead}
            places = [position[i] for i in members | {lead}]
            expected.append((lead, min(places), max(places)))
    assert clumps(stats, r2) == sorted(expected)


def loci(*rows: tuple[str, str, int, int]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["method", "chromosome", "locus_start", "locus_end"], orient="row")


def test_merge_loci__within_a_gap_and_a_method():
    leads = loci(("a", "1", 100, 9000), ("a", "1", 5000, 6000), ("a", "1", 10_000, 11_000), ("a", "1", 12_001, 13_000),
                 ("b", "1", 1, 2), ("a", "2", 10_000, 11_000))  # fmt: skip
    assert merge_loci(leads, ["method"], 1).rows() == [
        ("a", "1", 100, 11_000), ("a", "1", 12_001, 13_000), ("a", "2", 10_000, 11_000), ("b", "1", 1, 2)
    ]  # fmt: skip


def test_shared_loci__overlap_or_lie_within_the_gap():
    ours = loci(("a", "1", 1000, 2000), ("a", "1", 9000, 9000), ("a", "2", 1000, 2000))
    others = loci(("b", "1", 3000, 4000), ("b", "1", 1500, 1600), ("b", "3", 1000, 2000))
    assert shared_loci(ours, others, 1).rows() == [("a", "1", 1000, 2000)]
    assert shared_loci(ours, others.head(1), 0.9).height == 0
    assert shared_loci(ours, others.head(1), 5).height == 2
