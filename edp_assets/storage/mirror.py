"""Keeping the warehouse level with the lake: at once where it is free, later where it is held or a run was killed.

Before anything of an asset is stored, a mark says that the asset is to be mirrored; the mark goes when that is done. A
mark is locked by the process that set it, so that one of a killed process, or of one that found the warehouse held, is
known by its lock being free: whoever writes next, or the end of a run, brings its asset in.
"""

from __future__ import annotations

import fcntl
import json
import logging
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO

from edp_assets.storage import warehouse
from edp_assets.storage.cells import Cell
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Lake

log = logging.getLogger(__name__)

ALL = "all"
"""The asset of the mark that says that the whole warehouse is to be made again."""

GATHER_SECONDS = 10.0
"""How long what a run stored may wait for what else is stored meanwhile."""

_LEFT: ContextVar[bool] = ContextVar("left to the caller", default=False)
_GATHERED: ContextVar[Gathered | None] = ContextVar("gathered", default=None)


@contextmanager
def left_to_the_run() -> Iterator[None]:
    """Leave the warehouse alone within: the run that had this made, maybe by another machine, brings it in itself.

    DuckDB takes one writing process, and its file may lie where locks of several machines do not hold.
    """
    token = _LEFT.set(True)
    try:
        yield
    finally:
        _LEFT.reset(token)


class Gathered:
    """What the stages of a run stored, brought into the warehouse some seconds later, of several in one go.

    Opening and closing DuckDB's file costs more than most stages. Until it is brought in each keeps its mark.
    """

    def __init__(self, home: Home, lake: Lake) -> None:
        self._home, self._lake = home, lake
        self._waiting: list[warehouse.Changed] = []
        self._marks: list[_Mark] = []
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None

    def take(self, mark: _Mark, changed: warehouse.Changed) -> None:
        """Take over what was stored, with its mark."""
        with self._lock:
            self._waiting.append(changed)
            self._marks.append(mark)
            if self._timer is None:
                self._timer = threading.Timer(GATHER_SECONDS, self._in_time)
                self._timer.daemon = True
                self._timer.start()

    def bring(self) -> None:
        """Bring what waits into the warehouse, and end its marks; what is held is left to whoever comes next."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if not self._waiting:
                return
            done = _refreshed(self._home, self._lake, self._waiting)
            for mark in self._marks:
                mark.end(done=done)
            self._waiting, self._marks = [], []
            if done:
                catch_up(self._home, self._lake, wait_seconds=0)

    def end(self) -> None:
        """Bring in what waits; what cannot be is left to whoever comes next."""
        try:
            self.bring()
        finally:
            for mark in self._marks:
                mark.end(done=False)

    def _in_time(self) -> None:
        try:
            self.bring()
        except Exception as error:
            log.warning("the warehouse could not be brought up to date, the run goes on: %s", error)


@contextmanager
def gathering(home: Home, lake: Lake) -> Iterator[Gathered]:
    """Within, bring what is stored into the warehouse a little later, of several assets in one go; at the end, all."""
    gathered = Gathered(home, lake)
    token = _GATHERED.set(gathered)
    try:
        yield gathered
    finally:
        _GATHERED.reset(token)
        gathered.end()


@contextmanager
def mirroring(home: Home, lake: Lake, table: str, asset: tuple[str, ...]) -> Iterator[list[Cell]]:
    """Bring the partitions that are stored within, and listed in what this gives, into the warehouse.

    A warehouse that another program holds, or a damaged one, stops nothing: what it lacks is remembered.
    """
    written: list[Cell] = []
    if _LEFT.get():
        yield written
        return
    mark, gathered, done, finished = _Mark(home, table, "/".join(asset)), _GATHERED.get(), False, False
    try:
        yield written
        finished = True
    finally:
        if finished and written and gathered is not None:
            gathered.take(mark, (table, asset, written))
        else:
            try:
                # What was written before a failure is stored, so the warehouse shows it as well.
                done = not written or _refreshed(home, lake, [(table, asset, written)])
            finally:
                mark.end(done=done and finished)
            if done and written:
                catch_up(home, lake, wait_seconds=0)


def catch_up(
    home: Home,
    lake: Lake,
    everything: Iterable[tuple[str, tuple[str, ...]]] = (),
    *,
    wait_seconds: float = warehouse.WAIT_SECONDS,
) -> list[str]:
    """Bring in what was left out of the warehouse; return the assets that are still to come, because it is held.

    Args:
        home: the home.
        lake: its lake.
        everything: (table, asset) of all, to make the warehouse again where it was damaged or is gone; without them
            that waits.
        wait_seconds: how long to wait for a program that holds the warehouse.
    """
    everything = list(everything)
    if everything and not home.warehouse.exists():
        _mark_all(home)
    left: list[str] = []
    for name in _names(home):
        with _free(home, name) as mark:
            if mark is None:
                continue
            table, asset = json.loads(mark.read() or '["", "all"]')
            if asset == ALL and not everything:
                continue
            try:
                if asset == ALL:
                    warehouse.rebuild(home.warehouse, lake, everything)
                else:
                    parts = tuple(asset.split("/"))
                    changed = [(table, parts, lake.cells(parts))]
                    warehouse.refresh(home.warehouse, lake, changed, wait_seconds=0 if left else wait_seconds)
            except warehouse.WarehouseLockedError:
                left.append("everything" if asset == ALL else asset)
                continue
            except warehouse.WarehouseDamagedError as error:
                set_aside(home, error)
                left.append("everything")
                continue
            (home.unmirrored / name).unlink(missing_ok=True)
    return left


def set_aside(home: Home, error: warehouse.WarehouseDamagedError) -> None:
    """Move a damaged warehouse out of the way and remember that all of it is to be made again; it is said."""
    aside = warehouse.set_damaged_aside(home.warehouse)
    _mark_all(home)
    log.warning("%s It was set aside as %s.", error, aside.name)


def _refreshed(home: Home, lake: Lake, changed: Sequence[warehouse.Changed]) -> bool:
    """Bring partitions into the warehouse; False where it is held: then the next writers do not wait for it."""
    waiting = _any_free(home)
    for _ in range(2):
        try:
            wait = 0 if waiting else warehouse.WAIT_SECONDS
            warehouse.refresh(home.warehouse, lake, changed, wait_seconds=wait)
        except warehouse.WarehouseLockedError as error:
            if not waiting:
                log.warning("%s The run goes on, and brings the warehouse up to date once it is free.", error)
            return False
        except warehouse.WarehouseDamagedError as error:
            set_aside(home, error)
            continue
        return True
    return False


class _Mark:
    """Says that an asset is to be mirrored, as long as this process lives or until that is done."""

    def __init__(self, home: Home, table: str, asset: str) -> None:
        home.unmirrored.mkdir(parents=True, exist_ok=True)
        self._path = home.unmirrored / f"{uuid.uuid4().hex}.json"
        self._file = self._path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._file.write(json.dumps([table, asset]))
        self._file.flush()

    def end(self, *, done: bool) -> None:
        """Let go of the mark; where it is not done it stays for whoever writes next."""
        if done:
            self._path.unlink(missing_ok=True)
        self._file.close()


def _mark_all(home: Home) -> None:
    home.unmirrored.mkdir(parents=True, exist_ok=True)
    (home.unmirrored / f"{ALL}.json").write_text(json.dumps(["", ALL]))


def _names(home: Home) -> list[str]:
    """Return the marks, that of everything first: what is made again wholly needs no part of it."""
    found = sorted(path.name for path in home.unmirrored.glob("*.json"))
    return sorted(found, key=lambda name: name != f"{ALL}.json")


def _any_free(home: Home) -> bool:
    for name in _names(home):
        with _free(home, name) as mark:
            if mark is not None and name != f"{ALL}.json":
                return True
    return False


@contextmanager
def _free(home: Home, name: str) -> Iterator[IO[str] | None]:
    """Hold a mark that no living process holds; None for one that is held, or gone."""
    try:
        file = (home.unmirrored / name).open("r")
    except FileNotFoundError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield file
