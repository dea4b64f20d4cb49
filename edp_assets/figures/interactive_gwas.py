"""Interactive figures of associations, by Bokeh: Manhattan and quantile-quantile plots, the PheWAS volcano.

What of a GWAS is drawn is decided in `thinning`.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from bokeh.models import ColumnDataSource, HoverTool
from bokeh.models.annotations import LabelSet
from bokeh.models.renderers import DataRenderer
from bokeh.plotting import figure

from edp_assets.figures.genome import genome_position
from edp_assets.figures.interactive import add_line, column_data, new_plot, scatter
from edp_assets.figures.render import BLUE, GREY, SKY, VERMILION
from edp_assets.figures.thinning import Thinned

MAX_LABELS = 25
NEAR = 0.035
"""Labels closer than this share of the axis to a stronger one are left out: a hover names the gene."""
LABELLED_TRAITS = 8


def manhattan(thinned: Thinned, genes: pl.DataFrame, threshold: float) -> figure:
    """Draw -log10 p along the genome; a hover tells the variant; genes hit are named at their best variant.

    Args:
        thinned: what is drawn.
        genes: gene, chromosome, base_pair_location, rsid, neg_log_10_p_value: the phenotype's gene hits.
        threshold: genome-wide significance, -log10 p, drawn as a line.
    """
    width = max((high for _, high in thinned.spans.values()), default=1.0)
    top = float(thinned.notable["neg_log_10_p_value"].max() or 0)  # type: ignore[arg-type]
    ranges = {"x_range": (-0.01 * width, 1.03 * width), "y_range": (0.0, max(top, threshold) * 1.18)}
    plot = new_plot("chromosome", "-log10 p", 360, **ranges)
    bounds = np.array([low for low, _ in thinned.spans.values()])
    for column, odd in ((thinned.pixels, False), (thinned.pixels, True)):
        place = np.searchsorted(bounds, column["x"].to_numpy(), side="right") - 1
        points = column.filter(pl.Series(place % 2 == int(odd), dtype=pl.Boolean))
        data = {name: column_data(points[name]) for name in ("x", "neg_log_10_p_value")}
        plot.scatter("x", "neg_log_10_p_value", source=ColumnDataSource(data), size=3, color=SKY if odd else BLUE)
    drawn: list[DataRenderer] = []
    hit = thinned.notable["neg_log_10_p_value"] >= threshold
    for points, colour, size in ((thinned.notable.filter(~hit), GREY, 4), (thinned.notable.filter(hit), VERMILION, 6)):
        data = {name: column_data(points[name]) for name in points.columns}
        source = ColumnDataSource(data)
        drawn.append(plot.scatter("x", "neg_log_10_p_value", source=source, size=size, color=colour, alpha=0.85))
    tips = [("variant", "@rsid"), ("position", "@chromosome:@base_pair_location{0,0}"),
            ("-log10 p", "@neg_log_10_p_value{0.00}")]  # fmt: skip
    plot.add_tools(HoverTool(renderers=drawn, tooltips=tips))
    add_line(plot, threshold)
    _name_genes(plot, genes, thinned, width)
    _chromosome_axis(plot, thinned, width)
    return plot


def _name_genes(plot: figure, genes: pl.DataFrame, thinned: Thinned, width: float) -> None:
    """Name the strongest genes, those that stand apart; a hover on any gene's mark tells it."""
    best = (
        genes.drop_nulls(["gene", "neg_log_10_p_value"])
        .with_columns(x=genome_position(thinned.offsets))
        .drop_nulls("x")
        .sort(["neg_log_10_p_value", "gene"], descending=[True, False])
        .unique("gene", keep="first", maintain_order=True)
    )
    columns = ("x", "neg_log_10_p_value", "gene", "rsid", "chromosome", "base_pair_location")
    source = ColumnDataSource({name: column_data(best[name]) for name in columns})
    marks = plot.scatter(
        "x", "neg_log_10_p_value", source=source, size=11, fill_alpha=0, line_color=VERMILION, line_width=1.5
    )
    tips = [("gene", "@gene"), ("best variant", "@rsid, @chromosome:@base_pair_location{0,0}"),
            ("-log10 p", "@neg_log_10_p_value{0.00}")]  # fmt: skip
    plot.add_tools(HoverTool(renderers=[marks], tooltips=tips))
    places: list[float] = []
    named = []
    for row in best.iter_rows(named=True):
        if all(abs(row["x"] - place) > NEAR * width for place in places) and len(places) < MAX_LABELS:
            places.append(row["x"])
            named.append(row)
    _labels(plot, [r["x"] for r in named], [r["neg_log_10_p_value"] for r in named], [r["gene"] for r in named])


def _labels(plot: figure, x: list[float], y: list[float], texts: list[str]) -> None:
    source = ColumnDataSource({"x": x, "y": y, "text": texts})
    plot.add_layout(
        LabelSet(
            x="x", y="y", text="text", source=source, y_offset=8, text_align="center", text_font_size="9pt",
            text_font_style="italic",
        )
    )  # fmt: skip


def _chromosome_axis(plot: figure, thinned: Thinned, width: float) -> None:
    ends = thinned.spans.items()
    middles = {(low + high) / 2: chromosome.removeprefix("chr") for chromosome, (low, high) in ends}
    plot.xaxis.ticker = list(middles)
    wide = [(high - low) / width > 0.015 for _, (low, high) in ends]
    names = [name if wide[k] or k % 2 == 0 else "" for k, name in enumerate(middles.values())]
    plot.xaxis.major_label_overrides = dict(zip(middles, names, strict=True))
    plot.xgrid.visible = False


def qq(quantiles: pl.DataFrame, tested: int) -> figure:
    """Draw observed against expected -log10 p under no association, with the 95% band of each rank.

    Args:
        quantiles: rank (1 the strongest), neg_log_10_p_value.
        tested: how many variants were tested: more than were stored, where only those of small p are.
    """
    from scipy.stats import beta

    plot = new_plot("expected -log10 p", "observed -log10 p", 320)
    ranks = quantiles["rank"].to_numpy().astype(float)
    expected = -np.log10((ranks - 0.5) / tested)
    low, high = (-np.log10(beta.ppf(q, ranks, tested - ranks + 1)) for q in (0.975, 0.025))
    if len(ranks):
        plot.varea(expected, low, high, color=GREY, alpha=0.3, legend_label="95% band")
        plot.line([0, expected.max()], [0, expected.max()], color=GREY, legend_label="no association")
    data = {"expected": expected.astype(np.float32), "observed": column_data(quantiles["neg_log_10_p_value"]),
            "rank": quantiles["rank"].to_numpy().astype(np.int32)}  # fmt: skip
    drawn = plot.scatter("expected", "observed", source=ColumnDataSource(data), size=5, color=BLUE)
    tips = [("rank", "@rank{0,0}"), ("expected", "@expected{0.00}"), ("observed", "@observed{0.00}")]
    plot.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
    if plot.legend:
        plot.legend[0].location = "top_left"
        plot.legend[0].background_fill_color = plot.legend[0].border_line_color = None
    return plot


def volcano(phewas: pl.DataFrame) -> figure:
    """Draw a phenotype's associations with other traits: effect and -log10 p, coloured by category; hollow: chance.

    Args:
        phewas: trait, description, category, kind, n, beta, neg_log_10_p_value, neg_log_10_p_bonferroni; rows without
            a p are left out. Filled are those below 0.05 by Bonferroni; the strongest are named.
    """
    table = phewas.drop_nulls(["beta", "neg_log_10_p_value"]).with_columns(
        pl.col("category").fill_null("no category"),
        selected=(pl.col("neg_log_10_p_bonferroni") > -np.log10(0.05)).fill_null(value=False),
    )
    plot = new_plot("effect (beta)", "-log10 p", 400)
    tips = {"trait": "trait", "": "description", "kind": "kind", "people": "n", "beta": "beta",
            "-log10 p": "neg_log_10_p_value"}  # fmt: skip
    scatter(plot, table, "beta", "neg_log_10_p_value", "category", tips)
    best = table.filter("selected").sort("neg_log_10_p_value", descending=True).head(LABELLED_TRAITS)
    names = [text if len(text) < 32 else f"{text[:30]}…" for text in best["description"].fill_null(best["trait"])]
    _labels(plot, best["beta"].to_list(), best["neg_log_10_p_value"].to_list(), names)
    return plot
