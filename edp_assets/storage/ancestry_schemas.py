"""Stored tables of ancestry and relatedness: variants they are of, genotype PCs, relatives; others are in `schemas`."""

from __future__ import annotations

import polars as pl

from edp_assets.storage.columns import EID, VARIANT_STATISTICS, Column, Schema

ANCESTRY: dict[str, Schema] = {
    "ancestry_variants": {
        **{
            name: VARIANT_STATISTICS[name]
            for name in ("chromosome", "base_pair_location", "effect_allele", "other_allele")
        },
        "row": Column(pl.Int64, "its place in its genotype file, from 0"),
        "independent": Column(pl.Boolean, "kept by LD pruning: genotype PCs are of these"),
    },
    "genotype_pcs": {
        "eid": EID,
        **{
            f"pc{i}": Column(
                pl.Float64, f"genotype principal component {i}, computed; null: not asked for", nullable=True
            )
            for i in range(1, 11)
        },
    },
    "relatives": {
        "eid": EID,
        "relative": Column(
            pl.String, "a participant related to them; each pair has a row for either", participant=True
        ),
        "kinship": Column(pl.Float64, "KING-robust kinship, or the kinship table's"),
        "left_out": Column(pl.Boolean, "whether `eid` is left out of associations where a relative stands in them"),
    },
}
"""Tables of ancestry and relatedness, by name."""
