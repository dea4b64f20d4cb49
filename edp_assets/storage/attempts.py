"""Attempts at cells: what one call of a stage makes, and a failure kept as words so that the other cells go on.

What a full disk or exhausted memory does to one cell it does to all: that ends the step at once.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from edp_assets.storage.cells import MissingError
from edp_assets.storage.lake import Cell

REASON_LENGTH = 600
"""Characters kept of one failure's message."""


@dataclass(frozen=True)
class Reason:
    """Why a cell could not be made; text alone, since an exception holds on to the frames it came through.

    Attributes:
        text: type and message of the exception at the root.
        traceback: where it came from.
        missing: whether what it is made from was not there.
    """

    text: str
    traceback: str
    missing: bool = False

    @classmethod
    def of(cls, error: BaseException) -> Reason:
        """Return what is kept of an exception."""
        root = error
        while root.__cause__ is not None:
            root = root.__cause__
        text = f"{type(root).__name__}: {root}" if str(root) else type(root).__name__
        shortened = text if len(text) <= REASON_LENGTH else f"{text[:REASON_LENGTH]}..."
        return cls(shortened, "".join(traceback.format_exception(error)), isinstance(root, MissingError))

    def __str__(self) -> str:
        return self.text


class Attempt:
    """A context in which an exception is kept as the `reason` of a failure, unless every other cell would meet it."""

    def __init__(self, *, keeps: bool = True) -> None:
        """Open an attempt; `keeps` is false where there are no other cells to go on with."""
        self.keeps = keeps
        self.reason: Reason | None = None

    def __enter__(self) -> Attempt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not self.keeps or not isinstance(error, Exception) or ends_the_run(error):
            return False
        self.reason = Reason.of(error)
        return True


@dataclass
class Batch:
    """The cells that one call of a stage makes.

    Attributes:
        cells: which.
        compute: makes them: a `Stored`, a `Together` or a `StoredEncoder`.
        attempt: the context in which they are made and stored.
        made: what was made.
    """

    cells: list[Cell]
    compute: Callable[[], Any]
    attempt: Attempt
    made: Any = None

    def make(self) -> Any:
        """Compute the cells."""
        self.made = self.compute()
        return self.made


def ends_the_run(error: BaseException) -> bool:
    """Return whether every other cell would meet the same: no memory, no disk."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if isinstance(link, MemoryError):
            return True
        full = isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT)
        # DuckDB and Arrow may have words alone.
        if full or "No space left on device" in str(link):
            return True
        link = link.__cause__ or link.__context__
    return False
