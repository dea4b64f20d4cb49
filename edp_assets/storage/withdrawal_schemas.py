"""Stored tables of withdrawals: when they were carried out, who encoders were trained on; others are in `schemas`."""

from __future__ import annotations

import polars as pl

from edp_assets.storage.columns import ENCODER, ORGAN, Column, Schema

WITHDRAWALS: dict[str, Schema] = {
    "trained_on": {
        "encoder": ENCODER,
        "organ": ORGAN,
        "eid": Column(
            pl.String, "a participant whose scan it was trained on; null: they withdrew since", nullable=True
        ),
    },
    "withdrawals": {
        "carried_out": Column(pl.String, "when, ISO 8601, UTC"),
        "on_list": Column(pl.Int64, "people on the cohort's list of the withdrawn at that time"),
        "newly": Column(pl.Int64, "of them, those who were still in what is stored, and were taken out"),
        "files_rewritten": Column(pl.Int64, "files of the lake that were written again without them"),
        "partitions_removed": Column(
            pl.Int64, "partitions of codes, organs or encoders that are no longer made: removed, as they counted them"
        ),
        "figures_removed": Column(pl.Int64, "figures of people that were removed, to be drawn again without them"),
    },
}
"""Tables of withdrawals, by name."""
