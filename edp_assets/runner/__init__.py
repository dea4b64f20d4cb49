"""The runner: walks the asset graph in order and materialises what is not current, in the instance that the UI shows.

Dagster's command line cannot cover a graph of mixed partitions in one call. Which partitions are current is told by
`storage.workspace`; this package only decides the order, the ranges, and what is said meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import dagster as dg

from edp_assets.assets.stage import REGISTRY
from edp_assets.checks.people import is_clean, withdrawn_found
from edp_assets.runner import changes
from edp_assets.runner.choice import Choice, Dimensions, chosen_stages, describe, reasons
from edp_assets.runner.execute import StageFailedError, end_orphans, materialise, tell_checks, tell_looks
from edp_assets.runner.holding import Holding
from edp_assets.runner.ranges import ranges
from edp_assets.storage import mirror, warehouse
from edp_assets.storage.cells import ASIDE
from edp_assets.storage.verdicts import GATES, Hold, Verdicts
from edp_assets.storage.workspace import CODES, Workspace

__all__ = ["Choice", "Outcome", "StageFailedError", "bring_warehouse_up_to_date", "run"]

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What a run did: partitions made, found current, and held by failed checks, by asset; and which checks failed.

    `withdrawn` says where people who withdrew are still found, which holds nothing.
    `changes` says in words what of the cohort had changed since the run before: labels, scans, participants.
    """

    made: dict[str, int] = field(default_factory=dict)
    current: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    holds: list[Hold] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
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
        bring_warehouse_up_to_date(workspace, say)
        dimensions = Dimensions(workspace, instance, choice)
        holding = Holding(Verdicts(workspace))
        for number, stage in enumerate(stages, 1):
            name = "/".join(stage.spec.asset)
            cells = dimensions.cells(stage)
            held = holding.of(stage.spec, cells)
            cells = [cell for cell in cells if cell not in held]
            stale = workspace.stale_cells(stage.spec, cells)
            # Before anything is built on a file it is looked at: of what is current it was, when that was built.
            held += (unfit := holding.of(stage.spec, list(stale), look=True))
            outcome.current[name] = len(cells) - len(stale)
            stale = {cell: why for cell, why in stale.items() if cell not in unfit}
            if held:
                outcome.held[name] = len(held)
                say(f"[{number}/{len(stages)}] {name} held by failed checks upstream: {describe(held) or 'all'}")
            if stale:
                what = f" {describe(list(stale))}" if stage.spec.dimensions else ""
                say(f"[{number}/{len(stages)}] {name}{what}{reasons(stale)}")
                if again := sorted(set(stale) & set(workspace.set_aside(stage.spec.asset))):
                    say(f"    {len(again)} of them because a damaged file was set aside: {describe(again)}")
                before, rows = time.monotonic(), changes.rows_of(workspace, stage.spec, stale)
                for first, last in ranges(stale, dimensions.order):
                    materialise(instance, stage, first, last)
                outcome.made[name] = len(stale)
                say(f"[{number}/{len(stages)}] {name} done in {time.monotonic() - before:.1f} s")
                outcome.changes += changes.told(stage.spec, rows, changes.rows_of(workspace, stage.spec, stale))
            if stage.spec.asset in GATES and (holding.check(stage.spec.asset, cells, say) or stale):
                tell_checks(instance, stage)
            if stage.spec.asset == CODES:
                dimensions.add_codes()
        outcome.holds = holding.told()
        bring_warehouse_up_to_date(workspace, say)
        made = [stage for stage in stages if "/".join(stage.spec.asset) in outcome.made]
        if made or not is_clean(workspace):
            tell_looks(instance, made)
        outcome.withdrawn = withdrawn_found(workspace)
    outcome.seconds = time.monotonic() - started
    return outcome


def bring_warehouse_up_to_date(workspace: Workspace, say: Say) -> None:
    """Bring what the warehouse lacks in from the lake: all of it where it is gone or damaged, what a kill left out."""
    home = workspace.home
    everything = [(stage.spec.table, stage.spec.asset) for stage in REGISTRY.values()]
    try:
        if home.warehouse.exists():
            warehouse.check(home.warehouse, wait_seconds=0)
    except warehouse.WarehouseLockedError:
        pass  # told below, where something waits for it
    except warehouse.WarehouseDamagedError as error:
        mirror.set_aside(home, error)
        say(f"{error} It was set aside as {home.warehouse.name}{ASIDE}.")
    if left := mirror.catch_up(home, workspace.lake, everything):
        say(
            f"{home.warehouse} is held by another program and lacks results of {len(left)} assets, which the lake has: "
            "close that program; the next run, or `edp report`, brings them in"
        )
