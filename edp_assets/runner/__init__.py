"""The runner: walks the asset graph in order and materialises what is not current, in the instance that the UI shows.

Dagster's command line cannot cover a graph of mixed partitions in one call. Which partitions are current is told by
`storage.workspace`; this package only decides the order, the ranges, and what is said meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import dagster as dg

from edp_assets.runner.choice import Choice, Dimensions, chosen_stages, describe
from edp_assets.runner.execute import StageFailedError, end_orphans, materialise, tell_checks
from edp_assets.runner.holding import Holding
from edp_assets.runner.ranges import ranges
from edp_assets.runner.withdrawing import Withdrawing, tables, withdrawal_lines
from edp_assets.storage import warehouse
from edp_assets.storage.trained_on import kept_lines
from edp_assets.storage.verdicts import GATES, Hold, Verdicts
from edp_assets.storage.workspace import Workspace

__all__ = ["Choice", "Outcome", "StageFailedError", "rebuild_warehouse", "run", "withdrawal_lines"]

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What a run did: partitions made, found current, and held by failed checks, by asset; and which checks failed."""

    made: dict[str, int] = field(default_factory=dict)
    current: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    holds: list[Hold] = field(default_factory=list)
    seconds: float = 0.0


def run(workspace: Workspace, choice: Choice, say: Say) -> Outcome:
    """Materialise the chosen part of the graph, leaving alone what is current and what failed checks hold.

    Raises:
        StageFailedError: a stage failed; what was done before it is kept, and the next run goes on there.
        ValueError: an organ, code, encoder or selection that the cohort or the graph does not have.
    """
    started = time.monotonic()
    outcome = Outcome()
    stages = chosen_stages(choice, workspace.settings.encoders)
    with dg.DagsterInstance.get() as instance:
        end_orphans(instance, say)
        withdrawing = Withdrawing(workspace, instance, choice, say)
        dimensions = Dimensions(workspace, instance, choice)
        holding = Holding(Verdicts(workspace))
        for number, stage in enumerate(stages, 1):
            name = "/".join(stage.spec.asset)
            cells = dimensions.cells(stage)
            held = holding.of(stage.spec, cells)
            cells = [cell for cell in cells if cell not in held]
            current = workspace.current_cells(stage.spec, cells, retrain=choice.retrain)
            stale = [cell for cell in cells if cell not in current]
            outcome.current[name] = len(current)
            if held:
                outcome.held[name] = len(held)
                say(f"[{number}/{len(stages)}] {name} held by failed checks upstream: {describe(held) or 'all'}")
            for line in kept_lines(workspace, stage.spec, current) if stage.spec.kept_despite else ():
                say(f"    {line}")
            if stale:
                what = f" {describe(stale)}" if stage.spec.dimensions else ""
                say(f"[{number}/{len(stages)}] {name}{what}")
                before = time.monotonic()
                for first, last in ranges(stale, dimensions.order):
                    materialise(instance, stage, first, last)
                outcome.made[name] = len(stale)
                say(f"[{number}/{len(stages)}] {name} done in {time.monotonic() - before:.1f} s")
            if stage.spec.asset in GATES and (holding.check(stage.spec.asset, cells, say) or stale):
                tell_checks(instance, stage)
            if name == "icd10_codes":
                dimensions.add_codes()
                withdrawing.remove_retired()
        outcome.holds = holding.told()
        withdrawing.prove()
    _mirror(workspace)
    outcome.seconds = time.monotonic() - started
    return outcome


def _mirror(workspace: Workspace) -> None:
    """Make the warehouse from the lake if it is not there (deleted, or damaged and moved away)."""
    if not workspace.home.warehouse.exists():
        rebuild_warehouse(workspace)


def rebuild_warehouse(workspace: Workspace) -> None:
    """Make the warehouse anew from the lake."""
    warehouse.rebuild(workspace.home.warehouse, workspace.lake, tables())
