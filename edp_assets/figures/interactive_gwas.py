"""Interactive figures of associations: Manhattan and quantile-quantile plots, the PheWAS volcano.

What of a GWAS is drawn is decided in `thinning`.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from edp_assets.figures.colours import BLUE, GREY, SKY, VERMILION
from edp_assets.figures.genome import genome_position
from edp_assets.figures.interactive import scatter, threshold
from edp_assets.figures.labels import name_points, shared
from edp_assets.figures.specification import Axis, Figure, Mark, columns_of, numbers
from edp_assets.figures.thinning import Thinned

MAX_LABELS = 25
NEAR = 0.035
"""Labels closer than this share of the axis to a stronger one are left out: a hover names the gene."""
LABELLED_TRAITS = 8
LETTERS = 31
"""Of a trait that are written beside its point."""


def manhattan(thinned: Thinned, genes: pl.DataFrame, significant: float) -> Figure:
    """Draw -log10 p along the genome; a hover tells the variant; genes hit are named at their best variant.

    Args:
        thinned: what is drawn.
        genes: gene, chromosome, base_pair_location, rsid, neg_log_10_p_value: the phenotype's gene hits.
        significant: genome-wide, -log10 p, drawn as a line.
    """
    width = max((high for _, high in thinned.spans.values()), default=1.0)
    top = float(thinned.notable[_P].max() or 0)  # type: ignore[arg-type]
    bounds = np.array([low for low, _ in thinned.spans.values()])
    odd = pl.Series((np.searchsorted(bounds, thinned.pixels["x"].to_numpy(), side="right") - 1) % 2 == 1)
    marks = [
        Mark("scatter", columns_of(thinned.pixels.filter(own), "x", _P), _POINT, colour, size=3)
        for own, colour in ((~odd, BLUE), (odd, SKY))
    ]
    tips = [("variant", "@rsid"), ("position", "@chromosome:@base_pair_location{0,0}"), _TOLD]
    hit = thinned.notable[_P] >= significant
    for own, colour, size in ((~hit, GREY, 4), (hit, VERMILION, 6)):
        points = thinned.notable.filter(own)
        marks.append(
            Mark("scatter", columns_of(points, *points.columns), _POINT, colour, 0.85, size=size, tooltips=tips)
        )
    best = _best_variants(genes, thinned)
    tips = [("gene", "@gene"), ("best variant", "@rsid, @chromosome:@base_pair_location{0,0}"), _TOLD]
    columns = columns_of(best, "x", _P, "gene", "rsid", "chromosome", "base_pair_location")
    marks.append(
        Mark("scatter", columns, _POINT, VERMILION, fill_alpha=0, size=11, line_width=1.5, tooltips=tips)
    )  # fmt: skip
    return Figure(
        Axis("chromosome", (-0.01 * width, 1.03 * width), _chromosomes(thinned, width)),
        Axis("-log10 p", (0.0, max(top, significant) * 1.18)),
        360,
        marks=marks,
        lines=[threshold(significant)],
        labels=_apart(best, width),
    )


_P = "neg_log_10_p_value"
_POINT = {"x": "x", "y": _P}
_TOLD = ("-log10 p", "@neg_log_10_p_value{0.00}")


def _best_variants(genes: pl.DataFrame, thinned: Thinned) -> pl.DataFrame:
    """Return the best variant of each gene, the strongest first."""
    return (
        genes.drop_nulls(["gene", _P])
        .with_columns(x=genome_position(thinned.offsets))
        .drop_nulls("x")
        .sort([_P, "gene"], descending=[True, False])
        .unique("gene", keep="first", maintain_order=True)
    )


def _apart(best: pl.DataFrame, width: float) -> list[tuple[float, float, str]]:
    """Return place and name of the strongest genes, those that stand apart; a hover on any gene's mark tells it."""
    named: list[tuple[float, float, str]] = []
    for x, y, gene in best.select("x", _P, "gene").iter_rows():
        if all(abs(x - other) > NEAR * width for other, _, _ in named) and len(named) < MAX_LABELS:
            named.append((x, y, gene))
    return named


def _chromosomes(thinned: Thinned, width: float) -> list[tuple[float, str]]:
    """Return middle and name of each chromosome; of narrow ones every second is named."""
    return [
        ((low + high) / 2, name.removeprefix("chr") if (high - low) / width > 0.015 or k % 2 == 0 else "")
        for k, (name, (low, high)) in enumerate(thinned.spans.items())
    ]


def qq(quantiles: pl.DataFrame, tested: int) -> Figure:
    """Draw observed against expected -log10 p under no association, with the 95% band of each rank.

    Args:
        quantiles: rank (1 the strongest), neg_log_10_p_value.
        tested: how many variants were tested: more than were stored, where only those of small p are.
    """
    from scipy.stats import beta

    ranks = quantiles["rank"].to_numpy().astype(float)
    expected = -np.log10((ranks - 0.5) / tested)
    low, high = (-np.log10(beta.ppf(q, ranks, tested - ranks + 1)) for q in (0.975, 0.025))
    columns = {
        "expected": numbers(expected),
        "low": numbers(low),
        "high": numbers(high),
        "observed": numbers(quantiles[_P].to_numpy()),
        "rank": ranks.astype("<i4"),
    }
    marks = []
    if len(ranks):
        at = {"x": "expected", "y1": "low", "y2": "high"}
        marks.append(Mark("varea", columns, at, GREY, 0.3, legend="95% band"))
        ends = numbers([0, expected.max()])
        marks.append(Mark("line", {"x": ends, "y": ends}, {"x": "x", "y": "y"}, GREY, legend="no association"))
    tips = [("rank", "@rank{0,0}"), ("expected", "@expected{0.00}"), ("observed", "@observed{0.00}")]
    marks.append(Mark("scatter", columns, {"x": "expected", "y": "observed"}, BLUE, size=5, tooltips=tips))
    return Figure(Axis("expected -log10 p"), Axis("observed -log10 p"), 320, marks=marks, legend="top_left")


def volcano(phewas: pl.DataFrame) -> Figure:
    """Draw a phenotype's associations with other traits: effect and -log10 p, coloured by category; hollow: chance.

    Args:
        phewas: trait, description, category, kind, n, beta, neg_log_10_p_value, neg_log_10_p_bonferroni; rows without
            a p are left out. Filled are those below 0.05 by Bonferroni; the strongest are named.
    """
    table = phewas.drop_nulls(["beta", _P]).with_columns(
        pl.col("category").fill_null("no category"),
        selected=(pl.col("neg_log_10_p_bonferroni") > -np.log10(0.05)).fill_null(value=False),
    )
    tips = {"trait": "trait", "": "description", "kind": "kind", "people": "n", "beta": "beta", "-log10 p": _P}
    marks = scatter(table, "beta", _P, "category", tips)
    figure = Figure(Axis("effect (beta)"), Axis("-log10 p"), 400, marks=marks, legend="right")
    best = table.filter("selected").sort(_P, descending=True)
    best = best.select("beta", _P, pl.col("description").fill_null(pl.col("trait")))
    # A phecode and its parent are often the same people.
    named = shared(best.iter_rows(), LETTERS, " / ")
    name_points(figure, table.select("beta", _P).to_numpy(), named, LABELLED_TRAITS)
    return figure
