"""Interactive figures of phenotypes and tables, by Bokeh: house style, scatter plots, the heat map of hits.

Those of a GWAS are in `interactive_gwas`; still ones, by matplotlib, in the other modules. Colours of ink and ground
are the page's own, light or dark: set there when a figure is shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
from bokeh.models import (
    ColumnDataSource,
    DataRange1d,
    FactorRange,
    HoverTool,
    LinearColorMapper,
    OpenURL,
    TapTool,
)
from bokeh.models.annotations import Span
from bokeh.models.renderers import DataRenderer
from bokeh.plotting import figure
from bokeh.transform import transform
from numpy.typing import NDArray

from edp_assets.figures.render import CYCLE, GREY, ORANGE, VERMILION

TOOLS = "pan,box_zoom,wheel_zoom,reset,save"
WHITES_TO_REDS = ("#fde0c5", "#facba6", "#f8b58b", "#f59e72", "#f2855d")
MAX_PEOPLE = 20_000
"""Most people of a UMAP that are drawn, evenly chosen: more cannot be told apart."""
MAX_COLOURS = len(CYCLE)
HEAT_ROWS = 60
"""Most codes of the heat map, those of the most genes."""


def new_plot(xlabel: str, ylabel: str, height: int = 340, **options: Any) -> figure:
    """Return an empty plot of the house style, as wide as the page."""
    plot = figure(
        height=height,
        sizing_mode="stretch_width",
        tools=TOOLS,
        x_axis_label=xlabel,
        y_axis_label=ylabel,
        toolbar_location="above",
        **options,
    )
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.outline_line_color = plot.background_fill_color = plot.border_fill_color = None  # the page shows through
    plot.xgrid.grid_line_alpha = plot.ygrid.grid_line_alpha = 0.5
    return plot


def add_legend(plot: figure) -> None:
    """Put the legend beside the plot; a click on an entry hides what it stands for."""
    if plot.legend:
        legend = plot.legend[0]
        legend.click_policy = "hide"
        legend.background_fill_color = legend.border_line_color = None
        legend.label_text_font_size = "9pt"
        legend.glyph_height = legend.glyph_width = 12
        legend.spacing = 0
        plot.add_layout(legend, "right")


def add_line(plot: figure, at: float, dimension: Literal["width", "height"] = "width") -> None:
    """Draw a threshold: across the width at a height, or (`height`) down at a place on the x axis."""
    plot.add_layout(Span(location=at, dimension=dimension, line_color=VERMILION, line_dash="dotted", line_width=1.5))


def groups(names: Sequence[str]) -> dict[str, str]:
    """Return a colour a name, of the first few; all others are grey, as `other`."""
    kept = names if len(names) <= MAX_COLOURS else names[: MAX_COLOURS - 1]
    return dict(zip(kept, CYCLE, strict=False))


def scatter(
    plot: figure, table: pl.DataFrame, x: str, y: str, group: str, tooltips: Mapping[str, str], size: float = 7
) -> None:
    """Draw a point a row, coloured by the column `group` (frequent names first), with what a hover tells.

    Args:
        plot: where.
        table: x, y, group and the columns of tooltips; `selected`, where it is there: others are drawn hollow.
        x: column.
        y: column.
        group: column.
        tooltips: label -> column.
        size: of a point, screen pixels.
    """
    frequent = table[group].value_counts(sort=True).sort(["count", group], descending=[True, False])[group].to_list()
    colours = groups(frequent)
    shown = table.with_columns(
        _group=pl.when(pl.col(group).is_in(list(colours))).then(group).otherwise(pl.lit("other"))
    )
    drawn: list[DataRenderer] = []
    for name in [*colours, *(["other"] if len(frequent) > len(colours) else [])]:
        own = shown.filter(pl.col("_group") == name)
        data = {column: column_data(own[column]) for column in dict.fromkeys([x, y, *tooltips.values()])}
        data["fill"] = np.where(own["selected"], 0.75, 0.0) if "selected" in own.columns else np.full(own.height, 0.7)
        colour = colours.get(name, GREY)
        drawn.append(
            plot.scatter(
                x, y, source=ColumnDataSource(data), size=size, color=colour, fill_alpha="fill", legend_label=name
            )
        )
    plot.add_tools(HoverTool(renderers=drawn, tooltips=[(label, f"@{{{c}}}") for label, c in tooltips.items()]))
    add_legend(plot)


def column_data(column: pl.Series) -> Any:
    """Return a column as Bokeh takes it: numbers as an array, kept in 4 bytes each; texts as a list."""
    if column.dtype.is_float():
        return column.to_numpy().astype(np.float32)
    if column.dtype.is_integer() and not column.null_count():
        return column.to_numpy().astype(np.int32)
    return [str(value) if value is not None else "" for value in column]


def umap(clusters: pl.DataFrame) -> figure:
    """Draw people's embeddings in two dimensions, coloured by cluster (paper, Figure 3); no id is kept.

    Args:
        clusters: cluster, umap_1, umap_2, one row a person; of more than `MAX_PEOPLE` an even share is drawn.
    """
    shown = clusters.gather_every(math.ceil(max(clusters.height, 1) / MAX_PEOPLE)).sort("cluster")
    shown = shown.with_columns(pl.col("cluster").cast(pl.String))
    plot = new_plot("UMAP 1", "UMAP 2", 420)
    order = sorted(shown["cluster"].unique(), key=int)
    palette = {name: CYCLE[k % len(CYCLE)] for k, name in enumerate(order)}
    drawn: list[DataRenderer] = []
    for name, colour in palette.items():
        own = shown.filter(pl.col("cluster") == name)
        source = ColumnDataSource({c: column_data(own[c]) for c in ("umap_1", "umap_2")})
        drawn.append(
            plot.scatter(
                "umap_1", "umap_2", source=source, size=4, color=colour, alpha=0.6, name=name, legend_label=name
            )
        )
    plot.add_tools(HoverTool(renderers=drawn, tooltips=[("cluster", "$name")]))
    add_legend(plot)
    return plot


def auc_pval(selection: pl.DataFrame, *, min_auc: float, max_p: float) -> figure:
    """Draw every code's out-of-fold AUC and rank-sum p (paper, Figure 2, right); filled: selected.

    Args:
        selection: icd10, description, chapter, cases, roc_auc_out_of_fold, p_rank_sum, selected; one row a code.
        min_auc: threshold on the AUC, drawn as a line.
        max_p: threshold on the p-value, drawn as a line.
    """
    table = _with_p(selection, "p_rank_sum").drop_nulls(["roc_auc_out_of_fold", "neg_log_10_p"])
    plot = new_plot("ROC-AUC, out of fold", "rank-sum -log10 p")
    tips = {"code": "icd10", "": "description", "cases": "cases", "AUC": "roc_auc_out_of_fold", "-log10 p": _P}
    scatter(plot, table, "roc_auc_out_of_fold", _P, "chapter", tips)
    add_line(plot, min_auc, "height")
    add_line(plot, -math.log10(max_p))
    return plot


def percentage_pval(selection: pl.DataFrame, *, max_p: float) -> figure:
    """Draw the share of each cluster that has each code, and Fisher's p (paper, Figure 3); filled: selected.

    Args:
        selection: icd10, description, cluster, cases, percentage, p_fisher, selected; one row a code and cluster.
        max_p: threshold on the p-value, drawn as a line.
    """
    table = _with_p(selection, "p_fisher").drop_nulls(["percentage", "neg_log_10_p"])
    table = table.with_columns(in_cluster=pl.format("cluster {}", "cluster"))
    plot = new_plot("% of the cluster that has the code", "Fisher -log10 p")
    tips = {"code": "icd10", "": "description", "cluster": "cluster", "cases in it": "cases", "%": "percentage",
            "-log10 p": _P}  # fmt: skip
    scatter(plot, table, "percentage", _P, "in_cluster", tips)
    add_line(plot, -math.log10(max_p))
    return plot


_P = "neg_log_10_p"


def _with_p(table: pl.DataFrame, p: str) -> pl.DataFrame:
    """Add -log10 p; a p that is 0 in the table is drawn at the smallest float."""
    return table.with_columns(neg_log_10_p=-pl.col(p).clip(lower_bound=1e-300).log10())


def score_distribution(score: NDArray, cases: NDArray[np.bool_], bins: int = 40) -> figure:
    """Draw the distribution of a score among cases and controls (paper, Figure 2, left): counts of people, no ids.

    Args:
        score: (n_participants,).
        cases: (n_participants,) True for cases.
        bins: of equal width, over all scores.
    """
    edges = np.histogram_bin_edges(score, bins) if len(score) else np.array([0.0, 1.0])
    plot = new_plot("score", "density", 260, y_range=DataRange1d(start=0))
    for members, colour, name in ((~cases, GREY, "controls"), (cases, ORANGE, "cases")):
        counts, _ = np.histogram(score[members], edges)
        total = max(int(counts.sum()), 1)
        source = ColumnDataSource(
            {"left": edges[:-1], "right": edges[1:], "density": counts / total / np.diff(edges), "people": counts}
        )
        label = f"{name} ({int(counts.sum()):,})"
        bars = plot.quad(
            left="left", right="right", top="density", bottom=0, source=source, color=colour, alpha=0.55,
            legend_label=label,
        )  # fmt: skip
        tips = [(name, "@people"), ("score", "@left{0.00} to @right{0.00}")]
        plot.add_tools(HoverTool(renderers=[bars], tooltips=tips))
    add_legend(plot)
    return plot


def heat_map(hits: pl.DataFrame) -> figure:
    """Draw how many genes the EDPs of each organ and code hit; a click opens the cell's page.

    Args:
        hits: organ, icd10, description, genes, href (the page's address, empty: none); one row a cell. The
            `HEAT_ROWS` codes of the most genes are drawn.
    """
    name = pl.concat_str("icd10", pl.col("description").fill_null("").str.slice(0, 44), separator=" ")
    hits = hits.with_columns(code=name.str.strip_chars())
    best = hits.group_by("code").agg(pl.col("genes").sum()).sort(["genes", "code"], descending=[True, False])
    codes = best.head(HEAT_ROWS)["code"].sort(descending=True).to_list()
    organs = hits["organ"].unique().sort().to_list()
    shown = hits.filter(pl.col("code").is_in(codes)).with_columns(pl.col("genes").cast(pl.Int32))
    plot = new_plot(
        "",
        "",
        110 + 24 * len(codes),
        x_range=FactorRange(*organs),
        y_range=FactorRange(*codes),
        x_axis_location="above",
    )
    plot.sizing_mode, plot.width = "fixed", min(1200, 420 + 150 * len(organs))
    most = max(int(shown["genes"].max() or 1), 4)  # type: ignore[arg-type]
    colours = LinearColorMapper(palette=WHITES_TO_REDS, low=0, high=most)
    data = {name: column_data(shown[name]) for name in ("organ", "code", "genes", "href")}
    source = ColumnDataSource(data)
    cells = plot.rect(
        "organ", "code", 0.94, 0.9, source=source, fill_color=transform("genes", colours), line_color=None
    )
    cells.nonselection_glyph = None
    plot.text("organ", "code", text="genes", source=source, text_align="center", text_baseline="middle",
              text_color="#222222", text_font_size="9pt", name="ink")  # fmt: skip
    tips = [("organ", "@organ"), ("code", "@code"), ("genes", "@genes")]
    plot.add_tools(
        HoverTool(renderers=[cells], tooltips=tips),
        TapTool(renderers=[cells], callback=OpenURL(url="@href", same_tab=True)),
    )
    plot.grid.visible = False
    return plot
