"""Regional plots: one locus of a GWAS, its variants by linkage disequilibrium with the lead, its genes below."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from edp_assets.figures.colours import BLUE, GREY, INK, VERMILION
from edp_assets.figures.render import FONT, SMALL, axes_points, new_figure, place_labels, style_axes

R2_COLOURS = ("#C9D7E6", "#8FB6DB", "#4A90C8", "#1560A8", "#08264F")
"""r2 below 0.2, 0.4, 0.6, 0.8 and above: one hue that darkens, so that no colour vision is needed."""
MAX_GENE_ROWS = 8
GENE_ROW = 17.0  # height of a row of genes, points


def regional(
    stats: pl.DataFrame,
    lead: int,
    span: tuple[int, int],
    genes: pl.DataFrame | None = None,
    *,
    threshold: float = 5e-8,
    build: str = "",
    title: str = "",
) -> Figure:
    """Draw -log10 p of a locus's variants against their position, coloured by r2 with the lead, and its genes.

    Args:
        stats: chromosome, base_pair_location, neg_log_10_p_value, rsid and r2 (squared correlation with the lead; null
            or NaN where not known), one row a variant of the locus's chromosome; rows without a p are left out.
        lead: the lead's row in `stats`.
        span: first and last position shown, base pairs.
        genes: gene, chromosome, start, end and tss (null where not known) of any genes; those inside are drawn, with an
            arrow along the strand where the transcription start tells it. None or none at all: no track.
        threshold: genome-wide significance, a p-value, drawn as a line.
        build: genome build that positions are of.
        title: above the figure.
    """
    chromosome, at, strength, name = stats.select("chromosome", "base_pair_location", "neg_log_10_p_value", "rsid").row(
        lead
    )
    name = name or f"{chromosome}:{at}"
    low, high = (position / 1e6 for position in span)
    inside = _genes_inside(genes, str(chromosome), span)
    n_rows = min(inside.height, MAX_GENE_ROWS)
    track = 0.25 + GENE_ROW * (n_rows + 1) / 72
    fig = new_figure(8, 3.9 + (track if inside.height else 0), title)
    if inside.height:
        ax, below = fig.subplots(2, 1, sharex=True, height_ratios=[3.9, track])
    else:
        ax = below = fig.subplots()
    style_axes(ax, "", r"$-\log_{10}\,p$", grid=False)
    ax.set_xlim(low, high)
    _draw_variants(ax, stats.with_row_index("row").filter(pl.col("row") != lead), threshold)
    ax.scatter([at / 1e6], [strength], s=70, marker="D", color=VERMILION, edgecolors=INK, linewidths=0.8, zorder=5)
    line = -math.log10(threshold)
    ax.axhline(line, color=INK, linewidth=0.8, linestyle="--", zorder=1)
    ax.set_ylim(0, max(strength, line) * 1.12)
    if below is not ax:
        style_axes(below, grid=False)
        below.spines["left"].set_visible(False)
        below.set_yticks([])
        ax.tick_params(axis="x", labelbottom=False)
    below.set_xlabel(
        f"position on chromosome {chromosome}, Mb" + (f" ({build})" if build else ""), fontsize=FONT, color=INK
    )
    below.xaxis.set_major_locator(MaxNLocator(6))
    below.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    if below is not ax:
        _draw_genes(below, inside, span)
    place_labels(ax, [at / 1e6], [strength], [name], _points(stats))
    return fig


def _points(stats: pl.DataFrame) -> np.ndarray:
    """Return the (n, 2) points that a label may not cover: those that stand out of the floor."""
    high = stats.filter(pl.col("neg_log_10_p_value") > 2)
    return high.select(pl.col("base_pair_location") / 1e6, "neg_log_10_p_value").to_numpy()


def _draw_variants(ax: Axes, variants: pl.DataFrame, threshold: float) -> None:
    """Draw variants as points, the more they correlate with the lead the further in front; without r2 as rings."""
    variants = variants.filter(pl.col("neg_log_10_p_value").is_finite()).with_columns(
        x=pl.col("base_pair_location") / 1e6, r2=pl.col("r2").fill_nan(None)
    )
    unknown = variants.filter(pl.col("r2").is_null())
    if unknown.height:
        ax.scatter(
            unknown["x"].to_numpy(), unknown["neg_log_10_p_value"].to_numpy(), s=16, facecolors="none",
            edgecolors=GREY, linewidths=0.8, label="not known", zorder=2,
        )  # fmt: skip
    top = len(R2_COLOURS)
    for k, colour in enumerate(R2_COLOURS):
        within = pl.col("r2") >= k / top
        points = variants.filter(within & (pl.col("r2") < (k + 1) / top) if k + 1 < top else within)
        # Drawn where it is empty too: the legend always tells the whole scale.
        ax.scatter(
            points["x"].to_numpy(), points["neg_log_10_p_value"].to_numpy(), s=22, color=colour, edgecolors=GREY,
            linewidths=0.3, label=f"{k / top:.1f} to {(k + 1) / top:.1f}", zorder=3,
        )  # fmt: skip
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1], labels[::-1], title=r"$r^2$ with the lead", title_fontsize=SMALL, fontsize=SMALL,
        loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, labelcolor=INK, handletextpad=0.2,
    )  # fmt: skip
    line = "p = " + f"{threshold:g}".replace("e-0", "e-")
    ax.annotate(
        line, (1, -math.log10(threshold)), xycoords=("axes fraction", "data"), xytext=(4, 0),
        textcoords="offset points", va="center", fontsize=SMALL, color=INK,
    )  # fmt: skip


def _genes_inside(genes: pl.DataFrame | None, chromosome: str, span: tuple[int, int]) -> pl.DataFrame:
    """Return the genes that reach into the span, once each, from left to right."""
    columns = {"gene": pl.String, "start": pl.Int64, "end": pl.Int64, "tss": pl.Int64}
    if genes is None:
        return pl.DataFrame(schema=columns)
    here = pl.col("chromosome").cast(pl.String) == chromosome
    inside = genes.filter(here & (pl.col("start") <= span[1]) & (pl.col("end") >= span[0]))
    return inside.select(*columns).unique(["gene", "start", "end"]).sort("start", "end", "gene")


def _draw_genes(ax: Axes, genes: pl.DataFrame, span: tuple[int, int]) -> None:
    """Draw genes as bars with their names above, in rows so that nothing overlaps; what finds no row is counted."""
    low, high = (position / 1e6 for position in span)
    width = float(axes_points(ax)[0])
    a_point = (high - low) / width
    ends: list[float] = []  # of each row, in Mb
    left_out = 0
    for gene, start, end, tss in genes.iter_rows():
        first, last = max(start / 1e6, low), min(end / 1e6, high)
        text = {start: f"{gene} \u2192", end: f"\u2190 {gene}"}.get(tss, gene)
        half = (0.31 * SMALL * len(text) + 3) * a_point
        centre = min(max((first + last) / 2, low + half), high - half)
        left, right = min(first, centre - half), max(last, centre + half)
        row = next((k for k, taken in enumerate(ends) if taken < left), len(ends))
        if row == MAX_GENE_ROWS:
            left_out += 1
            continue
        ends[row : row + 1] = [right]
        ax.plot([first, max(last, first + 2 * a_point)], [-row, -row], color=BLUE, linewidth=3, solid_capstyle="butt")
        ax.text(
            centre, -row + 0.22, text, ha="center", va="bottom", fontsize=SMALL, color=INK, style="italic",
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip
    ax.set_ylim(-max(len(ends), 1) + 0.5, 1.0)
    if left_out:
        ax.annotate(
            f"{left_out} more", (1, 0), xycoords="axes fraction", xytext=(4, 0), textcoords="offset points",
            fontsize=SMALL, color=GREY,
        )  # fmt: skip
