"""Regional plots: points by r2, the lead, the threshold, and genes in rows that do not overlap."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.text import Text

from edp_assets.figures.colours import VERMILION
from edp_assets.figures.regional import MAX_GENE_ROWS, R2_COLOURS, regional
from edp_assets.figures.render import to_png

SPAN = (1_000_000, 2_000_000)
SCHEMA = {"gene": pl.String, "gene_id": pl.String, "chromosome": pl.String, "start": pl.Int64, "end": pl.Int64,
          "tss": pl.Int64}  # fmt: skip


@pytest.fixture
def stats() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({
        "chromosome": "7", "base_pair_location": np.linspace(*SPAN, 50).astype(int),
        "neg_log_10_p_value": rng.exponential(1, 50), "rsid": [f"rs{i}" for i in range(50)], "r2": np.full(50, 0.1),
    })  # fmt: skip
    index = pl.int_range(pl.len())
    return frame.with_columns(
        neg_log_10_p_value=pl.when(index == 20).then(12.0).when(index == 21).then(9.0).otherwise("neg_log_10_p_value"),
        r2=pl.when(index == 21).then(0.85).when(index == 22).then(0.45).when(index == 23).then(None).otherwise("r2"),
    )


def genes(*rows: tuple[str, int, int, int | None], chromosome: str = "7") -> pl.DataFrame:
    return pl.DataFrame([(g, None, chromosome, s, e, t) for g, s, e, t in rows], schema=SCHEMA, orient="row")


def points_of(ax: Axes, colour: str) -> np.ndarray:
    return np.concatenate([
        np.asarray(c.get_offsets()) for c in ax.collections
        if len(c.get_facecolor()) and to_hex(c.get_facecolor()[0]) == colour.lower()
    ])  # fmt: skip


def assert_no_overlap(ax: Axes) -> None:
    fig = ax.get_figure(root=True)
    fig.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in ax.texts]
    assert not any(box.overlaps(other) for k, box in enumerate(boxes) for other in boxes[:k])


def test_regional__colours_tell_r2_and_the_lead_is_named(stats: pl.DataFrame) -> None:
    fig = regional(stats, 20, SPAN, build="GRCh37", title="liver, K76")
    (ax,) = fig.axes
    place = stats["base_pair_location"] / 1e6
    np.testing.assert_allclose(points_of(ax, R2_COLOURS[4]), [[place[21], 9.0]])
    np.testing.assert_allclose(points_of(ax, R2_COLOURS[2]), [[place[22], stats["neg_log_10_p_value"][22]]])
    np.testing.assert_allclose(points_of(ax, VERMILION), [[place[20], 12.0]])
    assert len(points_of(ax, R2_COLOURS[0])) == 46
    rings = [c for c in ax.collections if c.get_label() == "not known"]
    np.testing.assert_allclose(rings[0].get_offsets(), [[place[23], stats["neg_log_10_p_value"][23]]])
    assert {text.get_text() for text in ax.texts} == {"rs20", "p = 5e-8"}
    assert ax.lines[0].get_ydata()[0] == pytest.approx(-np.log10(5e-8))
    assert ax.get_xlabel() == "position on chromosome 7, Mb (GRCh37)"
    assert ax.get_xlim() == (1.0, 2.0)
    assert len(to_png(fig)) < 100_000


def test_regional__a_lead_without_a_name_is_told_by_its_place(stats: pl.DataFrame) -> None:
    fig = regional(stats.with_columns(rsid=pl.lit(None, pl.String)), 20, SPAN)
    assert f"7:{stats['base_pair_location'][20]}" in {text.get_text() for text in fig.axes[0].texts}


def test_regional__genes_inside_with_their_strand(stats: pl.DataFrame) -> None:
    table = genes(
        ("PLUS", 1_100_000, 1_200_000, 1_100_000), ("MINUS", 1_150_000, 1_300_000, 1_300_000),
        ("NOBODY", 1_600_000, 1_600_100, None), ("EDGE", 500_000, 1_010_000, None), ("BEYOND", 2_100_000, 2_200_000, 0),
    )  # fmt: skip
    fig = regional(stats, 20, SPAN, pl.concat([table, genes(("OTHER", 1_100_000, 1_200_000, 0), chromosome="8")]))
    track = fig.axes[1]
    assert {text.get_text() for text in track.texts} == {"PLUS →", "← MINUS", "NOBODY", "EDGE"}
    bars = sorted(tuple(line.get_xdata()) for line in track.lines)
    assert bars[0] == (1.0, 1.01)  # cut at the edge
    assert_no_overlap(track)


@pytest.mark.parametrize("n", [12, 300])
def test_regional__crowded_genes_do_not_overlap_and_the_rest_are_counted(stats: pl.DataFrame, n: int) -> None:
    rng = np.random.default_rng(n)
    starts = rng.integers(*SPAN, n)
    rows = [(f"GENE{i}", int(start), int(start + rng.integers(500, 80_000)), None) for i, start in enumerate(starts)]
    track = regional(stats, 20, SPAN, genes(*rows)).axes[1]
    assert_no_overlap(track)
    assert len({line.get_ydata()[0] for line in track.lines}) <= MAX_GENE_ROWS
    more = [text.get_text() for text in track.texts if text.get_text().endswith(" more")]
    shown, counted = len(track.lines), int(more[0].split()[0]) if more else 0
    assert shown + counted == n
    assert bool(counted) == (n == 300)
    for line in track.lines:
        assert min(line.get_xdata()) >= 1.0
