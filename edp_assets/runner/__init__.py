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
from edp_assets.runner.choice import Choice, Dimensions, chosen_stages, describe
from edp_assets.runner.execute import StageFailedError, end_orphans, materialise, tell_checks
from edp_assets.runner.holding import Failed, Holding
from edp_assets.runner.ranges import ranges
from edp_assets.runner.retry import retry
from edp_assets.storage import warehouse
from edp_assets.storage.attempts import Reason
from edp_assets.storage.debts import settle
from edp_assets.storage.lake import Cell
from edp_assets.storage.piece_files import remove_finished
from edp_assets.storage.verdicts import GATES, Hold, Verdicts
from edp_assets.storage.workspace import Workspace

__all__ = ["Choice", "Failed", "Outcome", "StageFailedError", "rebuild_warehouse", "run"]

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        made, current, held: partitions made, found current, and held by what failed above them, by asset.
        holds: the failed checks that hold something.
        failed: the partitions that could not be made.
        retry: the narrowest choice that makes these and what stands below them; None where none failed.
    """

    made: dict[str, int] = field(default_factory=dict)
    current: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    holds: list[Hold] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    retry: Choice | None = None
    seconds: float = 0.0


def run(workspace: Workspace, choice: Choice, say: Say) -> Outcome:
    """Materialise the chosen part of the graph, leaving alone what is current and what failed checks hold.

    A partition that fails holds what stands below it; everything else is made.

    Raises:
        StageFailedError: a stage without partitions failed, or one as a whole (a full disk, say); what was done before
            it is kept, and the next run goes on there.
        ValueError: an organ, code, encoder or selection that the cohort or the graph does not have.
    """
    started = time.monotonic()
    outcome = Outcome()
    stages = chosen_stages(choice, workspace.settings.encoders)
    _tidy(workspace, say)
    with dg.DagsterInstance.get() as instance:
        end_orphans(instance, say)
        dimensions = Dimensions(workspace, instance, choice)
        dimensions.require_codes(stages)
        holding = Holding(Verdicts(workspace))
        for number, stage in enumerate(stages, 1):
            name = "/".join(stage.spec.asset)
            cells = dimensions.cells(stage)
            held = holding.of(stage.spec, cells)
            cells = [cell for cell in cells if cell not in held]
            current = workspace.current_cells(stage.spec, cells)
            stale = [cell for cell in cells if cell not in current]
            outcome.current[name] = len(current)
            if held:
                outcome.held[name] = len(held)
                say(f"[{number}/{len(stages)}] {name} held by what failed upstream: {describe(held) or 'all'}")
            if stale:
                what = f" {describe(stale)}" if stage.spec.dimensions else ""
                say(f"[{number}/{len(stages)}] {name}{what}")
                before, failed = time.monotonic(), dict[Cell, Reason]()
                for first, last in ranges(stale, dimensions.order):
                    failed |= materialise(instance, stage, first, last)
                outcome.made[name] = len(stale) - len(failed)
                lost = f", {len(failed)} of {len(stale)} failed" if failed else ""
                say(f"[{number}/{len(stages)}] {name} done in {time.monotonic() - before:.1f} s{lost}")
                if failed:
                    holding.fail(stage.spec.asset, failed)
            if stage.spec.asset in GATES and (holding.check(stage.spec.asset, cells, say) or stale):
                tell_checks(instance, stage)
            if name == "icd10_codes":
                dimensions.add_codes()
        outcome.holds, outcome.failed = holding.told(), holding.failed()
        outcome.retry = retry(choice, holding, dimensions.keys)
    _mirror(workspace)
    outcome.seconds = time.monotonic() - started
    return outcome


def _tidy(workspace: Workspace, say: Say) -> None:
    """Clear up after processes that died: half-written files, and stored rows that the warehouse does not show.

    While a run of the UI makes something nothing is done: a later run does it.
    """
    if any(workspace.lake.cells(stage.spec.asset) for stage in REGISTRY.values()):
        _mirror(workspace)
    with workspace.home.alone() as alone:
        if alone:
            workspace.home.sweep_temporary()
            remove_finished(workspace.home.lake)
            _remove_finished_training(workspace)
            tables = {asset: stage.spec.table for asset, stage in REGISTRY.items()}
            if late := settle(workspace.home, workspace.lake, tables):
                say(f"an earlier run died before the warehouse had all it stored: brought in, of {len(late)} asset(s)")


def _remove_finished_training(workspace: Workspace) -> None:
    """Remove what training would resume from where the encoder is stored, and made from what is there now."""
    for stage in REGISTRY.values():
        for cell in workspace.checkpoints.cells(stage.spec.asset):
            training = workspace.checkpoints.training_path(stage.spec.asset, cell)
            if training.exists() and workspace.current_cells(stage.spec, [cell]):
                training.unlink(missing_ok=True)


def _mirror(workspace: Workspace) -> None:
    """Make the warehouse from the lake if it is not there (deleted, or damaged and moved away)."""
    if not workspace.home.warehouse.exists():
        rebuild_warehouse(workspace)


def rebuild_warehouse(workspace: Workspace) -> None:
    """Make the warehouse anew from the lake."""
    lake_stages: list[tuple[str, tuple[str, ...]]] = [(s.spec.table, s.spec.asset) for s in REGISTRY.values()]
    warehouse.rebuild(workspace.home.warehouse, workspace.lake, lake_stages)
