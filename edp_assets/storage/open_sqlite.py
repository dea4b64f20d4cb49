"""SQLite databases of Dagster's that stay open between two uses.

Dagster opens a database anew for every event, compiles its SQL anew, and closed SQLite copies its log into the file and
waits for the disk. Here a process keeps the last few open, and the SQL compiled.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

BUSY_SECONDS = 30
"""How long a writer waits for another one, as Dagster's own does."""


@dataclass(frozen=True)
class _Open:
    """An open database: by which process, and which file it was."""

    connection: Connection
    process: int
    file: int


class OpenDatabases:
    """The databases used last, open; whoever uses one sees to it that nobody else does meanwhile."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._open: dict[Path, _Open] = {}

    @contextmanager
    def connection(self, path: Path) -> Iterator[Connection]:
        """Give a connection to a database, which is closed where its use fails."""
        kept = self._open.pop(path, None)
        # A file that was replaced is another database, and what a process opened its child must not use.
        if kept is None or kept.process != os.getpid() or not path.exists() or path.stat().st_ino != kept.file:
            connection = self.engine(path).connect()
            kept = _Open(connection, os.getpid(), path.stat().st_ino)
        try:
            yield kept.connection
        except BaseException:
            kept.connection.close()
            raise
        self._open[path] = kept  # the last in order is the one used last
        if len(self._open) > self.most:
            self._open.pop(next(iter(self._open))).connection.close()

    def engine(self, path: Path) -> Engine:
        """Return the engine, which keeps its compiled SQL, set to connect to this database."""
        self._path = path
        return self._any_engine

    def names(self) -> list[str]:
        """Return which are open, the one used last at the end."""
        return [path.stem for path in self._open]

    def close(self) -> None:
        """Close them all."""
        while self._open:
            self._open.popitem()[1].connection.close()

    @cached_property
    def _any_engine(self) -> Engine:
        return create_engine("sqlite://", creator=self._connected, poolclass=NullPool)

    def _connected(self) -> sqlite3.Connection:
        """Connect without a wait for the disk at every event.

        A process may die at any moment and nothing is lost; where the machine does, the last events of what the lake
        holds may be, and the database is as it was before them.
        """
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, check_same_thread=False)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection
