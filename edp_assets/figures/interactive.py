"""Interactive figures of phenotypes and tables: scatter plots, distributions, the heat map of hits.

Those of a GWAS are in `interactive_gwas`; still ones, by matplotlib, in the other modules. What is returned says what
a figure shows; the page draws it, in colours of ink and ground that are its own, light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from edp_assets.figures.colours import GREY, INK, ON_BOTH, ON_BOTH_ALPHA, ORANGE, OTHER, VERMILION
from edp_assets.figures.labels import name_points, shared
from edp_assets.figures.specification import Axis, Figure, Line, Mark, Scale, columns_of, numbers

WHITES_TO_REDS = ("#fde0c5", "#facba6", "#f8b58b", "#f59e72", "#f2855d")
HEIGHT = 340
"""Of a figure, screen pixels, where nothing else is said."""
MAX_PEOPLE = 20_000
"""Most people of a UMAP that are drawn, evenly chosen: more cannot be told apart."""
MAX_NAMED = 25
"""Points that are named at most."""
CLUSTER = "cluster {}"
"""What a cluster is called."""
HEAT_ROWS = 60
"""Most codes of the heat map, those of the most genes."""


def threshold(at: float, *, upright: bool = False) -> Line:
    """Return a threshold: across the width at a height, or upright at a place of the x axis."""
    return Line(at, VERMILION, upright)


def groups(names: Sequence[str]) -> dict[str, str]:
    """Return a colour a name, of the first few; all others are grey, as `other`."""
    return dict(zip(names, ON_BOTH, strict=False))


def scatter(
    table: pl.DataFrame,
    x: str,
    y: str,
    group: str,
    tooltips: Mapping[str, str],
    colours: Mapping[str, str] | None = None,
) -> list[Mark]:
    """Return a point a row, coloured by the column `group`, with what a hover tells.

    Args:
        table: x, y, group, selected and the columns of tooltips; those that are not selected are drawn hollow.
        x: column.
        y: column, the strength.
        group: column.
        tooltips: label -> column.
        colours: of groups, all others are `other`. Without it the first have one of those that have a selected row,
            then of those of the strongest.
    """
    if colours is None:
        ranked = table.group_by(group).agg(pl.col("selected").any(), pl.col(y).max())
        colours = groups(ranked.sort("selected", y, group, descending=[True, True, False])[group].to_list())
    shown = table.with_columns(
        fill=pl.when("selected").then(ON_BOTH_ALPHA).otherwise(0.0).cast(pl.Float32),
        _group=pl.when(pl.col(group).is_in(list(colours))).then(group).otherwise(pl.lit("other")),
    )
    tips = [(label, f"@{{{column}}}") for label, column in tooltips.items()]
    there, marks = set(shown["_group"]), []
    for name in (name for name in [*colours, "other"] if name in there):
        columns = columns_of(shown.filter(pl.col("_group") == name), x, y, *tooltips.values(), "fill")
        marks.append(
            Mark("scatter", columns, {"x": x, "y": y}, colours.get(name, OTHER), fill_alpha="fill", size=7,
                 legend=name, tooltips=tips)
        )  # fmt: skip
    return marks


def cluster_colours(clusters: pl.Series, selection: pl.DataFrame) -> dict[str, str]:
    """Return the colours of an encoder's clusters, the same in all its figures: those that matter have one.

    That are those with a selected phenotype, then those of the smallest p.

    Args:
        clusters: of people.
        selection: cluster, selected, p_fisher, one row a code and cluster; or nothing at all.
    """
    known = selection if selection.height else pl.DataFrame(schema={"cluster": pl.Int32, **_OF_CLUSTER})
    ranked = known.group_by("cluster").agg(pl.col("selected").any(), pl.col("p_fisher").min())
    every = pl.concat([clusters.cast(pl.Int32), ranked["cluster"].cast(pl.Int32)]).unique().to_frame("cluster")
    order = every.join(ranked.cast({"cluster": pl.Int32}), on="cluster", how="left").sort(
        pl.col("selected").fill_null(value=False), "p_fisher", "cluster", descending=[True, False, False],
        nulls_last=True,
    )  # fmt: skip
    return groups([CLUSTER.format(cluster) for cluster in order["cluster"]])


_OF_CLUSTER: dict[str, Any] = {"selected": pl.Boolean, "p_fisher": pl.Float64}


def umap(clusters: pl.DataFrame, colours: Mapping[str, str]) -> Figure:
    """Draw people's embeddings in two dimensions, coloured and numbered by cluster (paper, Figure 3); no id is kept.

    Args:
        clusters: cluster, umap_1, umap_2, one row a person; of more than `MAX_PEOPLE` an even share is drawn.
        colours: of clusters, see `cluster_colours`.
    """
    shown = clusters.gather_every(math.ceil(max(clusters.height, 1) / MAX_PEOPLE))
    name = pl.format(CLUSTER, "cluster")
    shown = shown.with_columns(_group=pl.when(name.is_in(list(colours))).then(name).otherwise(pl.lit("other")))
    there = set(shown["_group"])
    marks = [
        Mark(
            "scatter", columns_of(shown.filter(pl.col("_group") == name), "umap_1", "umap_2", "cluster"),
            {"x": "umap_1", "y": "umap_2"}, colours.get(name, OTHER), alpha=ON_BOTH_ALPHA, size=4, legend=name,
            tooltips=[("cluster", "@cluster")],
        )
        for name in [*colours, "other"] if name in there
    ]  # fmt: skip
    middles = clusters.group_by("cluster").agg(pl.median("umap_1", "umap_2")).sort("cluster")
    labels = [(x, y, str(cluster)) for cluster, x, y in middles.iter_rows()]
    return Figure(Axis("UMAP 1"), Axis("UMAP 2"), 420, marks=marks, labels=labels, legend="right")


def auc_pval(selection: pl.DataFrame, *, min_auc: float, max_p: float) -> Figure:
    """Draw every code's out-of-fold AUC and rank-sum p (paper, Figure 2, right); filled and named: selected.

    Args:
        selection: icd10, description, chapter, cases, roc_auc_out_of_fold, p_rank_sum, selected; one row a code.
        min_auc: threshold on the AUC, drawn as a line.
        max_p: threshold on the p-value, drawn as a line.
    """
    table = _with_p(selection, "p_rank_sum").drop_nulls(["roc_auc_out_of_fold", "neg_log_10_p"])
    tips = {"code": "icd10", "": "description", "cases": "cases", "AUC": "roc_auc_out_of_fold", "-log10 p": _P}
    marks = scatter(table, "roc_auc_out_of_fold", _P, "chapter", tips)
    lines = [threshold(min_auc, upright=True), threshold(-math.log10(max_p))]
    x, y = Axis("ROC-AUC, out of fold"), Axis("rank-sum -log10 p")
    figure = Figure(x, y, HEIGHT, marks=marks, lines=lines, legend="right")
    _name_codes(figure, table, "roc_auc_out_of_fold")
    return figure


def percentage_pval(selection: pl.DataFrame, colours: Mapping[str, str], *, max_p: float) -> Figure:
    """Draw the share of each cluster that has each code, and Fisher's p (paper, Figure 3); filled, named: selected.

    Args:
        selection: icd10, description, cluster, cases, percentage, p_fisher, selected; one row a code and cluster.
        colours: of clusters, see `cluster_colours`.
        max_p: threshold on the p-value, drawn as a line.
    """
    table = _with_p(selection, "p_fisher").drop_nulls(["percentage", "neg_log_10_p"])
    table = table.with_columns(in_cluster=pl.format(CLUSTER, "cluster"))
    tips = {"code": "icd10", "": "description", "cluster": "cluster", "cases in it": "cases", "%": "percentage",
            "-log10 p": _P}  # fmt: skip
    marks = scatter(table, "percentage", _P, "in_cluster", tips, colours)
    x, y = Axis("% of the cluster that has the code"), Axis("Fisher -log10 p")
    figure = Figure(x, y, HEIGHT, marks=marks, lines=[threshold(-math.log10(max_p))], legend="right")
    _name_codes(figure, table, "percentage")
    return figure


_P = "neg_log_10_p"


def _name_codes(figure: Figure, table: pl.DataFrame, x: str) -> None:
    """Name the selected codes: on paper no hover does."""
    selected = table.filter("selected").sort(_P, "icd10", descending=[True, False])
    named = shared(selected.select(x, _P, "icd10").iter_rows(), 24, ", ")
    name_points(figure, table.select(x, _P).to_numpy(), named, MAX_NAMED)


def _with_p(table: pl.DataFrame, p: str) -> pl.DataFrame:
    """Add -log10 p; a p that is 0 in the table is drawn at the smallest float."""
    return table.with_columns(neg_log_10_p=-pl.col(p).clip(lower_bound=1e-300).log10())


def score_distribution(score: NDArray, cases: NDArray[np.bool_], bins: int = 40) -> Figure:
    """Draw the distribution of a score among cases and controls (paper, Figure 2, left): counts of people, no ids.

    Args:
        score: (n_participants,).
        cases: (n_participants,) True for cases.
        bins: of equal width, over all scores.
    """
    edges = np.histogram_bin_edges(score, bins) if len(score) else np.array([0.0, 1.0])
    marks = []
    for members, colour, name in ((~cases, GREY, "controls"), (cases, ORANGE, "cases")):
        counts, _ = np.histogram(score[members], edges)
        people = int(counts.sum())
        columns = {
            "left": numbers(edges[:-1]),
            "right": numbers(edges[1:]),
            "density": numbers(counts / max(people, 1) / np.diff(edges)),
            "people": counts.astype("<i4"),
        }
        at: dict[str, str | float] = {"left": "left", "right": "right", "top": "density", "bottom": 0}
        tips = [(name, "@people"), ("score", "@left{0.00} to @right{0.00}")]
        marks.append(Mark("quad", columns, at, colour, 0.55, legend=f"{name} ({people:,})", tooltips=tips))
    return Figure(Axis("score"), Axis("density", (0, None)), 260, marks=marks, legend="right")


def heat_map(hits: pl.DataFrame) -> Figure:
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
    most = max(int(shown["genes"].max() or 1), 4)  # type: ignore[arg-type]
    place = {"x": "organ", "y": "code"}
    columns = columns_of(shown, "organ", "code", "genes", "href")
    cells = Mark(
        "rect", columns, {**place, "width": 0.94, "height": 0.9},
        Scale("genes", WHITES_TO_REDS, 0, most), link="href",
        tooltips=[("organ", "@organ"), ("code", "@code"), ("genes", "@genes")],
    )  # fmt: skip
    texts = Mark("text", columns, {**place, "text": "genes"}, INK)
    height, width = 110 + 24 * len(codes), min(1200, 420 + 150 * len(organs))
    return Figure(Axis("", organs, opposite=True), Axis("", codes), height, width, [cells, texts])
