"""Dagster's event log in SQLite, with many events of one run written in two transactions instead of two each.

Dagster opens the database anew for every event, twice, and waits for the disk each time: 10 to 30 ms for each of the
70,000 partitions of ten organs and 700 codes. It compiles its SQL anew each time as well, and reads its migrations for
every run's own database. What is written here is the same, and any Dagster reads it.
"""

from __future__ import annotations

import os
import sqlite3
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

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

BATCH = 500
"""Most events that are written together; the environment variable that Dagster reads says it."""

BUSY_SECONDS = 30
"""How long a writer waits for another one, as Dagster's own does."""


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

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """Open a run's database, or the index of all: each time anew, by one engine, which keeps its compiled SQL."""
        with self._db_lock:
            self._shard = self.path_for_shard(shard)
            if shard not in self._initialized_dbs:
                if not self._copied(Path(self._shard)):
                    self._initdb(self._engine)
                self._initialized_dbs.add(shard)
            with self._engine.connect() as connection, connection.begin():
                yield connection

    @cached_property
    def _engine(self) -> Engine:
        """Connects to the database of whoever holds the lock."""
        return create_engine(
            "sqlite://",
            creator=lambda: sqlite3.connect(self._shard, timeout=BUSY_SECONDS),
            poolclass=NullPool,
        )

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
