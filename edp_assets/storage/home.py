"""EDP_HOME: where everything lies, which cohort it belongs to, and who is writing to it. No tables are read here."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edp_assets.storage.dagster_yaml import dagster_yaml, is_as_written, not_in
from edp_assets.storage.disk import full_disk_told

if TYPE_CHECKING:
    from edp_assets.storage.cells import Location
    from edp_assets.storage.home_settings import HomeSettings

log = logging.getLogger(__name__)


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

    @cached_property
    def settings(self) -> HomeSettings:
        """What home.toml says: of storage, executor and instance; all defaults where it is not there."""
        from edp_assets.storage.home_settings import read_home_settings

        return read_home_settings(self.root / "home.toml")

    def stored(self, name: str) -> Location:
        """Return where the `lake` or the `checkpoints` lie: in the home, or where home.toml says."""
        storage = self.settings.storage
        url = getattr(storage, name)
        if url is None:
            return self.root / name
        return object_store(url, storage.endpoint_url)

    @property
    def unmirrored(self) -> Path:
        """Marks of the assets that the warehouse is to be brought up to date with."""
        return self.root / "unmirrored"

    @property
    def scratch(self) -> Path:
        """Files on their way to an object store, and pieces of what is half done for it."""
        return self.root / "scratch"

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
        """Create the folders and Dagster's configuration (telemetry off), and point DAGSTER_HOME here.

        Raises:
            HomeError: dagster.yaml was edited by hand, and is of another instance than home.toml's.
        """
        for folder in (self.dagster, self.lake, self.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
        config = self.dagster / "dagster.yaml"
        text = dagster_yaml(self.settings, self.root)
        stored = config.read_text() if config.exists() else None
        if stored is None or (stored != text and is_as_written(stored)):
            replace_text(config, text)
        elif stored != text and (missing := not_in(stored, text)):
            raise HomeError(
                f"{config} was edited by hand and lacks what home.toml asks for: {', '.join(missing)}. Copy it from "
                "deploy/README.md's examples, or delete the file: it is then written anew."
            )
        os.environ["DAGSTER_HOME"] = str(self.dagster)
        os.environ["EDP_HOME"] = str(self.root)

    def bind(self, cohort: Path) -> None:
        """Remember the cohort folder; one EDP_HOME holds one cohort.

        Raises:
            HomeError: the home holds another cohort.
        """
        bound = self.cohort_folder()
        if bound is not None and bound != cohort.resolve():
            remedy = "One EDP_HOME holds one cohort: set EDP_HOME to another folder for this one."
            if not bound.exists():
                remedy = f"If {bound}, which is gone, was moved here, remove {self._pointer} and run again."
            raise HomeError(f"{self.root} holds the cohort {bound}, and {cohort.resolve()} was asked for. {remedy}")
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

    @contextmanager
    def making(self, asset: tuple[str, ...], cells: Iterable[tuple[tuple[str, str], ...]]) -> Iterator[None]:
        """Hold cells of an asset while they are made; who comes second waits, so that no two write the same files.

        Runs from the UI and `edp run` alike hold what they make, and no more: each may go on with other cells. Locks
        are taken in one order, and a process that dies frees its own.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with self._making.open("a+b") as lock:
            for place in sorted(_place("/".join(asset), *(f"{name}={key}" for name, key in cell)) for cell in cells):
                if not _lock(lock, place, 1, wait=False):
                    log.info("%s: another run is making the same partition, waiting for its end", "/".join(asset))
                    _lock(lock, place, 1, wait=True)
            yield

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Tell whether nobody is making anything, here or on another machine; if so, nobody begins meanwhile."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self._making.open("a+b") as lock:
            yield _lock(lock, 0, 0, wait=False)

    def sweep_temporary(self) -> int:
        """Remove the half-written files of processes that died, and return how many; the caller has the home alone."""
        stale = [*self.root.glob(".*.tmp")]
        for folder in (self.dagster, self.lake, self.checkpoints, self.report, self.scratch):
            for where, _, names in os.walk(folder):
                stale += [Path(where, name) for name in names if name.startswith(".") and name.endswith(".tmp")]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)

    @property
    def _making(self) -> Path:
        return self.root / "making.lock"


def _place(*words: str) -> int:
    """Return the byte of the lock file that stands for something; bytes need not exist to be locked."""
    return int.from_bytes(hashlib.sha256("\n".join(words).encode()).digest()[:7], "big")


def _lock(file: IO[bytes], start: int, length: int, *, wait: bool) -> bool:
    """Lock bytes of a file (length 0: all from the start on) until it is closed; return whether they were got.

    Locks of the open file, not of the process: two threads of one process exclude each other as two processes do.
    """
    asked = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, asked)
    except BlockingIOError:
        return False
    return True


def object_store(url: str, endpoint_url: str | None) -> Location:
    """Return a place in an object store; credentials are the environment's or the AWS profile's.

    Raises:
        HomeError: the library for it is not installed.
    """
    from upath import UPath

    try:
        import s3fs  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        raise HomeError(f"{url}: S3 needs the library s3fs: pip install 'edp_assets[cluster]'") from None
    # Listings are not kept: other machines write there, too.
    return UPath(url, endpoint_url=endpoint_url, use_listings_cache=False)


def replace_text(path: Path, text: str) -> None:
    """Write a small text file so that a reader sees the old or the new one, never half."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a small file so that a reader sees the old or the new one, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with full_disk_told(path), temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
