import itertools

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from edp_assets.science.genetics.loci import lead_variants


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
