"""What a benchmark reports."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One comparison; `ratio` above 1 is in our favour: of durations peer over ours, of rates ours over peer."""

    name: str
    figure: float
    unit: str
    peer: str
    peer_figure: float
    ratio: float
    note: str


def seconds(work: Callable[[], object]) -> float:
    """Return how long the work takes, wall time."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(name: str, ours: float, peer: str, theirs: float, note: str) -> Result:
    """Return the comparison of two durations in seconds."""
    return Result(name, ours, "s", peer, theirs, theirs / ours, note)
