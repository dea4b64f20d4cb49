"""What of a GWAS is drawn: every hit, the strongest of the rest, and one point a pixel of all others. Nothing is drawn.

Statistics are streamed, so that memory does not grow with the number of variants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from edp_assets.figures.genome import chromosome_offsets, genome_position

NOTABLE = 3.0
"""Variants of this -log10 p and more are points of their own, up to `MAX_NOTABLE` and all hits; others share pixels."""
MAX_NOTABLE = 2_000
COLUMNS, ROWS = 600, 25
"""Pixels of the others: along the genome, and from 0 to `NOTABLE`."""
QUANTILE_STEP = 0.002
"""Resolution of the quantiles below `NOTABLE`, in -log10 p."""

KEYS = ("method", "cluster")
Key = tuple[str, int | None]


@dataclass(frozen=True)
class Thinned:
    """What is drawn of one phenotype's GWAS.

    Attributes:
        notable: x (place on the axis), chromosome, base_pair_location, rsid, neg_log_10_p_value: points of their own,
            the strongest first.
        pixels: x, neg_log_10_p_value: the middles of pixels that hold at least one of the other variants.
        quantiles: rank (1 the strongest), neg_log_10_p_value, strongest first.
        variants: how many variants with a p there are.
        associated: of them, those at the threshold or above.
        offsets: where each chromosome starts on the axis, minus its first position.
        spans: what each chromosome takes of the axis, in natural order.
    """

    notable: pl.DataFrame
    pixels: pl.DataFrame
    quantiles: pl.DataFrame
    variants: int
    associated: int
    offsets: dict[str, float]
    spans: dict[str, tuple[float, float]]

    @property
    def drawn(self) -> int:
        """How many points are drawn."""
        return self.notable.height + self.pixels.height


def thin(
    statistics: Callable[[], Iterable[pl.DataFrame]], threshold: float, coarser: float = 1.0
) -> dict[Key, Thinned]:
    """Return what is drawn of each phenotype, in the order of method and cluster.

    Args:
        statistics: gives the rows in frames of bounded size, and is asked twice: method, cluster, chromosome,
            base_pair_location, rsid, neg_log_10_p_value; rows without a p are left out.
        threshold: genome-wide significance, -log10 p: all variants from there on are drawn.
        coarser: 1 draws up to 15,000 pixels and 2,000 points of their own beside the hits; 2 a
            quarter and half as many.
    """
    ends = _ends(statistics())
    both = pl.concat([ends.select("chromosome", base_pair_location=end) for end in ("low", "high")])
    offsets, spans = chromosome_offsets(both)
    width = max((high for _, high in spans.values()), default=1.0)
    column, row = width / COLUMNS * coarser, NOTABLE / ROWS * coarser
    pixel = {"column": (genome_position(offsets) / column).floor(), "row": (_P / row).floor()}
    frames = _gathered(statistics(), pixel, min(NOTABLE, threshold))
    found = {}
    for method, cluster in ends.select(KEYS).unique().sort(KEYS, nulls_last=False).iter_rows():
        own = [_of(frame, method, cluster) for frame in frames]
        variants = int(_of(ends, method, cluster)["variants"].sum())
        notable, pixels, steps = own
        notable = notable.with_columns(x=genome_position(offsets))
        notable = notable.sort(["neg_log_10_p_value", "x"], descending=[True, False])
        associated = int((notable["neg_log_10_p_value"] >= threshold).sum())
        most = max(associated, int(MAX_NOTABLE / coarser))
        shared = notable[most:].select(**pixel).cast({"column": pl.Float64, "row": pl.Float64})
        pixels = _middles(pl.concat([pixels, shared]).unique(), column, row)
        ranked = _quantiles(notable["neg_log_10_p_value"].to_numpy(), steps)
        found[method, cluster] = Thinned(notable.head(most), pixels, ranked, variants, associated, offsets, spans)
    return found


_P = pl.col("neg_log_10_p_value")


def _ends(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return first and last position and the number of variants, of each phenotype and chromosome."""
    place, keys = pl.col("base_pair_location"), (*KEYS, "chromosome")
    ends = pl.DataFrame(schema=_ENDS)
    for frame in frames:
        own = frame.filter(_P.is_finite()).group_by(keys).agg(low=place.min(), high=place.max(), variants=pl.len())
        both = pl.concat([ends, own.cast(_ENDS)])  # type: ignore[arg-type]
        ends = both.group_by(keys).agg(pl.col("low").min(), pl.col("high").max(), pl.col("variants").sum())
    return ends


def _gathered(
    frames: Iterable[pl.DataFrame], pixel: dict[str, pl.Expr], single: float
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return notable variants, pixels that hold another, and how many of these lie in each step of the quantiles."""
    notable, pixels, steps = [], pl.DataFrame(schema=_PIXELS), pl.DataFrame(schema=_STEPS)
    for frame in frames:
        rows = frame.filter(_P.is_finite())
        notable.append(rows.filter(single <= _P).select(*KEYS, *_POINT))
        quiet = rows.filter(single > _P)
        pixels = pl.concat([pixels, quiet.select(*KEYS, **pixel).cast(_PIXELS)]).unique()  # type: ignore[arg-type]
        own = quiet.group_by(*KEYS, step=(_P / QUANTILE_STEP).floor()).agg(count=pl.len()).cast(_STEPS)  # type: ignore[arg-type]
        steps = pl.concat([steps, own]).group_by(*KEYS, "step").agg(pl.col("count").sum())
    return pl.concat(notable) if notable else pl.DataFrame(schema=_NOTABLE), pixels, steps


_KEYS = {"method": pl.String, "cluster": pl.Int32}
_ENDS = {**_KEYS, "chromosome": pl.String, "low": pl.Int64, "high": pl.Int64, "variants": pl.Int64}
_PIXELS = {**_KEYS, "column": pl.Float64, "row": pl.Float64}
_STEPS = {**_KEYS, "step": pl.Float64, "count": pl.Int64}
_NOTABLE = {
    **_KEYS, "chromosome": pl.String, "base_pair_location": pl.Int64, "rsid": pl.String,
    "neg_log_10_p_value": pl.Float32,
}  # fmt: skip
_POINT = ("chromosome", "base_pair_location", "rsid", "neg_log_10_p_value")


def _of(frame: pl.DataFrame, method: str, cluster: int | None) -> pl.DataFrame:
    return frame.filter(pl.col("method").eq(method) & pl.col("cluster").eq_missing(cluster)).drop(KEYS)


def _middles(pixels: pl.DataFrame, column: float, row: float) -> pl.DataFrame:
    middles = {"x": (pl.col("column") + 0.5) * column, "neg_log_10_p_value": (pl.col("row") + 0.5) * row}
    return pixels.select(**middles).sort("x", "neg_log_10_p_value")


def _quantiles(strongest: NDArray, steps: pl.DataFrame) -> pl.DataFrame:
    """Return rank and -log10 p: of the strongest a thousand and an even share, of the rest one a step.

    Args:
        strongest: (n_notable,) -log10 p, descending.
        steps: step, count: how many of the others lie in each step of `QUANTILE_STEP`.
    """
    n = len(strongest)
    ranks = np.unique(np.r_[np.arange(1, min(n, 1000) + 1), np.geomspace(1, max(n, 1), 500).astype(int)])[: max(n, 0)]
    below = steps.sort("step", descending=True)
    # As many as lie at or above a step's lower edge are at least that strong.
    edges = below["step"].to_numpy() * QUANTILE_STEP
    reached = n + below["count"].cum_sum().to_numpy()
    return pl.DataFrame(
        {
            "rank": np.r_[ranks, reached].astype(np.int64),
            "neg_log_10_p_value": np.r_[strongest[ranks - 1] if n else [], edges].astype(np.float64),
        }
    )
