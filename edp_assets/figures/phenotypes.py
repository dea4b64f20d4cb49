"""Figures of phenotypes: scores, the plots codes are selected on, clusters (paper, Figures 2 and 3)."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from edp_assets.figures.codes import CodePalette, best_codes, code_points, draw_key, label_codes
from edp_assets.figures.colours import CYCLE, GREY, INK, ORANGE, PALE, VERMILION
from edp_assets.figures.render import FONT, SMALL, axes_points, new_figure, style_axes

KEY_WIDTH = 2.4
"""Inches beside panels that say what colours mean."""
MIN_DENSITY, MAX_DENSITY = 10, 2000
"""Points that a density is drawn of: fewer are drawn as points, of more an even share is taken."""


def score_histogram(score: NDArray, cases: NDArray[np.bool_], title: str = "") -> Figure:
    """Draw the distribution of a score among cases and controls (paper, Figure 2, left).

    Args:
        score: (n_participants,).
        cases: (n_participants,) True for cases.
        title: above the figure.
    """
    fig = new_figure(5.5, 3.6, title)
    ax = fig.subplots()
    style_axes(ax, "score", "density")
    ends = np.array([np.quantile(score[part], [0.001, 0.999]) for part in (cases, ~cases) if part.any()])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    if not high > low:
        low, high = low - 0.5, low + 0.5
    # Few cases fill few bins; what lies beyond the outer ones is counted in them.
    bins = np.linspace(low, high, int(np.clip(2 * np.sqrt(cases.sum()), 15, 40)) + 1)
    for members, colour, name in ((~cases, GREY, "controls"), (cases, ORANGE, "cases")):
        if members.any():
            values = np.clip(score[members], low, high)
            label = f"{name} ({int(members.sum()):,})"
            ax.hist(values, bins.tolist(), density=True, color=colour, alpha=0.55, label=label)
            ax.axvline(float(np.mean(score[members])), color=colour, linewidth=1.5, linestyle="--")
    ax.legend(frameon=False, fontsize=FONT)
    return fig


def auc_pval(selection: pl.DataFrame, title: str = "", *, min_auc: float = 0.6, max_p: float = 0.01) -> Figure:
    """Draw every code's out-of-fold AUC and rank-sum p; those in the upper right are selected (paper, Figure 2, right).

    Args:
        selection: icd10, roc_auc_out_of_fold, selected, and neg_log_10_p_rank_sum or p_rank_sum; one row a code. Where
            there are the columns chapter (ICD-10, roman) and description, they colour the codes and explain the names.
        title: above the figure.
        min_auc: threshold on the AUC, drawn as a line.
        max_p: threshold on the p-value, drawn as a line.
    """
    x, y = "roc_auc_out_of_fold", "neg_log_10_p_rank_sum"
    table = _with_neg_log_10(selection, "p_rank_sum").drop_nulls([x, y])
    fig = new_figure(10, 5, title)
    ax, key = fig.subplots(1, 2, width_ratios=(1.6, 1))
    style_axes(ax, "ROC-AUC, out of fold", r"rank-sum $-\log_{10}\,p$")
    palette, best = CodePalette(table, y), best_codes(table, y)
    code_points(ax, table, x, y, palette)
    ax.axvline(min_auc, color=VERMILION, linewidth=1, linestyle=":")
    ax.axhline(-math.log10(max_p), color=VERMILION, linewidth=1, linestyle=":")
    _count(ax, table)
    draw_key(key, palette, best)
    label_codes(ax, best, table, x, y, axes_points(ax, laid_out=True))
    return fig


def percentage_pval(enrichment: pl.DataFrame, title: str = "", *, max_p: float = 0.05) -> Figure:
    """Draw, a panel a cluster, the share of the cluster that has each code and Fisher's p (paper, Figure 3).

    Args:
        enrichment: cluster, icd10, percentage, selected, and neg_log_10_p_fisher or p_fisher; one row a code and
            cluster; and chapter, which colours the codes.
        title: above the figure.
        max_p: threshold on the p-value, drawn as a line.
    """
    table = _with_neg_log_10(enrichment, "p_fisher")
    clusters = sorted(table["cluster"].unique().to_list())
    columns = min(4 if len(clusters) > 6 else 3, max(1, len(clusters)))
    rows = max(1, math.ceil(len(clusters) / columns))
    width, height = max(5.0, 3.4 * columns) + KEY_WIDTH, max(3.6, 2.9 * rows) + 0.6
    fig = new_figure(width, height, title)
    fig.set_layout_engine(None)  # panels all alike have their places: to find them takes as long as to draw the figure
    fig.subplots_adjust(
        left=0.75 / width,
        right=1 - KEY_WIDTH / width,
        bottom=0.7 / height,
        top=1 - 0.75 / height,
        wspace=0.2,
        hspace=0.3,
    )
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[len(clusters) :]:
        ax.set_axis_off()
    for ax, cluster in zip(axes, clusters, strict=False):
        style_axes(ax)
        ax.set_title(f"cluster {cluster}", fontsize=FONT, color=INK)
    fig.supxlabel("% of the cluster that has the code", fontsize=FONT, color=INK)
    fig.supylabel(r"Fisher $-\log_{10}\,p$", fontsize=FONT, color=INK)
    palette = CodePalette(table, "neg_log_10_p_fisher")
    handles = [Line2D([], [], marker="o", linestyle="", color=c, markersize=6, label=n) for c, n in palette.legend()]
    fig.legend(handles=handles, loc="upper right", frameon=False, fontsize=SMALL)
    panels = [(ax, table.filter(pl.col("cluster") == cluster)) for ax, cluster in zip(axes, clusters, strict=False)]
    for ax, points in panels:
        _enrichment_points(ax, points, palette, max_p)
    for ax, points in panels:
        best = best_codes(points, "neg_log_10_p_fisher", 4 if rows > 2 else 8)
        label_codes(ax, best, points, "percentage", "neg_log_10_p_fisher", axes_points(ax, laid_out=True))
    return fig


def cluster_enrichment(
    umap: NDArray,
    labels: NDArray[np.integer],
    cluster: int,
    enrichment: pl.DataFrame,
    title: str = "",
    *,
    max_p: float = 0.05,
) -> Figure:
    """Draw where one cluster's people lie, as a density over everybody's UMAP, and its codes (paper, Figure 3).

    Args:
        umap: (n_participants, 2).
        labels: (n_participants,) cluster labels.
        cluster: the cluster shown.
        enrichment: the rows of `percentage_pval` for this cluster; with chapter and description, where there are.
        title: above the figure.
        max_p: threshold on the p-value, drawn as a line.
    """
    table = _with_neg_log_10(enrichment, "p_fisher")
    fig = new_figure(13.5, 4.8, title)
    left, right, key = fig.subplots(1, 3, width_ratios=(1.15, 1.3, 1))
    _umap_axes(left)
    inside = labels == cluster
    colour = CYCLE[cluster % len(CYCLE)]
    left.scatter(umap[:, 0], umap[:, 1], s=_point_size(len(umap)), color=PALE, linewidths=0)
    left.margins(0.12)
    _density(left, umap[inside], colour)
    left.set_title(
        f"cluster {cluster}: {int(inside.sum()):,} of {len(labels):,} participants", fontsize=FONT, color=INK
    )
    style_axes(right, "% of the cluster that has the code", r"Fisher $-\log_{10}\,p$")
    palette, best = CodePalette(table, "neg_log_10_p_fisher"), best_codes(table, "neg_log_10_p_fisher", 12)
    _enrichment_points(right, table, palette, max_p)
    draw_key(key, palette, best)
    label_codes(right, best, table, "percentage", "neg_log_10_p_fisher", axes_points(right, laid_out=True))
    return fig


def umap_clusters(umap: NDArray, labels: NDArray[np.integer], title: str = "") -> Figure:
    """Draw participants on their UMAP coordinates, coloured and numbered by cluster (paper, Figure 3).

    Args:
        umap: (n_participants, 2).
        labels: (n_participants,) cluster labels.
        title: above the figure.
    """
    fig = new_figure(5.5, 5, title)
    ax = fig.subplots()
    _umap_axes(ax)
    size = _point_size(len(labels))
    names = np.unique(labels)
    for k, name in enumerate(names):
        points = umap[labels == name]
        ax.scatter(points[:, 0], points[:, 1], s=size, color=CYCLE[k % len(CYCLE)], linewidths=0)
    for name in names:
        x, y = np.median(umap[labels == name], axis=0)
        box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
        ax.text(x, y, str(name), ha="center", va="center", fontsize=FONT, fontweight="bold", color=INK, bbox=box)
    text = f"{len(labels):,} participants, {len(names)} clusters"
    ax.text(1, 1.01, text, transform=ax.transAxes, ha="right", va="bottom", fontsize=SMALL, color=GREY)
    return fig


def _with_neg_log_10(table: pl.DataFrame, p: str) -> pl.DataFrame:
    """Add neg_log_10_<p> where a table holds the p-value alone; a p of 0 is drawn at 1e-300."""
    name = f"neg_log_10_{p}"
    if name in table.columns:
        return table
    return table.with_columns((-pl.col(p).clip(lower_bound=1e-300).log(10)).alias(name))


def _enrichment_points(ax: Axes, table: pl.DataFrame, palette: CodePalette, max_p: float) -> None:
    code_points(ax, table, "percentage", "neg_log_10_p_fisher", palette)
    ax.axhline(-math.log10(max_p), color=VERMILION, linewidth=1, linestyle=":")


def _count(ax: Axes, table: pl.DataFrame) -> None:
    text = f"{table.height:,} code{'s' * (table.height != 1)}, {int(table['selected'].sum()):,} selected"
    ax.set_title(text, loc="right", fontsize=SMALL, color=GREY)


def _umap_axes(ax: Axes) -> None:
    style_axes(ax, "UMAP 1", "UMAP 2", grid=False)
    ax.set_xticks([])
    ax.set_yticks([])


def _point_size(n: int) -> float:
    return float(np.clip(18000 / max(n, 1), 0.6, 14))


def _density(ax: Axes, points: NDArray, colour: str) -> None:
    """Draw a kernel density of points (n, 2) as filled contours; points that span no area are drawn as they are."""
    from scipy.stats import gaussian_kde

    spread = np.linalg.matrix_rank(points - points.mean(axis=0)) if len(points) >= MIN_DENSITY else 0
    if spread < 2:
        ax.scatter(points[:, 0], points[:, 1], s=24, color=colour, linewidths=0)
        return
    kernel = gaussian_kde(points[:: math.ceil(len(points) / MAX_DENSITY)].T)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    x, y = np.meshgrid(np.linspace(left, right, 120), np.linspace(bottom, top, 120))
    height = kernel(np.stack([x.ravel(), y.ravel()])).reshape(x.shape)
    levels = height.max() * np.array([0.05, 0.2, 0.4, 0.6, 0.8, 1.0])
    faint, full = to_rgba(colour, 0.2), to_rgba(colour, 0.85)
    colours = [tuple(np.array(faint) + share * (np.array(full) - faint)) for share in np.linspace(0, 1, 5)]
    ax.contourf(x, y, height, levels=levels, colors=colours)
    ax.contour(x, y, height, levels=levels[:1], colors=[colour], linewidths=0.8)
