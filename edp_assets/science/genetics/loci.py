"""Independent loci among associated variants, by distance.

No linkage disequilibrium and no genes here; genes are in `genes.py`.
"""

from __future__ import annotations

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
