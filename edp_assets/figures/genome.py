"""The genome as one axis: chromosomes in their natural order, one after another. Nothing is drawn here."""

from __future__ import annotations

import polars as pl


def chromosome_offsets(stats: pl.DataFrame) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Return where each chromosome starts on the axis (minus its first position), and what it spans, in natural order.

    Args:
        stats: chromosome, base_pair_location; variants, or the first and last of each chromosome.
    """
    ranges = stats.group_by("chromosome").agg(
        low=pl.col("base_pair_location").min(), high=pl.col("base_pair_location").max()
    )
    rows = sorted(ranges.iter_rows(), key=lambda row: natural(row[0]))
    gap = 0.005 * sum(high - low for _, low, high in rows) + 1
    offsets, spans, start = {}, {}, 0.0
    for chromosome, low, high in rows:
        offsets[chromosome] = start - low + gap / 2
        spans[chromosome] = (start, start + high - low + gap)
        start = spans[chromosome][1]
    return offsets, spans


def natural(chromosome: str) -> tuple[int, str]:
    """Sort 2 before 10, and X, Y, MT after the numbers."""
    name = chromosome.removeprefix("chr")
    return (int(name), "") if name.isdigit() else (1000, {"X": "0", "Y": "1"}.get(name, name))


def genome_position(offsets: dict[str, float]) -> pl.Expr:
    """Return the position along the axis; null on a chromosome that has none."""
    start = pl.col("chromosome").replace_strict(offsets, default=None, return_dtype=pl.Float64)
    return start + pl.col("base_pair_location")
