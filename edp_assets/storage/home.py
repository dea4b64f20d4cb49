"""EDP_HOME: where everything lies, which cohort it belongs to, and who is writing to it. No tables are read here."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DAGSTER_YAML = """\
nux:
  enabled: false
telemetry:
  enabled: false
event_log_storage:
  module: edp_assets.storage.event_log
  class: EventLog
  config: {}
concurrency:
  runs:
    max_concurrent_runs: 2
    tag_concurrency_limits:
      - key: edp/what
        limit: 1
  pools:
    default_limit: 1
    granularity: op
run_monitoring:
  enabled: true
  start_timeout_seconds: 600
retention:
  sensor:
    purge_after_days:
      skipped: 2
      failure: 90
      success: 90
  schedule:
    purge_after_days: 90
python_logs:
  managed_python_loggers: [edp_assets]
  python_log_level: INFO
"""


class HomeError(RuntimeError):
    """EDP_HOME cannot serve: it belongs to another cohort, or another process is at work in it."""


@dataclass(frozen=True)
class Home:
    """The folders of one EDP_HOME (design, part 4)."""

    root: Path

    @classmethod
    def from_environment(cls) -> Home:
        """Return the home that $EDP_HOME names (default `.edp` in the working directory)."""
        return cls(Path(os.environ.get("EDP_HOME", ".edp")).expanduser().resolve())

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME: runs and events."""
        return self.root / "dagster"

    @property
    def lake(self) -> Path:
        """Parquet files."""
        return self.root / "lake"

    @property
    def checkpoints(self) -> Path:
        """Trained encoders and training in progress."""
        return self.root / "checkpoints"

    @property
    def work(self) -> Path:
        """What other programs are at work on, gone on with after a kill; of what is done their logs stay."""
        return self.root / "work"

    @property
    def warehouse(self) -> Path:
        """The DuckDB file."""
        return self.root / "warehouse.duckdb"

    @property
    def report(self) -> Path:
        """The static report."""
        return self.root / "report"

    @property
    def figures(self) -> Path:
        """Figures of results, PNG files in folders by encoder and organ."""
        return self.report / "figures"

    @property
    def _pointer(self) -> Path:
        return self.root / "cohort.json"

    def prepare(self) -> None:
        """Create the folders and Dagster's configuration (telemetry off), and point DAGSTER_HOME here."""
        for folder in (self.dagster, self.lake, self.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
        config = self.dagster / "dagster.yaml"
        if not config.exists():
            replace_text(config, DAGSTER_YAML)
        os.environ["DAGSTER_HOME"] = str(self.dagster)
        os.environ["EDP_HOME"] = str(self.root)

    def bind(self, cohort: Path) -> None:
        """Remember the cohort folder; one EDP_HOME holds one cohort.

        Raises:
            HomeError: the home holds another cohort.
        """
        bound = self.cohort_folder()
        if bound is not None and bound != cohort.resolve():
            raise HomeError(
                f"{self.root} holds the cohort {bound}, and {cohort.resolve()} was asked for. "
                "One EDP_HOME holds one cohort: set EDP_HOME to another folder for this one."
            )
        if bound is None:
            replace_text(self._pointer, json.dumps({"cohort": str(cohort.resolve())}))

    def cohort_folder(self) -> Path | None:
        """Return the cohort folder that this home belongs to, None before the first run."""
        return Path(json.loads(self._pointer.read_text())["cohort"]) if self._pointer.exists() else None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the home's writer lock for the length of a run; the system frees it when a process dies.

        Raises:
            HomeError: another process holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "run.lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise HomeError(
                    f"{self.root} is in use by another run (process {lock.read().strip() or 'unknown'}). "
                    "Wait for it to end, or set EDP_HOME to another folder."
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield


def replace_text(path: Path, text: str) -> None:
    """Write a small text file so that a reader sees the old or the new one, never half."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a small file so that a reader sees the old or the new one, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
