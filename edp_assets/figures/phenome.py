"""The volcano plot of a phenome-wide scan, alone and beside the GWAS (paper, Figure 7). It draws; it tests nothing."""

from __future__ import annotations

import math

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edp_assets.figures.association import Panel, draw_manhattan
from edp_assets.figures.colours import CYCLE, GREY, INK, PALE
from edp_assets.figures.render import FONT, SMALL, new_figure, place_labels, style_axes

MAX_LABELS = 12
MAX_TEXT = 32
"""Characters of a description that are written beside its point."""


def volcano(results: pl.DataFrame, max_p: float = 0.05, title: str = "") -> Figure:
    """Draw each trait's -log10 p against its effect, coloured by category, the strongest associated ones named.

    Args:
        results: description, category, beta, neg_log_10_p_value, neg_log_10_p_bonferroni; one row a trait tested. Those
            without one effect (unordered ones have several) are counted below the figure.
        max_p: Bonferroni p, drawn as a line, above which points are faint.
        title: above the figure.
    """
    fig = new_figure(9, 6, title)
    ax = fig.subplots()
    hits = _draw(ax, results, max_p)
    if results["category"].n_unique() > 1:
        fig.legend(loc="outside right upper", fontsize=SMALL, frameon=False, labelcolor=INK)
    _name(ax, hits)
    return fig


def volcano_and_manhattan(
    results: pl.DataFrame, gwas: Panel, *, max_p: float = 0.05, threshold: float = 5e-8, title: str = ""
) -> Figure:
    """Draw a phenotype's traits beside its variants and genes (paper, Figure 7).

    Args:
        results: as `volcano` takes them.
        gwas: the phenotype's.
        max_p: as `volcano` takes it.
        threshold: genome-wide significance, a p-value.
        title: above the figure.
    """
    fig = new_figure(16, 6, title)
    left, right = fig.subplots(1, 2, width_ratios=(1, 1.25))
    hits = _draw(left, results, max_p)
    if results["category"].n_unique() > 1:
        fig.legend(loc="outside lower center", ncols=6, fontsize=SMALL, frameon=False, labelcolor=INK)
    right.set_title(gwas.name, fontsize=FONT, color=INK, loc="left")
    draw_manhattan(right, gwas.stats, gwas.genes, threshold)
    _name(left, hits)
    return fig


def _draw(ax: Axes, results: pl.DataFrame, max_p: float) -> pl.DataFrame:
    """Draw the points; return those that are associated, the strongest first."""
    style_axes(ax, "effect of one standard deviation (rank-normal units, or log odds)", r"$-\log_{10}\,p$")
    drawn = results.filter(pl.col("beta").is_not_null()).sort("neg_log_10_p_value", descending=True)
    line = -math.log10(max_p) + math.log10(max(results.height, 1))
    ax.axhline(line, color=GREY, linewidth=0.8, linestyle="--")
    ax.axvline(0, color=PALE, linewidth=0.8)
    hit = pl.col("neg_log_10_p_bonferroni") > -math.log10(max_p)
    for number, category in enumerate(results["category"].unique().sort()):
        of = drawn.filter(pl.col("category") == category)
        colour = CYCLE[number % len(CYCLE)]
        marker = "o^s"[number // len(CYCLE) % 3]  # more categories than colours differ by shape
        for points, alpha in ((of.filter(~hit), 0.25), (of.filter(hit), 1.0)):
            label = category if alpha == 1.0 else None
            x, y = points["beta"].to_numpy(), points["neg_log_10_p_value"].to_numpy()
            ax.scatter(x, y, s=22, color=colour, alpha=alpha, marker=marker, linewidths=0, label=label)
    ax.set_ylim(bottom=0)
    if several := results.height - drawn.height:
        note = f"{several} unordered traits have an effect for each category, and are not drawn"
        ax.set_title(note, fontsize=SMALL, color=GREY, loc="left")
    return drawn.filter(hit)


def _name(ax: Axes, hits: pl.DataFrame) -> None:
    named = hits.head(MAX_LABELS)
    texts = [text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…" for text in named["description"]]
    avoid = hits.select("beta", "neg_log_10_p_value").to_numpy()
    place_labels(ax, named["beta"].to_list(), named["neg_log_10_p_value"].to_list(), texts, avoid)
