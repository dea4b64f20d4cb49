"""Independent loci among associated variants, by distance or by linkage disequilibrium, and which loci are the same.

Genotypes come in as a function of rows; no genes here, they are in `genes.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray


def lead_variants(stats: pl.DataFrame, neg_log_10_threshold: float, window_kb: float) -> pl.DataFrame:
    """Return the lead variant of each locus of one phenotype's summary statistics.

    Greedy clumping by distance (plink1.9 --clump with r2 0): the strongest associated variant of a chromosome is a lead
    and takes every associated variant within `window_kb` of it, on either side; the strongest left is the next lead. Of
    equal variants the one of lower position leads.

    Args:
        stats: summary statistics with chromosome, base_pair_location and neg_log_10_p_value among the columns.
        neg_log_10_threshold: variants above it are associated (p < 5e-8: 7.30).
        window_kb: distance to a lead within which variants belong to its locus, thousand base pairs.

    Returns:
        The leads' rows with locus_start and locus_end (positions of the outermost variants taken), in genome order as
        the input has its chromosomes.
    """
    hits = stats.filter(
        pl.col("neg_log_10_p_value").is_not_nan() & (pl.col("neg_log_10_p_value") > neg_log_10_threshold)
    )
    loci = []
    for _, chromosome in hits.group_by("chromosome", maintain_order=True):
        ordered = chromosome.sort("base_pair_location", maintain_order=True)
        rows = _clump(
            ordered["base_pair_location"].to_numpy(), ordered["neg_log_10_p_value"].to_numpy(), 1000 * window_kb
        )
        loci.append(
            ordered[[lead for lead, _, _ in rows]].with_columns(
                pl.Series("locus_start", [start for _, start, _ in rows], dtype=pl.Int64),
                pl.Series("locus_end", [end for _, _, end in rows], dtype=pl.Int64),
            )
        )
    if not loci:
        return hits.with_columns(pl.lit(None, pl.Int64).alias("locus_start"), pl.lit(None, pl.Int64).alias("locus_end"))
    return pl.concat(loci)


def lead_variants_by_ld(
    stats: pl.DataFrame,
    r2_with: Callable[[int, NDArray[np.int64]], NDArray[np.float64]],
    neg_log_10_threshold: float,
    neg_log_10_member: float,
    min_r2: float,
    window_kb: float,
) -> pl.DataFrame:
    """Return the lead variant of each locus of one phenotype's summary statistics, by LD clumping.

    As plink1.9 --clump: the strongest associated variant left is a lead, and takes every variant left above the
    members' threshold that lies within `window_kb` of it and correlates with it; a variant is in one locus at most. Of
    equal variants the one of lower position leads.

    Args:
        stats: summary statistics with chromosome, base_pair_location and neg_log_10_p_value among the columns.
        r2_with: of a row of `stats` and (n_members,) other rows the squared correlation of genotypes with each,
            (n_members,); NaN, where a genotype does not vary or is not there, counts as none.
        neg_log_10_threshold: a lead is above it (--clump-p1).
        neg_log_10_member: other variants of a locus are above it (--clump-p2).
        min_r2: least squared correlation with the lead (--clump-r2).
        window_kb: largest distance to the lead, thousand base pairs (--clump-kb).

    Returns:
        As `lead_variants`.
    """
    used = stats.with_row_index("_row").filter(
        pl.col("neg_log_10_p_value").is_not_nan() & (pl.col("neg_log_10_p_value") > neg_log_10_member)
    )
    found: list[tuple[int, int, int]] = []
    for _, chromosome in used.group_by("chromosome", maintain_order=True):
        ordered = chromosome.sort("base_pair_location", maintain_order=True)
        position, rows = ordered["base_pair_location"].to_numpy(), ordered["_row"].to_numpy().astype(np.int64)
        strength = ordered["neg_log_10_p_value"].to_numpy()
        left, leads = np.ones(len(position), dtype=bool), []
        for lead in np.argsort(-strength, kind="stable"):
            if strength[lead] <= neg_log_10_threshold:
                break
            if not left[lead]:
                continue
            left[lead] = False
            reach = 1000 * window_kb
            first, last = np.searchsorted(position, [position[lead] - reach, position[lead] + reach + 1e-3])
            near = first + np.flatnonzero(left[first:last])
            taken = near[np.nan_to_num(r2_with(int(rows[lead]), rows[near])) >= min_r2] if len(near) else near
            left[taken] = False
            bounds = position[np.append(taken, lead)]
            leads.append((int(rows[lead]), int(bounds.min()), int(bounds.max())))
        place = dict(zip(rows.tolist(), position.tolist(), strict=True))
        found += sorted(leads, key=lambda locus: place[locus[0]])
    return stats[[row for row, _, _ in found]].with_columns(
        pl.Series("locus_start", [start for _, start, _ in found], dtype=pl.Int64),
        pl.Series("locus_end", [end for _, _, end in found], dtype=pl.Int64),
    )


def merge_loci(leads: pl.DataFrame, by: list[str], gap_kb: float) -> pl.DataFrame:
    """Return loci with those that overlap, or lie nearer than a gap, made one.

    Args:
        leads: chromosome, locus_start, locus_end and the columns `by`.
        by: within which loci are made one (a method, say).
        gap_kb: largest distance between the bounds of two loci that count as one, thousand base pairs.

    Returns:
        `by`, chromosome, locus_start, locus_end.
    """
    within = [*by, "chromosome"]
    ordered = leads.select(*within, "locus_start", "locus_end").sort(*within, "locus_start", nulls_last=True)
    before = pl.col("locus_end").cum_max().shift(1).over(within)
    apart = (pl.col("locus_start") > before + 1000 * gap_kb).fill_null(True)
    return (
        ordered.with_columns(locus=apart.cum_sum().over(within))
        .group_by(*within, "locus", maintain_order=True)
        .agg(pl.col("locus_start").min(), pl.col("locus_end").max())
        .drop("locus")
    )


def shared_loci(loci: pl.DataFrame, others: pl.DataFrame, gap_kb: float) -> pl.DataFrame:
    """Return those of the loci that overlap one of the others, or lie nearer than a gap; both as of `merge_loci`."""
    if loci.is_empty() or others.is_empty():  # of most codes, and there are thousands
        return loci.clear()
    numbered = loci.with_row_index("_locus")
    pairs = numbered.join(others.select("chromosome", "locus_start", "locus_end"), on="chromosome", suffix="_other")
    gap = 1000 * gap_kb
    near = pairs.filter(
        (pl.col("locus_start") <= pl.col("locus_end_other") + gap)
        & (pl.col("locus_start_other") <= pl.col("locus_end") + gap)
    )
    return numbered.join(near.select("_locus").unique(), on="_locus", how="semi", maintain_order="left").drop("_locus")


def _clump(
    position: NDArray[np.int64], neg_log_10_p_value: NDArray[np.float64], window: float
) -> list[tuple[int, int, int]]:
    """Return (index of the lead, start, end) of each locus by position; `position` is sorted."""
    left = np.ones(len(position), dtype=bool)
    loci = []
    # A stable sort keeps the lower position first among equals.
    for lead in np.argsort(-neg_log_10_p_value, kind="stable"):
        if not left[lead]:
            continue
        first, last = np.searchsorted(position, [position[lead] - window, position[lead] + window + 1e-3])
        members = first + np.flatnonzero(left[first:last])
        loci.append((int(lead), int(position[members[0]]), int(position[members[-1]])))
        left[first:last] = False
    return sorted(loci)
