"""Looking for people in everything that is stored: which files and tables of EDP_HOME hold any of some participants.

It looks, and trusts no record of what was rebuilt. Taking them out is another matter; the cohort's own files are its
owner's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from edp_assets.storage import warehouse
from edp_assets.storage.cells import Location, all_files
from edp_assets.storage.parquet_files import parquet_file
from edp_assets.storage.schemas import PARTICIPANT_COLUMNS
from edp_assets.storage.workspace import Workspace

ROWS = 262_144
"""Read at once, of one column: the ids of some 10 MB."""


class Found(NamedTuple):
    """Some of the people in one place.

    Attributes:
        place: a file, relative to EDP_HOME; or `warehouse.duckdb: <table>`.
        column: of it.
        rows: how many hold one of them.
    """

    place: str
    column: str
    rows: int


def find_withdrawn(workspace: Workspace, eids: Collection[str], since_ns: int = 0) -> list[Found]:
    """Look for participants in every Parquet file and warehouse table of a home, in bounded memory.

    Every column of a name under which a stored table has participants (`PARTICIPANT_COLUMNS`) is read, whatever table
    or folder it is in, pieces of unfinished partitions too; no other column is. The cohort's own folder is passed over
    where it lies in EDP_HOME. A file that is no Parquet file, or ends too early, has no rows to find.

    Args:
        workspace: whose home is looked through.
        eids: the participants.
        since_ns: only files that came to be where they are, or changed, since (see `all_files`); the warehouse is
            always looked at.

    Returns:
        Where any of them is, sorted; nothing where nobody is.
    """
    if not eids:
        return []
    wanted = pl.Series(sorted(eids), dtype=pl.String)
    home = workspace.home
    found = [
        Found(str(path.relative_to(home.root)) if isinstance(path, Path) else str(path), column, rows)
        for path in _files(workspace, since_ns)
        for column, rows in _in_file(path, wanted)
    ]
    if home.warehouse.exists():
        found += _in_warehouse(home.warehouse, wanted)
    return sorted(found)


def _files(workspace: Workspace, since_ns: int) -> Iterator[Location]:
    root, cohort = workspace.home.root.resolve(), workspace.home.cohort_folder()
    inside = cohort is not None and root in cohort.resolve().parents
    own = cohort.resolve() if inside and cohort is not None else None
    places: list[Location] = [root] if isinstance(workspace.lake.root, Path) else [root, workspace.lake.root]
    for path in (path for place in places for path in all_files(place, ".parquet", since_ns)):
        if not (own and isinstance(path, Path) and path.is_relative_to(own)):
            yield path


def _in_file(path: Location, wanted: pl.Series) -> Iterator[tuple[str, int]]:
    try:
        with parquet_file(path) as file:
            for column in sorted(PARTICIPANT_COLUMNS & set(file.schema_arrow.names)):
                rows = 0
                for batch in file.iter_batches(ROWS, columns=[column], use_threads=False):
                    ids = pl.Series(pl.DataFrame(pa.Table.from_batches([batch]))[column])
                    rows += int(ids.cast(pl.String).is_in(wanted.implode()).sum())
                if rows:
                    yield column, rows
    except (pa.ArrowInvalid, OSError):
        return


def _in_warehouse(path: Path, wanted: pl.Series) -> list[Found]:
    """Look at the tables; views are of files that are looked at as such."""
    columns = (
        "SELECT table_name, column_name FROM duckdb_columns() JOIN duckdb_tables() USING (schema_name, table_name) "
        "WHERE column_name = ANY(?) ORDER BY ALL"
    )
    found = []
    with warehouse.connect(path, read_only=True, wait_seconds=warehouse.WAIT_SECONDS) as connection:
        for table, column in connection.execute(columns, [sorted(PARTICIPANT_COLUMNS)]).fetchall():
            # Names come from the database itself; quoted, they cannot be anything else.
            names = tuple('"' + name.replace('"', '""') + '"' for name in (table, column))
            sql = f"SELECT count(*) FROM {names[0]} WHERE CAST({names[1]} AS VARCHAR) = ANY(?)"  # noqa: S608
            (rows,) = connection.execute(sql, [wanted.to_list()]).fetchall()[0]
            if rows:
                found.append(Found(f"{path.name}: {table}", column, rows))
    return found
