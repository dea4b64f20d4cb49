"""What a check of a whole partition found, as rows of the table `asset_checks`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import polars as pl

from edp_assets.assets.encoders import ENCODERS
from edp_assets.science.findings import Finding
from edp_assets.storage.lake import Cell
from edp_assets.storage.schemas import empty
from edp_assets.storage.workspace import StageSpec


def rows_of(spec: StageSpec, cell: Cell, findings: Iterable[Finding]) -> pl.DataFrame:
    """Return findings of one partition as rows of `asset_checks`; those of severity off are none."""
    keys = dict(cell)
    label = {
        "asset": "/".join(spec.asset),
        "encoder": spec.asset[0] if spec.asset[0] in ENCODERS else None,
        "organ": keys.get("organ"),
        "icd10": keys.get("icd10"),
    }
    rows = [label | asdict(finding) for finding in findings if finding.severity != "off"]
    return pl.DataFrame(rows, schema=empty("asset_checks").schema)
