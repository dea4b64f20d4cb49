"""Which files the tables of figures name: a figure is a file beside the lake, which may be deleted without it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from edp_assets.storage import warehouse
from edp_assets.storage.cells import Cell
from edp_assets.storage.schemas import SCHEMAS, WAREHOUSE_TABLES

TABLES = tuple(name for name in WAREHOUSE_TABLES if "path" in SCHEMAS[name])
"""Tables whose column `path` names a figure, relative to EDP_HOME."""

FigureFiles = Mapping[tuple[str, str], Sequence[str]]
"""Asset and partition, as the warehouse names them -> the figures' paths."""


def figure_files(path: Path) -> FigureFiles:
    """Return the figures that the warehouse lists; none where there is no warehouse that can be asked."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    if path.exists():
        rows: list[tuple[str, str, str]] = []
        try:
            with warehouse.connect(path, read_only=True) as connection:
                there = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
                for table in there.intersection(TABLES):
                    columns = ", ".join(warehouse.PARTITION)
                    rows += connection.execute(f"SELECT {columns}, path FROM {table}").fetchall()  # noqa: S608
        except warehouse.WarehouseError:
            return found
        for asset, partition, figure in rows:
            found[asset, partition].append(figure)
    return found


def deleted(root: Path, files: FigureFiles, asset: tuple[str, ...], cell: Cell) -> bool:
    """Say whether a figure of a partition is not there any more."""
    paths = files.get(("/".join(asset), warehouse.stored_cell(cell)), ())
    return any(not (root / path).exists() for path in paths)
