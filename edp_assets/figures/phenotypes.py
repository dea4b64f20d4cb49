"""Figures of phenotypes: scores, the plots codes are selected on, clusters (paper, Figures 2 and 3)."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edp_assets.figures.render import (
    CYCLE,
    FONT,
    GREEN,
    GREY,
    INK,
    ORANGE,
    SMALL,
    VERMILION,
    new_figure,
    place_labels,
    style_axes,
)

MAX_LABELS = 15


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
    low, high = np.quantile(score, [0.001, 0.999])
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
        selection: icd10, roc_auc_out_of_fold, selected, and neg_log_10_p_rank_sum or p_rank_sum; one row a code.
        title: above the figure.
        min_auc: threshold on the AUC, drawn as a line.
        max_p: threshold on the p-value, drawn as a line.
    """
    table = _with_neg_log_10(selection, "p_rank_sum").drop_nulls(["roc_auc_out_of_fold", "neg_log_10_p_rank_sum"])
    fig = new_figure(6, 4.5, title)
    ax = fig.subplots()
    style_axes(ax, "ROC-AUC, out of fold", r"rank-sum $-\log_{10}\,p$")
    _code_points(ax, table, "roc_auc_out_of_fold", "neg_log_10_p_rank_sum", "not selected")
    ax.axvline(min_auc, color=VERMILION, linewidth=1, linestyle=":")
    ax.axhline(-math.log10(max_p), color=VERMILION, linewidth=1, linestyle=":")
    _label_selected(ax, table, "roc_auc_out_of_fold", "neg_log_10_p_rank_sum")
    return fig


def percentage_pval(enrichment: pl.DataFrame, title: str = "", *, max_p: float = 0.05) -> Figure:
    """Draw, a panel a cluster, the share of the cluster that has each code and Fisher's p (paper, Figure 3).

    Args:
        enrichment: cluster, icd10, percentage, selected, and neg_log_10_p_fisher or p_fisher; one row a code and
            cluster.
        title: above the figure.
        max_p: threshold on the p-value, drawn as a line.
    """
    table = _with_neg_log_10(enrichment, "p_fisher")
    clusters = sorted(table["cluster"].unique().to_list())
    columns = min(3, max(1, len(clusters)))
    rows = max(1, math.ceil(len(clusters) / columns))
    fig = new_figure(max(5.0, 3.6 * columns), 3.2 * rows + 0.6, title)
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[len(clusters) :]:
        ax.set_axis_off()
    for ax, cluster in zip(axes, clusters, strict=False):
        style_axes(ax)
        ax.set_title(f"cluster {cluster}", fontsize=FONT, color=INK)
    fig.get_layout_engine().set(h_pad=0.1)  # type: ignore[union-attr, call-arg]
    fig.supxlabel("% of the cluster that has the code", fontsize=FONT, color=INK)
    fig.supylabel(r"Fisher $-\log_{10}\,p$", fontsize=FONT, color=INK)
    for ax, cluster in zip(axes, clusters, strict=False):
        points = table.filter(pl.col("cluster") == cluster)
        _code_points(ax, points, "percentage", "neg_log_10_p_fisher", "not enriched")
        ax.axhline(-math.log10(max_p), color=VERMILION, linewidth=1, linestyle=":")
        _label_selected(ax, points, "percentage", "neg_log_10_p_fisher", most=8)
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
    style_axes(ax, "UMAP 1", "UMAP 2", grid=False)
    ax.set_xticks([])
    ax.set_yticks([])
    size = float(np.clip(18000 / max(len(labels), 1), 0.6, 14))
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


def _code_points(ax: Axes, table: pl.DataFrame, x: str, y: str, otherwise: str) -> None:
    """Draw one point a code, the selected ones green."""
    for selected, colour, size, name in ((False, GREY, 18, otherwise), (True, GREEN, 30, "selected")):
        points = table.filter(pl.col("selected") == selected)
        ax.scatter(
            points[x].to_numpy(), points[y].to_numpy(), s=size, color=colour, alpha=0.8, linewidths=0, label=name
        )
    ax.margins(0.08)
    ax.set_ylim(bottom=0)


def _label_selected(ax: Axes, table: pl.DataFrame, x: str, y: str, most: int = MAX_LABELS) -> None:
    """Name the selected codes of the smallest p."""
    best = table.filter(pl.col("selected")).sort(y, descending=True).head(most)
    place_labels(ax, best[x].to_list(), best[y].to_list(), best["icd10"].to_list(), table.select(x, y).to_numpy())
