"""Dagster's record of runs in SQLite, which stays open: Dagster opens it anew for each of the eight looks of a run."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster._core.storage.runs import SqliteRunStorage
from dagster._serdes import ConfigurableClassData

from edp_assets.storage.open_sqlite import OpenDatabases

if TYPE_CHECKING:
    from sqlalchemy import Connection


class RunLog(SqliteRunStorage):
    """Dagster's own SQLite record of runs, in its own place."""

    @classmethod
    def config_type(cls) -> Any:
        """Return that there is nothing to configure: it lies where Dagster's default does."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> RunLog:
        """Return the record of $DAGSTER_HOME."""
        if not os.environ.get("DAGSTER_HOME"):
            raise ValueError("the record of runs lies in DAGSTER_HOME, which is not set: set it to $EDP_HOME/dagster")
        return cls.from_local(os.path.join(os.environ["DAGSTER_HOME"], "history"), inst_data)

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(conn_string, inst_data)
        self._path = Path(conn_string.removeprefix("sqlite:///"))
        self._databases, self._free = OpenDatabases(1), threading.Lock()

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Open a transaction; where one is open in this process already, in a connection of its own."""
        if not self._free.acquire(blocking=False):
            with super().connect() as own:
                yield own
            return
        try:
            with self._databases.connection(self._path) as connection, connection.begin():
                yield connection
        finally:
            self._free.release()

    def dispose(self) -> None:
        """Close the database."""
        with self._free:
            self._databases.close()
        super().dispose()
