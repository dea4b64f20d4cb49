"""The volcano plot: points by category, the line, the strongest named, what has no one effect told."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from edp_assets.figures.association import Panel
from edp_assets.figures.phenome import MAX_LABELS, MAX_TEXT, volcano, volcano_and_manhattan
from edp_assets.figures.render import to_png

N = 60


@pytest.fixture
def results() -> pl.DataFrame:
    p = np.linspace(0, 2, N)
    p[:20] = np.linspace(8, 30, 20)
    frame = pl.DataFrame(
        {
            "description": [f"A trait of many words, number {i}" for i in range(N)],
            "category": [["blood", "health", "life"][i % 3] for i in range(N)],
            "beta": np.linspace(-1, 1, N),
            "neg_log_10_p_value": p,
        }
    )
    return frame.with_columns(
        neg_log_10_p_bonferroni=pl.max_horizontal(pl.col("neg_log_10_p_value") - np.log10(N), 0.0),
        beta=pl.when(pl.int_range(pl.len()) == 25).then(None).otherwise("beta"),
    )


def test_volcano__every_trait_with_an_effect_is_drawn_once(results: pl.DataFrame) -> None:
    fig = volcano(results, 0.05, "liver, K76, classifier (mae)")
    (ax,) = fig.axes
    drawn = np.concatenate([np.asarray(c.get_offsets()) for c in ax.collections])
    expected = results.drop_nulls("beta").select("beta", "neg_log_10_p_value").sort("beta").to_numpy()
    np.testing.assert_allclose(drawn[np.argsort(drawn[:, 0])], expected)
    assert ax.get_title(loc="left").startswith("1 unordered traits have an effect for each category")
    line = ax.lines[0].get_ydata()
    np.testing.assert_allclose(line, -np.log10(0.05 / N))
    legend = fig.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["blood", "health", "life"]
    assert to_png(fig).startswith(b"\x89PNG")


def test_volcano__the_strongest_are_named(results: pl.DataFrame) -> None:
    (ax,) = volcano(results).axes
    names = [text.get_text() for text in ax.texts]
    assert len(names) == MAX_LABELS
    assert all(len(name) <= MAX_TEXT for name in names)
    assert names[0].startswith("A trait of many words, number 1")


def test_volcano__nothing_associated_has_no_names(results: pl.DataFrame) -> None:
    quiet = results.with_columns(neg_log_10_p_bonferroni=pl.lit(0.0)).filter(pl.col("category") == "blood")
    fig = volcano(quiet)
    assert list(fig.axes[0].texts) == []
    assert list(fig.legends) == []


def test_volcano_and_manhattan__has_the_traits_beside_the_variants(results: pl.DataFrame) -> None:
    stats = pl.DataFrame(
        {"chromosome": ["1", "1", "2"], "base_pair_location": [1, 5, 1], "neg_log_10_p_value": [1.0, 9.0, 12.0]}
    )
    genes = stats[1:].with_columns(gene=pl.Series(["A", "CASP9"]))
    fig = volcano_and_manhattan(results, Panel("variants", stats, genes), title="kidneys, N18")
    left, right = fig.axes
    drawn = np.concatenate([np.asarray(c.get_offsets()) for c in left.collections])
    assert len(drawn) == results["beta"].count()
    assert len(left.texts) == MAX_LABELS
    assert {text.get_text() for text in right.texts} == {"A", "CASP9"}
    assert fig.get_suptitle() == "kidneys, N18"
    assert to_png(fig).startswith(b"\x89PNG")
