"""Which of the jobs' runs are alive: each holds a lock while it works, which the system frees when its process dies.

Dagster does not notice on its own that a machine went down under a run: it would count as running for good.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from edp_assets.storage.home import Home


def _folder(home: Home) -> Path:
    return home.dagster / "alive"


@contextmanager
def alive(home: Home, run_id: str) -> Iterator[None]:
    """Count as alive for the length of a run."""
    _folder(home).mkdir(parents=True, exist_ok=True)
    path = _folder(home) / run_id
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def end_dead(home: Home, instance: dg.DagsterInstance) -> list[str]:
    """Mark as failed the runs whose process died, and return their ids."""
    dead = []
    for path in sorted(_folder(home).glob("*")):
        with path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            run = instance.get_run_by_id(path.name)
            if run is not None and not run.is_finished:
                instance.report_run_failed(run, message="The process was killed, or its machine went down.")
                dead.append(path.name)
            path.unlink(missing_ok=True)
    return dead
