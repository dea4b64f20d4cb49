"""The DuckDB warehouse: small result tables, and views over the lake, so that one file answers any question.

DuckDB takes one writing process or many readers: every write here is one short transaction that waits its turn.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from edp_assets.storage.lake import Cell, Lake
from edp_assets.storage.schemas import SCHEMAS, WAREHOUSE_TABLES, WAREHOUSE_VIEWS, Schema

if TYPE_CHECKING:
    import duckdb

WAIT_SECONDS = 60.0

_TYPES: dict[Any, str] = {
    pl.String: "VARCHAR", pl.Int32: "INTEGER", pl.Int64: "BIGINT", pl.Float32: "FLOAT", pl.Float64: "DOUBLE",
    pl.Boolean: "BOOLEAN", pl.List(pl.Float32): "FLOAT[]", pl.List(pl.Float64): "DOUBLE[]",
}  # fmt: skip

BESIDE = {"excluded": ("excluded",), "asset_checks": ("asset_checks", "failed_checks")}
"""Tables whose rows lie beside those of other tables' partitions, with the names of these files."""

PARTITION = "stored_asset", "stored_cell"
"""Two further columns of each warehouse table: which stored partition a row is from, so that it can be replaced."""


class WarehouseError(RuntimeError):
    """The warehouse cannot be opened."""


@contextmanager
def connect(
    path: Path, *, read_only: bool = False, wait_seconds: float = WAIT_SECONDS
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the warehouse, waiting while another process holds it.

    Raises:
        WarehouseError: it is still held after `wait_seconds`, or is no DuckDB file.
    """
    import duckdb

    deadline, pause = time.monotonic() + wait_seconds, 0.05
    while True:
        try:
            connection = duckdb.connect(str(path), read_only=read_only)
            break
        except duckdb.IOException as error:
            if "lock" not in str(error).lower() or time.monotonic() > deadline:
                raise WarehouseError(
                    f"{path} cannot be opened ({str(error).splitlines()[0]}). Close the program that holds it "
                    "(a duckdb shell, a notebook) and run again; the lake holds all results meanwhile."
                ) from None
            # Jitter: two writers that collided once do not collide for ever.
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
            pause = min(1.0, pause * 1.6)
    try:
        yield connection
    finally:
        connection.close()


def refresh(path: Path, lake: Lake, table: str, asset: tuple[str, ...], cells: Iterable[Cell]) -> None:
    """Replace the rows of the given stored partitions, in the table they belong to, in one transaction."""
    if table not in (*WAREHOUSE_TABLES, *WAREHOUSE_VIEWS):
        refresh_beside(path, lake, asset, cells)
        return
    with connect(path) as connection:
        connection.execute("BEGIN")
        _create_tables(connection)
        for cell in cells:
            _mirror(connection, lake, table, asset, cell)
        for name in WAREHOUSE_VIEWS:
            _create_view(connection, lake, name)
        connection.execute("COMMIT")


def refresh_beside(path: Path, lake: Lake, asset: tuple[str, ...], cells: Iterable[Cell]) -> None:
    """Replace the rows of what lies beside the given partitions; they themselves are not read, and may be damaged."""
    files = [name for names in BESIDE.values() for name in names]
    with connect(path) as connection:
        connection.execute("BEGIN")
        _create_tables(connection)
        known = _cells_beside(connection, asset)
        for cell in cells:
            # Of one that has nothing beside it, nor had, there is nothing to bring.
            if _name(cell) in known or any(lake.beside(asset, cell, file).exists() for file in files):
                _mirror_beside(connection, lake, asset, cell)
        for name in WAREHOUSE_VIEWS:
            if not _exists(connection, name):
                _create_view(connection, lake, name)
        connection.execute("COMMIT")


def rebuild(path: Path, lake: Lake, assets: Iterable[tuple[str, tuple[str, ...]]]) -> None:
    """Make every table and view anew from the lake (each (table, asset)), in one transaction."""
    with connect(path) as connection:
        connection.execute("BEGIN")
        for name in WAREHOUSE_TABLES:
            connection.execute(f"DROP TABLE IF EXISTS {name}")
        _create_tables(connection)
        for table, asset in assets:
            for cell in lake.cells(asset):
                _mirror(connection, lake, table, asset, cell)
        for name in WAREHOUSE_VIEWS:
            _create_view(connection, lake, name)
        connection.execute("COMMIT")


def _name(cell: Cell) -> str:
    return "|".join(key for _, key in cell)


def _cells_beside(connection: duckdb.DuckDBPyConnection, asset: tuple[str, ...]) -> set[str]:
    """Return the partitions of an asset of which the tables of `BESIDE` have rows."""
    found = set()
    for table in BESIDE:
        sql = f"SELECT DISTINCT {PARTITION[1]} FROM {table} WHERE {PARTITION[0]} = ?"  # noqa: S608
        found |= {cell for (cell,) in connection.execute(sql, ["/".join(asset)]).fetchall()}
    return found


def _exists(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    sql = "SELECT count(*) FROM information_schema.tables WHERE table_name = ?"
    return bool(connection.execute(sql, [name]).fetchall()[0][0])


def query(path: Path, sql: str, parameters: Iterable[Any] = ()) -> pl.DataFrame:
    """Answer one SQL question from the warehouse, read only."""
    with connect(path, read_only=True) as connection:
        return pl.DataFrame(connection.sql(sql, params=list(parameters)).to_arrow_table())


def _columns(schema: Schema) -> str:
    return ", ".join(f"{name} {_TYPES[column.dtype]}" for name, column in schema.items())


def _create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    for name in WAREHOUSE_TABLES:
        extra = ", ".join(f"{column} VARCHAR" for column in PARTITION)
        connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({_columns(SCHEMAS[name])}, {extra})")
    # A warehouse of an earlier version lacks the columns that have come since; its old rows have none.
    there = set(connection.execute("SELECT table_name, column_name FROM information_schema.columns").fetchall())
    for name in WAREHOUSE_TABLES:
        for column, about in SCHEMAS[name].items():
            if (name, column) not in there:
                connection.execute(f"ALTER TABLE {name} ADD COLUMN {column} {_TYPES[about.dtype]}")


def _mirror(connection: duckdb.DuckDBPyConnection, lake: Lake, table: str, asset: tuple[str, ...], cell: Cell) -> None:
    """Bring one stored partition's rows, whom it left out, and what its checks found into the warehouse."""
    file = lake.path(asset, cell)
    if table in WAREHOUSE_TABLES:
        _replace(connection, table, [file], asset, cell)
    _mirror_beside(connection, lake, asset, cell)


def _mirror_beside(connection: duckdb.DuckDBPyConnection, lake: Lake, asset: tuple[str, ...], cell: Cell) -> None:
    for name, beside in BESIDE.items():
        _replace(connection, name, [lake.beside(asset, cell, each) for each in beside], asset, cell)


def _replace(
    connection: duckdb.DuckDBPyConnection, table: str, files: Iterable[Path], asset: tuple[str, ...], cell: Cell
) -> None:
    """Replace one stored partition's rows; table names are this module's own constants, all else is a parameter."""
    place = ["/".join(asset), _name(cell)]
    connection.execute(f"DELETE FROM {table} WHERE {PARTITION[0]} = ? AND {PARTITION[1]} = ?", place)  # noqa: S608
    for file in (file for file in files if file.exists()):
        columns = ", ".join(SCHEMAS[table])
        connection.execute(
            f"INSERT INTO {table} ({columns}, {', '.join(PARTITION)}) "  # noqa: S608
            f"SELECT {columns}, ?, ? FROM read_parquet([?], hive_partitioning = false)",
            [*place, str(file)],
        )


def _create_view(connection: duckdb.DuckDBPyConnection, lake: Lake, name: str) -> None:
    """Create the view over every encoder's and baseline's files of this name, or an empty one before there are any."""
    folders = sorted(f for f in (lake.root / name, *lake.root.glob(f"*/{name}")) if any(f.glob("**/part.parquet")))
    if folders:
        patterns = ", ".join(f"'{_glob_escaped(folder)}/**/part.parquet'" for folder in folders)
        source = f"SELECT {', '.join(SCHEMAS[name])} FROM read_parquet([{patterns}], hive_partitioning = false)"  # noqa: S608
    else:
        nulls = ", ".join(
            f"NULL::{_TYPES[column.dtype]} AS {column_name}" for column_name, column in SCHEMAS[name].items()
        )
        source = f"SELECT {nulls} WHERE false"
    connection.execute(f"CREATE OR REPLACE VIEW {name} AS {source}")


def _glob_escaped(folder: Path) -> str:
    """Return the path as a literal within a quoted glob: a view cannot take parameters."""
    return re.sub(r"([*?\[])", r"[\1]", str(folder)).replace("'", "''")
