"""Dagster's event log in SQLite, with many events of one run written in two transactions instead of two each.

Dagster opens the database anew for every event, twice, and waits for the disk each time: 10 to 30 ms for each of the
70,000 partitions of ten organs and 700 codes. What is written is the same, and any Dagster reads it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from dagster._core.events import ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._serdes import ConfigurableClassData

BATCH = 500
"""Most events that are written together; the environment variable that Dagster reads says it."""


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
