"""Dagster's event log in SQLite, with many events of one run written in two transactions instead of two each.

Dagster writes every event twice and waits for the disk each time: 10 to 30 ms for each of the 70,000 partitions of ten
organs and 700 codes. It asks before every look at a partition whether there is a table of them, and reads its
migrations for every run's own database. What is written here is the same, and any Dagster reads it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster._core.events import ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from edp_assets.storage.open_sqlite import OpenDatabases

if TYPE_CHECKING:
    from sqlalchemy import Connection

BATCH = 500
"""Most events that are written together; the environment variable that Dagster reads says it."""

KEPT = 4
"""Databases that stay open: the index of all runs, and those of the run and of what runs within it."""


def allow_batches() -> None:
    """Have this process's Dagster hand over events that come together as one batch."""
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(BATCH))


class EventLog(SqliteEventLogStorage):
    """Dagster's own SQLite event log, in its own place, that writes a batch as one."""

    @classmethod
    def config_type(cls) -> Any:
        """Return that there is nothing to configure: it lies where Dagster's default does."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> EventLog:
        """Return the event log of $DAGSTER_HOME."""
        if not os.environ.get("DAGSTER_HOME"):
            raise ValueError("the event log lies in DAGSTER_HOME, which is not set: set it to $EDP_HOME/dagster")
        return cls(os.path.join(os.environ["DAGSTER_HOME"], "history", "runs"), inst_data=inst_data)

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._databases = OpenDatabases(KEPT)
        self._tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    def has_table(self, table_name: str) -> bool:
        """Return whether the index of all runs has a table; one that it has is not asked for again."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """Open a transaction in a run's database, or in the index of all; whoever holds the lock has it alone.

        Opened anew, SQLite reads the database's schema first; closed, it copies its log into the file and waits.
        """
        with self._db_lock:
            path = Path(self.path_for_shard(shard))
            if shard not in self._initialized_dbs:
                if not self._copied(path):
                    self._initdb(self._databases.engine(path))
                self._initialized_dbs.add(shard)
            with self._databases.connection(path) as connection, connection.begin():
                yield connection

    def dispose(self) -> None:
        """Close the databases."""
        with self._db_lock:
            self._databases.close()
        super().dispose()

    def _copied(self, path: Path) -> bool:
        """Make a run's database, where there is none yet, as a copy of an empty one; return whether it was made."""
        if path.exists():
            return False
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_bytes(self._empty)
        try:
            os.link(temporary, path)  # unlike a rename it never takes the place of one that another process just made
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        return True

    @cached_property
    def _empty(self) -> bytes:
        """A database as Dagster makes one for a run, without a row."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "empty.db"
            engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
            self._initdb(engine)
            engine.dispose()
            return path.read_bytes()

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events, those of assets in the index of all runs as well; the order is kept."""
        if len({event.run_id for event in events}) != 1 or any(
            not event.is_dagster_event or event.dagster_event_type not in ASSET_EVENTS for event in events
        ):
            super().store_event_batch(events)
            return
        rows = [self._event_to_row(event) for event in events]
        with self.run_connection(events[0].run_id) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
        with self.index_transaction() as connection:
            made = [connection.execute(SqlEventLogStorageTable.insert(), row) for row in rows]
            ids = [int(number) for one in made for number in one.inserted_primary_key or ()]
            self._store_asset_event_tags(connection, events, ids)
            # An asset's entry is of its last event: the others would be written over.
            last = {
                event.get_dagster_event().asset_key: (event, number) for event, number in zip(events, ids, strict=True)
            }
            for event, number in last.values():
                self._store_asset_event(connection, event, number)
