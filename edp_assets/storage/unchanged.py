"""What was found of a file on a disk, kept for as long as the file is as it was, so that it need not be opened again.

What a file holds is not known here. Files of an object store are asked anew each time: their state is a round trip too.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from edp_assets.storage.cells import Location

Found = TypeVar("Found")

State = tuple[int, int, int]
"""A file's modification time in ns, size, and inode: another file under the same name has another."""

KEPT = 262_144
"""Files of which something is kept; a provenance takes about 1 KB. Ten organs and 700 codes have 90,000 partitions an
encoder, and where fewer are kept than are looked at in turn none is found."""

TICK_NS = 10_000_000
"""File systems tell times no finer than this (4 ms on a kernel of 250 Hz): of a file that was written just now nothing
is kept, since a second change within the same tick could not be seen."""


def state(path: Location) -> State | None:
    """Return what tells a file from others that may take its place; None where it was written just now, or in a store.

    Raises:
        FileNotFoundError: there is no file.
    """
    if not isinstance(path, Path):
        return None
    found = os.stat(path)
    return (found.st_mtime_ns, found.st_size, found.st_ino) if time.time_ns() - found.st_mtime_ns > TICK_NS else None


class Unchanged(Generic[Found]):
    """Keeps what was found of files; the files used last."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept: OrderedDict[tuple[Location, str], tuple[State, Found]] = OrderedDict()
        self._most, self._lock = kept, threading.Lock()

    def of(self, path: Location, find: Callable[[Location], Found], how: str = "") -> Found:
        """Return what is found of a file, from the last time where it is still the same file and looked at alike.

        Args:
            path: the file.
            find: finds it.
            how: all else that what is found depends on.

        Raises:
            FileNotFoundError: there is no file.
        """
        now, key = state(path), (path, how)
        with self._lock:
            known = self._kept.get(key)
            if known is not None and known[0] == now:
                self._kept.move_to_end(key)
                return known[1]
        found = find(path)
        if now is not None:  # the state of before it was read: what changed meanwhile has another
            with self._lock:
                self._kept[key] = now, found
                self._kept.move_to_end(key)
                if len(self._kept) > self._most:
                    self._kept.popitem(last=False)
        return found
