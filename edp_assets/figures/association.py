"""Figures of a GWAS: Manhattan and quantile-quantile plots (paper, Figures 4 to 7). They draw; they test nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edp_assets.figures.colours import BLUE, GREY, INK, PALE, SKY, VERMILION
from edp_assets.figures.genome import chromosome_offsets, genome_position
from edp_assets.figures.render import FONT, new_figure, place_labels, style_axes
from edp_assets.science.genetics.calibration import lambda_gc

THIN_BELOW = 2.0
"""Points lower than this -log10 p are drawn once a pixel: nobody can see the others."""
MAX_LABELS = 30


def manhattan(
    stats: pl.DataFrame, genes: pl.DataFrame | None = None, threshold: float = 5e-8, title: str = ""
) -> Figure:
    """Draw every variant's -log10 p along the genome, with the genes hit.

    Args:
        stats: chromosome, base_pair_location, neg_log_10_p_value, one row a variant; rows without a p are left out.
        genes: gene, chromosome, base_pair_location, neg_log_10_p_value; each gene is named once, at its best variant,
            and the best 30 genes at most.
        threshold: genome-wide significance, a p-value, drawn as a line.
        title: above the figure.
    """
    fig = new_figure(10, 4, title)
    draw_manhattan(fig.subplots(), stats, genes, threshold)
    return fig


@dataclass(frozen=True)
class Panel:
    """One GWAS among several that are compared: its name, and `stats` and `genes` as `manhattan` takes them."""

    name: str
    stats: pl.DataFrame
    genes: pl.DataFrame | None = None


def stacked_manhattans(panels: Sequence[Panel], threshold: float = 5e-8, title: str = "") -> Figure:
    """Draw Manhattan plots one above another (paper, Figures 4 to 6), each with a scale of its own.

    Args:
        panels: from top to bottom.
        threshold: genome-wide significance, a p-value, drawn as a line.
        title: above the figure.

    Raises:
        ValueError: there is no panel.
    """
    if not panels:
        raise ValueError("stacked Manhattan plots need at least one panel, found none")
    fig = new_figure(10, 3.1 * len(panels) + 0.5, title)
    fig.get_layout_engine().set(h_pad=0.08)  # type: ignore[union-attr, call-arg]
    axes = fig.subplots(len(panels), 1, squeeze=False).ravel()
    # Titles and the axis's name first: the labels are placed once all axes have the size they keep.
    for ax, panel in zip(axes, panels, strict=True):
        ax.set_title(panel.name, fontsize=FONT, color=INK, loc="left")
    axes[-1].set_xlabel("chromosome", fontsize=FONT, color=INK)
    for ax, panel in zip(axes, panels, strict=True):
        draw_manhattan(ax, panel.stats, panel.genes, threshold)
        if ax is not axes[-1]:
            ax.set_xlabel("")
    return fig


def draw_manhattan(ax: Axes, stats: pl.DataFrame, genes: pl.DataFrame | None, threshold: float) -> None:
    """Draw a Manhattan plot on axes; arguments as `manhattan` takes them."""
    line = -math.log10(threshold)
    style_axes(ax, "chromosome", r"$-\log_{10}\,p$", grid=False)
    stats = stats.select(
        pl.col("chromosome").cast(pl.String), pl.col("base_pair_location").cast(pl.Int64), "neg_log_10_p_value"
    ).filter(pl.col("neg_log_10_p_value").is_finite())
    offsets, spans = chromosome_offsets(stats)
    drawn = _thinned(stats.with_columns(x=genome_position(offsets)))
    for k, (chromosome, points) in enumerate((c, drawn.filter(pl.col("chromosome") == c)) for c in offsets):
        y = points["neg_log_10_p_value"].to_numpy()
        x = points["x"].to_numpy()
        ax.scatter(x, y, s=5, color=(BLUE, SKY)[k % 2], linewidths=0)
        ax.scatter(x[y >= line], y[y >= line], s=14, color=VERMILION, linewidths=0)
        ax.axvspan(*spans[chromosome], color=PALE, alpha=0.25 * (k % 2), linewidth=0, zorder=0)
    ax.axhline(line, color=INK, linewidth=0.8, linestyle="--")
    ends = [edge for span in spans.values() for edge in span] or [0.0, 1.0]
    ax.set_xlim(min(ends), max(ends))
    top = float(drawn["neg_log_10_p_value"].max() or 0.0)  # type: ignore[arg-type]
    ax.set_ylim(0, max(top, line) * 1.08)
    _chromosome_ticks(ax, spans)
    if genes is not None and genes.height:
        _gene_labels(ax, genes, offsets, drawn.filter(pl.col("neg_log_10_p_value") > THIN_BELOW))


def qq(neg_log_10_p: NDArray, title: str = "", tested: tuple[int, float] | None = None) -> Figure:
    """Draw observed against expected -log10 p under no association, its 95% band, and lambda GC.

    Args:
        neg_log_10_p: (n_variants,); NaN are left out.
        title: above the figure.
        tested: how many variants were tested, and their lambda GC, where only those of the smallest p are given.
    """
    from scipy.stats import beta

    observed = np.sort(np.asarray(neg_log_10_p, dtype=float)[np.isfinite(neg_log_10_p)])[::-1]
    given = len(observed)
    n, inflation = (given, lambda_gc(observed)) if tested is None else tested
    fig = new_figure(4.5, 4.5, title)
    ax = fig.subplots()
    style_axes(ax, r"expected $-\log_{10}\,p$", r"observed $-\log_{10}\,p$")
    if given == 0:
        ax.text(0.5, 0.5, "no variants", transform=ax.transAxes, ha="center", fontsize=FONT, color=GREY)
        return fig
    # All of the best thousand, and of the rest as many as a figure can show.
    ranks = np.unique(np.r_[np.arange(1, min(given, 1000) + 1), np.geomspace(1, given, 1500).astype(int)])
    expected = -np.log10((ranks - 0.5) / n)
    low, high = (-np.log10(beta.ppf(q, ranks, n - ranks + 1)) for q in (0.975, 0.025))
    ax.fill_between(expected, low, high, color=PALE, linewidth=0, label="95% band")
    ax.plot([0, expected.max()], [0, expected.max()], color=GREY, linewidth=1)
    ax.scatter(expected, observed[ranks - 1], s=8, color=BLUE, linewidths=0, zorder=3)
    ax.set_xlim(0, expected.max() * 1.03)
    ax.set_ylim(0, max(observed[0], float(high.max())) * 1.05)
    text = f"$\\lambda_{{GC}}$ = {inflation:.3f}\n{n:,} variants"
    ax.text(0.04, 0.96, text, transform=ax.transAxes, va="top", fontsize=FONT, color=INK)
    ax.legend(loc="lower right", frameon=False, fontsize=FONT)
    return fig


def _thinned(points: pl.DataFrame) -> pl.DataFrame:
    """Leave out those low points that would be drawn over another in the same pixel; all others stay."""
    width = float(points["x"].max() or 1.0)  # type: ignore[arg-type]
    low = points.filter(pl.col("neg_log_10_p_value") < THIN_BELOW)
    pixels = [
        (pl.col("x") / width * 900).cast(pl.Int32).alias("_px"),
        (pl.col("neg_log_10_p_value") * 25).cast(pl.Int32).alias("_py"),
    ]
    low = low.with_columns(pixels).unique(["_px", "_py"], keep="first", maintain_order=True).drop("_px", "_py")
    return pl.concat([low, points.filter(pl.col("neg_log_10_p_value") >= THIN_BELOW)])


def _chromosome_ticks(ax: Axes, spans: dict[str, tuple[float, float]]) -> None:
    width = max((high for _, high in spans.values()), default=1.0)
    wide_enough = {c: (high - low) / width > 0.015 for c, (low, high) in spans.items()}
    ax.set_xticks([(low + high) / 2 for low, high in spans.values()])
    ax.set_xticklabels([c.removeprefix("chr") if wide_enough[c] or k % 2 == 0 else "" for k, c in enumerate(spans)])
    ax.tick_params(axis="x", length=0)


def _gene_labels(ax: Axes, genes: pl.DataFrame, offsets: dict[str, float], drawn: pl.DataFrame) -> None:
    best = (
        genes.drop_nulls(["gene", "neg_log_10_p_value"])
        .with_columns(pl.col("chromosome").cast(pl.String))
        .with_columns(x=genome_position(offsets))
        .drop_nulls("x")
        .sort("neg_log_10_p_value", descending=True)
        .unique("gene", keep="first", maintain_order=True)
        .head(MAX_LABELS)
    )
    place_labels(
        ax,
        best["x"].to_list(),
        best["neg_log_10_p_value"].to_list(),
        best["gene"].to_list(),
        drawn.select("x", "neg_log_10_p_value").to_numpy(),
    )
