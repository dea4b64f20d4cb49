"""The DuckDB warehouse: small result tables, and views over the lake, so that one file answers any question.

DuckDB takes one writing process or many readers: every write here is one short transaction that waits its turn. Views
over a lake in an object store are read through the connections made here; another shell needs DuckDB's httpfs for them.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from edp_assets.storage.cells import ASIDE, Cell, DamagedError, Location
from edp_assets.storage.disk import full_disk_told
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Lake
from edp_assets.storage.schemas import SCHEMAS, WAREHOUSE_TABLES, WAREHOUSE_VIEWS, Schema

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

WAIT_SECONDS = 10.0
"""How long a writer or a question waits for a program that holds the warehouse, seconds."""

CELLS_AT_ONCE = 256

HEADERS, BLOCK = 12_288, 262_144
"""A DuckDB file is three headers of 4 KiB, then blocks, bytes."""

_TYPES: dict[Any, str] = {
    pl.String: "VARCHAR", pl.Int32: "INTEGER", pl.Int64: "BIGINT", pl.Float32: "FLOAT", pl.Float64: "DOUBLE",
    pl.Boolean: "BOOLEAN", pl.List(pl.Float32): "FLOAT[]", pl.List(pl.Float64): "DOUBLE[]",
    pl.List(pl.Int64): "BIGINT[]", pl.List(pl.String): "VARCHAR[]",
}  # fmt: skip

BESIDE = {"excluded": ("excluded",), "asset_checks": ("asset_checks", "failed_checks")}
"""Tables whose rows lie beside those of other tables' partitions, with the names of these files."""

WITHOUT_STAGE = ("trained_on",)
"""Views over files that are written beside an encoder: no stage's refresh would name them."""

PARTITION = "stored_asset", "stored_cell"
"""Two further columns of each warehouse table: which stored partition a row is from, so that it can be replaced."""


class WarehouseError(RuntimeError):
    """The warehouse cannot be opened."""


class WarehouseLockedError(WarehouseError):
    """Another program holds the warehouse."""


class WarehouseDamagedError(WarehouseError):
    """The warehouse is no DuckDB database, or a damaged one."""


@contextmanager
def connect(
    path: Path, *, read_only: bool = False, wait_seconds: float = WAIT_SECONDS
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the warehouse, waiting while another process holds it.

    Raises:
        WarehouseLockedError: it is still held after `wait_seconds`.
        WarehouseDamagedError: it is no DuckDB file, or one that DuckDB finds damaged while it is worked with.
    """
    import duckdb

    # DuckDB may wait for ever on a file that was cut.
    if path.exists() and (path.stat().st_size - HEADERS) % BLOCK:
        raise WarehouseDamagedError(
            f"{path} is damaged (it ends within a block). Results are not lost: `edp run` makes it again from the lake."
        )
    deadline, pause = time.monotonic() + wait_seconds, 0.05
    with full_disk_told(path):
        while True:
            try:
                connection = duckdb.connect(str(path), read_only=read_only)
                break
            except duckdb.Error as error:
                # Or another thread of this process has it open, to write where this one reads.
                if not any(words in str(error).lower() for words in ("could not set lock", "different configuration")):
                    raise _explained(path, error) from error
                if time.monotonic() > deadline:
                    raise WarehouseLockedError(
                        f"{path} is held by another program ({str(error).splitlines()[0]}). Close the program that "
                        "holds it (a duckdb shell, a notebook) and run again; the lake holds all results meanwhile."
                    ) from None
                # Jitter: two writers that collided once do not collide for ever.
                time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
                pause = min(1.0, pause * 1.6)
        try:
            if (store := _object_store(path)) is not None:
                connection.register_filesystem(store)
            yield connection
        except duckdb.Error as error:
            raise _explained(path, error) from error
        finally:
            connection.close()


def _object_store(path: Path) -> Any:
    """Return the filesystem of the object store in which the lake of the warehouse's home lies; None for a disk."""
    root = Home(path.parent).stored("lake")
    return None if isinstance(root, Path) else root.fs


def _explained(path: Path, error: duckdb.Error) -> Exception:
    """Return what a failure of DuckDB is: a damaged file, or the error itself."""
    text = str(error)
    signs = (
        "not a valid DuckDB database",
        "orrupt",
        "checksum",
        "deserialize",
        "INTERNAL",
        "Serialization",
        "WAL file",
    )
    if any(sign in text for sign in signs) or (isinstance(error, _not_databases()) and "read_parquet" not in text):
        return WarehouseDamagedError(
            f"{path} is damaged ({text.splitlines()[0]}). Results are not lost: `edp run` makes it again from the lake."
        )
    return error


def _not_databases() -> tuple[type[Exception], ...]:
    import duckdb

    return duckdb.SerializationException, duckdb.InternalException, duckdb.FatalException


def set_damaged_aside(path: Path) -> Path:
    """Move a damaged warehouse out of the way, with its log, in place of an earlier one; return where it is now."""
    wal = path.with_name(f"{path.name}.wal")
    if wal.exists():
        wal.replace(wal.with_name(wal.name + ASIDE))
    aside = path.with_name(path.name + ASIDE)
    path.replace(aside)
    return aside


Changed = tuple[str, tuple[str, ...], Iterable[Cell]]
"""Stored partitions whose rows are to be replaced: the table that they are of, the asset, the cells."""


def refresh(path: Path, lake: Lake, changed: Iterable[Changed], *, wait_seconds: float = WAIT_SECONDS) -> None:
    """Replace the rows of stored partitions, in the tables they belong to, in one transaction.

    Of an asset whose table is none of the warehouse's, what lies beside its partitions alone is brought in: they
    themselves are not read, and may be damaged.
    """
    anew: set[str] = set()
    with connect(path, wait_seconds=wait_seconds) as connection:
        connection.execute("BEGIN")
        _create_tables(connection)
        for table, asset, cells in changed:
            some = list(dict.fromkeys(cells))
            if table in (*WAREHOUSE_TABLES, *WAREHOUSE_VIEWS):
                _mirror(connection, lake, table, asset, some)
                anew |= {table, *WITHOUT_STAGE}
            else:
                # Of one that has nothing beside it, nor had, there is nothing to bring.
                known = _cells_beside(connection, asset)
                there = {cell for names in BESIDE.values() for file in names for cell in lake.cells(asset, file)}
                _mirror_beside(connection, lake, asset, [c for c in some if c in there or stored_cell(c) in known])
        views = _views(connection)
        for name in WAREHOUSE_VIEWS:
            if name in anew or not _is_of(views.get(name), lake):
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
            _mirror(connection, lake, table, asset, lake.cells(asset))
        for name in WAREHOUSE_VIEWS:
            _create_view(connection, lake, name)
        connection.execute("COMMIT")


def check(path: Path, *, wait_seconds: float = WAIT_SECONDS) -> None:
    """Read all tables of the warehouse; raises WarehouseDamagedError where they cannot be read."""
    with connect(path, read_only=True, wait_seconds=wait_seconds) as connection:
        for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            quoted = name.replace('"', '""')
            connection.execute(f'SELECT bit_xor(hash(t)) FROM "{quoted}" t').fetchall()  # noqa: S608


def is_behind(path: Path, lake: Lake, *, wait_seconds: float = WAIT_SECONDS) -> bool:
    """Say whether `refresh` has something to do even where no result changed.

    An earlier version made it (a table, or a column that has come since, is not there), or the home was moved or
    copied: its views are of the lake where that was.
    """
    with connect(path, read_only=True, wait_seconds=wait_seconds) as connection:
        there = set(connection.execute("SELECT table_name, column_name FROM duckdb_columns()").fetchall())
        views = _views(connection)
    lacking = any((name, column) not in there for name in WAREHOUSE_TABLES for column in SCHEMAS[name])
    return lacking or not all(_is_of(views.get(name), lake) for name in WAREHOUSE_VIEWS)


def _views(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    return dict(connection.execute("SELECT view_name, sql FROM duckdb_views()").fetchall())


def _is_of(view: str | None, lake: Lake) -> bool:
    """Say whether a view is there and of this lake: one without files is of any."""
    return view is not None and ("read_parquet" not in view or f"'{_glob_escaped(lake.root)}/" in view)


def stored_cell(cell: Cell) -> str:
    """Return what the column of this name calls a partition."""
    return "|".join(key for _, key in cell)


def _cells_beside(connection: duckdb.DuckDBPyConnection, asset: tuple[str, ...]) -> set[str]:
    """Return the partitions of an asset of which the tables of `BESIDE` have rows."""
    found = set()
    for table in BESIDE:
        sql = f"SELECT DISTINCT {PARTITION[1]} FROM {table} WHERE {PARTITION[0]} = ?"  # noqa: S608
        found |= {cell for (cell,) in connection.execute(sql, ["/".join(asset)]).fetchall()}
    return found


def query(path: Path, sql: str, parameters: Iterable[Any] = ()) -> pl.DataFrame:
    """Answer one SQL question from the warehouse, read only."""
    with connect(path, read_only=True) as connection:
        return pl.DataFrame(connection.sql(sql, params=list(parameters)).to_arrow_table())


def _columns(schema: Schema) -> str:
    return ", ".join(f"{name} {_TYPES[column.dtype]}" for name, column in schema.items())


def _create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    there: dict[str, set[str]] = defaultdict(set)
    for name, column in connection.execute("SELECT table_name, column_name FROM duckdb_columns()").fetchall():
        there[name].add(column)
    extra = ", ".join(f"{column} VARCHAR" for column in PARTITION)
    for name in WAREHOUSE_TABLES:
        if name not in there:
            connection.execute(f"CREATE TABLE {name} ({_columns(SCHEMAS[name])}, {extra})")
            continue
        # A warehouse of an earlier version lacks the columns that have come since; its old rows have none.
        for column, about in SCHEMAS[name].items():
            if column not in there[name]:
                connection.execute(f"ALTER TABLE {name} ADD COLUMN {column} {_TYPES[about.dtype]}")


def _mirror(
    connection: duckdb.DuckDBPyConnection, lake: Lake, table: str, asset: tuple[str, ...], cells: Sequence[Cell]
) -> None:
    """Bring the rows of stored partitions, whom they left out, and what their checks found into the warehouse.

    A damaged file is set aside, and said; its rows are not there until the next run has made it again.
    """
    for first in range(0, len(cells), CELLS_AT_ONCE):
        some = cells[first : first + CELLS_AT_ONCE]
        if table in WAREHOUSE_TABLES:
            _replace(connection, table, asset, some, partial(_rows, lake, asset))
        _mirror_beside(connection, lake, asset, some)


def _mirror_beside(
    connection: duckdb.DuckDBPyConnection, lake: Lake, asset: tuple[str, ...], cells: Sequence[Cell]
) -> None:
    for name, files in BESIDE.items():
        _replace(connection, name, asset, cells, partial(_rows_beside, lake, asset, files))


def _rows_beside(lake: Lake, asset: tuple[str, ...], files: Sequence[str], cell: Cell) -> pl.DataFrame | None:
    found = [rows for file in files if (rows := lake.read_stored(asset, cell, table=file)) is not None]
    return pl.concat(found) if found else None


def _rows(lake: Lake, asset: tuple[str, ...], cell: Cell) -> pl.DataFrame | None:
    return lake.read(asset, cell) if lake.path(asset, cell).exists() else None


def _replace(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    asset: tuple[str, ...],
    cells: Sequence[Cell],
    read: Callable[[Cell], pl.DataFrame | None],
) -> None:
    """Replace the rows of some partitions; table names are this module's own constants, all else is a parameter.

    Rows come as Arrow tables: checked as they were read, from wherever the lake lies, and of older files, which lack
    columns that have come since, with nulls.
    """
    keys = [stored_cell(cell) for cell in cells]
    name = "/".join(asset)
    connection.execute(
        f"DELETE FROM {table} WHERE {PARTITION[0]} = ? AND list_contains(?, {PARTITION[1]})",  # noqa: S608
        [name, keys],
    )
    frames = []
    for cell, key in zip(cells, keys, strict=True):
        try:
            frame = read(cell)
        except DamagedError as error:
            log.warning("%s", error)
            continue
        if frame is not None and frame.height:
            whole = [
                pl.col(c).cast(about.dtype) if c in frame.columns else pl.lit(None, about.dtype).alias(c)
                for c, about in SCHEMAS[table].items()
            ]
            place = dict(zip(PARTITION, (pl.lit(name), pl.lit(key)), strict=True))
            frames.append(frame.select(whole).with_columns(**place))
    if frames:
        connection.register("incoming", pl.concat(frames).to_arrow(compat_level=pl.CompatLevel.oldest()))
        columns = ", ".join((*SCHEMAS[table], *PARTITION))
        connection.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM incoming")  # noqa: S608
        connection.unregister("incoming")


def _create_view(connection: duckdb.DuckDBPyConnection, lake: Lake, name: str) -> None:
    """Create the view over every encoder's and baseline's files of this name, or an empty one before there are any.

    A file of before a column came has null there.
    """
    columns = SCHEMAS[name]
    source = f"SELECT {', '.join(f'NULL::{_TYPES[about.dtype]} AS {c}' for c, about in columns.items())} WHERE false"
    folders = sorted((f for f in (lake.root / name, *lake.root.glob(f"*/{name}")) if _any_file(f)), key=str)
    if folders:
        patterns = ", ".join(f"'{_glob_escaped(folder)}/**/part.parquet'" for folder in folders)
        options = "hive_partitioning = false, union_by_name = true"
        source += f" UNION ALL BY NAME SELECT * FROM read_parquet([{patterns}], {options})"  # noqa: S608
        source = f"SELECT {', '.join(columns)} FROM ({source})"  # noqa: S608
    connection.execute(f"CREATE OR REPLACE VIEW {name} AS {source}")


def _any_file(folder: Location) -> bool:
    return any(True for _ in folder.glob("**/part.parquet"))


def _glob_escaped(folder: Location) -> str:
    """Return the path as a literal within a quoted glob: a view cannot take parameters."""
    return re.sub(r"([*?\[])", r"[\1]", str(folder)).replace("'", "''")
