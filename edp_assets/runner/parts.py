"""Parts of a stage: cells that one process makes, in this process or another, maybe of another machine."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import dagster as dg

from edp_assets.assets.stage import REGISTRY, Stage
from edp_assets.runner.choice import key_order
from edp_assets.runner.execute import PART_TAG, end_open, materialise
from edp_assets.runner.ranges import ranges
from edp_assets.storage.attempts import Reason
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Cell
from edp_assets.storage.mirror import left_to_the_run
from edp_assets.storage.workspace import Asset, Workspace

_ONE_AT_A_TIME = threading.Lock()
"""Stages use all cores of a process, and set its seeds: threads of one worker take turns."""


@dataclass(frozen=True)
class Part:
    """Cells of one stage for one process; all of it is text, so that any machine can be told.

    Attributes:
        home: EDP_HOME, under the same path everywhere.
        asset: the stage's.
        cells: which of its cells.
        name: unlike that of any other part: whoever makes it again, after a process died, finds what that one began.
    """

    home: Path
    asset: Asset
    cells: tuple[Cell, ...]
    name: str


def split(cells: Sequence[Cell], places: int) -> list[list[Cell]]:
    """Split a stage's cells among so many places, organs kept together as far as no place is left idle by that.

    Cells of one organ share its inputs, which are read once a part.
    """
    organ = {cell: dict(cell).get("organ", "") for cell in cells}
    most = max(1, math.ceil(len(cells) / places))
    parts = []
    for _, of_organ in groupby(sorted(cells, key=lambda cell: (organ[cell], cell)), key=organ.__getitem__):
        some = list(of_organ)
        size = math.ceil(len(some) / math.ceil(len(some) / most))
        parts += [some[first : first + size] for first in range(0, len(some), size)]
    return parts


def make_cells(
    instance: dg.DagsterInstance, stage: Stage, cells: Sequence[Cell], part: str | None = None
) -> dict[Cell, Reason]:
    """Make cells of a stage in this process and return those that failed.

    Raises:
        StageFailedError: the stage as a whole failed.
    """
    failed: dict[Cell, Reason] = {}
    for first, last in ranges(cells, key_order(instance)):
        failed |= materialise(instance, stage, first, last, part)
    return failed


def make(part: Part) -> dict[Cell, Reason]:
    """Make a part in whichever process is asked for it; the warehouse is left to the run that asks.

    Raises:
        StageFailedError: the stage as a whole failed.
    """
    stage, home = REGISTRY[part.asset], Home(part.home)
    with _ONE_AT_A_TIME, left_to_the_run():
        home.prepare()
        with dg.DagsterInstance.get() as instance:
            cells: Sequence[Cell] = part.cells
            if instance.get_runs(filters=dg.RunsFilter(tags={PART_TAG: part.name}), limit=1):
                end_open(instance, {PART_TAG: part.name}, "The worker died; another one went on from here.")
                # Encoders too: what is made from what there is now was made by the one that died.
                cells = list(Workspace(home).stale_cells(stage.spec, cells, anew=True))
            return make_cells(instance, stage, cells, part.name)


def unseen(home: Path, cohort: Path) -> list[str]:
    """Return which of the folders that a part needs this machine does not see, or may not write to."""
    import os

    found = [] if os.access(home, os.W_OK) else [f"EDP_HOME {home}"]
    return found if os.access(cohort, os.R_OK) else [*found, f"the cohort {cohort}"]
