"""Draws several figures at once, in processes of their own: matplotlib takes one core, and much of a run.

They are started when there is work for them, stay for the life of the process, and end with it however it ends.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache, partial
from typing import TYPE_CHECKING

from edp_assets.ending import end_with_parent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

FEW = 4
"""Figures that are drawn here: to start processes, which import matplotlib, takes as long."""
MOST = 8
"""Processes: more figures at once than a cell mostly has."""

Task = tuple["partial[Figure]", Mapping[str, str]]
"""What draws a figure, of plain values alone, and the texts that go into its file."""

_started = False


def draw_all(tasks: Sequence[Task]) -> Iterator[bytes]:
    """Yield the PNG file of each figure, in their order; what a figure's function raises is raised when it is due."""
    processes = _processes()
    if processes == 1 or not tasks or (len(tasks) < FEW and not _started):
        yield from map(_draw, tasks)
        return
    drawn = 0
    try:
        futures = [_pool(processes).submit(_draw, task) for task in tasks]
        for future in futures:
            png = future.result()
            drawn += 1
            yield png
    except BrokenProcessPool:
        log.warning("a process that drew figures died, mostly for want of memory: they are drawn one after another")
        _pool.cache_clear()
        yield from map(_draw, tasks[drawn:])


def _processes() -> int:
    """Return how many figures are drawn at once: as many as libraries may use threads.

    A process of another pool has one core as it is.
    """
    if multiprocessing.parent_process() is not None:
        return 1
    said = os.environ.get("OMP_NUM_THREADS", "")
    return min(MOST, len(os.sched_getaffinity(0)), max(1, int(said)) if said.isdecimal() else MOST)


def _draw(task: Task) -> bytes:
    from edp_assets.figures.render import to_png

    draw, texts = task
    return to_png(draw(), texts)


@cache
def _pool(processes: int) -> ProcessPoolExecutor:
    global _started
    _started = True
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=end_with_parent)
