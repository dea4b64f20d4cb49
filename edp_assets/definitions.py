"""build_defs(): the code location, nothing else."""

from __future__ import annotations

import dagster as dg

from edp_assets.graph import graph


def build_defs() -> dg.Definitions:
    """Return the graph of assets."""
    return dg.Definitions.merge(graph)


defs = build_defs()
