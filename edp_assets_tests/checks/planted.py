"""A home of hand-written Parquet: an organ's chain from scans to scores, and labels, in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from edp_assets.seal import KEY
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Cell, Exclusion, Stored, cell_of
from edp_assets.storage.schemas import SCHEMAS, empty
from edp_assets.storage.workspace import Asset, Workspace

TOML = """
[cohort]
name = "planted"
genome_build = "GRCh37"
participants = "participants.csv"
diagnoses = "diagnoses.csv"
scans = "scans.csv"
withdrawn = "withdrawn.csv"
[genotypes]
path = "chr{chromosome}.bed"
[organs.liver]
"""
LIVER: Cell = (("organ", "liver"),)
K76: Cell = cell_of({"organ": "liver", "icd10": "K76"})


def planted(root: Path, checks: str = "", withdrawn: tuple[str, ...] = ()) -> Workspace:
    """Return the workspace of an empty home, of a cohort of nothing but settings."""
    folder = root / "cohort"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cohort.toml").write_text(f"{TOML}\n{checks}\n")
    (folder / "withdrawn.csv").write_text("".join(f"{eid}\n" for eid in withdrawn))
    home = Home(root / "home")
    home.root.mkdir(exist_ok=True)
    home.bind(folder)
    return Workspace(home)


def people(n: int) -> list[str]:
    return [f"{1_000_000 + i}" for i in range(n)]


def table(name: str, n: int, **columns: Any) -> pl.DataFrame:
    """Return n rows of a stored table: the columns given, people as eid, something of its type for every other."""
    frame = empty(name).clear(n)
    for column, about in SCHEMAS[name].items():
        if column == "eid" and column not in columns:
            columns[column] = people(n)
        elif column not in columns and not about.nullable:
            blank = {pl.String: "x", pl.Binary: b"x", pl.Boolean: False}.get(about.dtype, 1)  # type: ignore[call-overload]
            inner = "x" if about.dtype == pl.List(pl.String) else 1
            columns[column] = [[inner]] * n if isinstance(about.dtype, pl.List) else [blank] * n
    return frame.with_columns(
        pl.Series(column, values, dtype=SCHEMAS[name][column].dtype)
        if isinstance(values, (list, np.ndarray))
        else pl.lit(values, SCHEMAS[name][column].dtype).alias(column)
        for column, values in columns.items()
    )


def store(workspace: Workspace, asset: Asset, cell: Cell, frame: pl.DataFrame, excluded: int = 0, **notes: Any) -> Path:
    """Store a partition as its stage would."""
    out = [Exclusion(eid, "liver", asset[-1], "planted") for eid in people(excluded)]
    workspace.lake.write(asset, cell, asset[-1], Stored(frame, out, notes=notes), "planted")
    return workspace.lake.path(asset, cell)


def rewritten(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Replace a file by hand, its provenance kept, as pyarrow does; its seal, which would not fit, is left out."""
    found, metadata = pq.read_table(path, partitioning=None), pq.read_metadata(path).metadata
    made = change(found)
    with pq.ParquetWriter(path, made.schema, store_schema=False) as writer:
        writer.write_table(made)
        writer.add_key_value_metadata({k: v for k, v in metadata.items() if k != KEY.encode()})
