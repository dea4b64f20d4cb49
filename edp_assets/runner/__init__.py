"""The runner: walks the asset graph in order and materialises what is not current, in the instance that the UI shows.

Dagster's command line cannot cover a graph of mixed partitions in one call. Which partitions are current is told by
`storage.workspace`; this package only decides the order, the ranges, and what is said meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from edp_assets.assets.stage import REGISTRY, Stage
from edp_assets.checks.people import is_clean, withdrawn_found
from edp_assets.runner import changes
from edp_assets.runner.choice import Choice, Dimensions, chosen_stages, describe, reasons
from edp_assets.runner.execute import StageFailedError, end_orphans, tell_checks
from edp_assets.runner.holding import Failed, Holding
from edp_assets.runner.places import places_of
from edp_assets.runner.retry import retry
from edp_assets.runner.withdrawing import Withdrawing, tables, withdrawal_lines
from edp_assets.storage import mirror, warehouse
from edp_assets.storage.cells import ASIDE
from edp_assets.storage.piece_files import remove_finished
from edp_assets.storage.trained_on import kept_lines
from edp_assets.storage.verdicts import GATES, Hold, Verdicts
from edp_assets.storage.workspace import CODES, Workspace

__all__ = ["Choice", "Failed", "Outcome", "StageFailedError", "bring_warehouse_up_to_date", "run"]

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        made, current, held: partitions made, found current, and held by what failed above them, by asset.
        holds: the failed checks that hold something.
        failed: the partitions that could not be made.
        retry: the narrowest choice that makes these and what stands below them; None where none failed.
        withdrawals: when they were carried out, and which encoders learned from whom.
        withdrawn: where people who withdrew are still found, which holds nothing.
        changes: in words what of the cohort had changed since the run before: labels, scans, participants.
    """

    made: dict[str, int] = field(default_factory=dict)
    current: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    holds: list[Hold] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    retry: Choice | None = None
    withdrawn: list[str] = field(default_factory=list)
    withdrawals: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
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
    _tidy(workspace)
    gates: list[Stage] = []
    with (
        dg.DagsterInstance.get() as instance,
        places_of(workspace, instance) as places,
        mirror.gathering(workspace.home, workspace.lake) as gathered,
    ):
        end_orphans(instance, say)
        bring_warehouse_up_to_date(workspace, say)
        withdrawing = Withdrawing(workspace, instance, choice, say)
        dimensions = Dimensions(workspace, instance, choice)
        dimensions.require_codes(stages)
        holding = Holding(Verdicts(workspace))
        try:
            for number, stage in enumerate(stages, 1):
                name = "/".join(stage.spec.asset)
                cells = dimensions.cells(stage)
                held = holding.of(stage.spec, cells)
                cells = [cell for cell in cells if cell not in held]
                anew = choice.phenome if stage.spec.snapshot_of else choice.retrain
                stale = workspace.stale_cells(stage.spec, cells, anew=anew)
                if stage.spec.kept_despite:
                    for line in kept_lines(workspace, stage.spec, [cell for cell in cells if cell not in stale]):
                        say(f"    {line}")
                if stage.spec.snapshot_of and set(workspace.stale_cells(stage.spec, cells, anew=True)) - set(stale):
                    say(f"    {name}: kept, a snapshot of {', '.join(stage.spec.snapshot_of)} that have changed since; "
                        f"`edp refresh {workspace.home.cohort_folder()} --phenome` takes another")  # fmt: skip
                # Before anything is built on a file it is looked at: of what is current it was, when that was built.
                held += (unfit := holding.of(stage.spec, list(stale), look=True))
                outcome.current[name] = len(cells) - len(stale)
                stale = {cell: why for cell, why in stale.items() if cell not in unfit}
                if held:
                    outcome.held[name] = len(held)
                    say(f"[{number}/{len(stages)}] {name} held by what failed upstream: {describe(held) or 'all'}")
                if stale:
                    what = f" {describe(list(stale))}" if stage.spec.dimensions else ""
                    say(f"[{number}/{len(stages)}] {name}{what}{reasons(stale)}")
                    if again := sorted(set(stale) & set(workspace.set_aside(stage.spec.asset))):
                        say(f"    {len(again)} of them because a damaged file was set aside: {describe(again)}")
                    before, rows = time.monotonic(), changes.rows_of(workspace, stage.spec, stale)
                    failed = places.make(stage, list(stale))
                    outcome.made[name] = len(stale) - len(failed)
                    lost = f", {len(failed)} of {len(stale)} failed" if failed else ""
                    say(f"[{number}/{len(stages)}] {name} done in {time.monotonic() - before:.1f} s{lost}")
                    outcome.changes += changes.told(stage.spec, rows, changes.rows_of(workspace, stage.spec, stale))
                    if failed:
                        holding.fail(stage.spec.asset, failed)
                if stage.spec.asset in GATES and (holding.check(stage.spec.asset, cells, say) or stale):
                    gates.append(stage)
                if stage.spec.asset == CODES:
                    dimensions.add_codes()
                    withdrawing.remove_retired()
        except StageFailedError:
            tell_checks(instance, gates, [], people=False)
            raise
        outcome.holds, outcome.failed = holding.told(), holding.failed()
        outcome.retry = retry(choice, holding, dimensions.keys)
        gathered.bring()
        bring_warehouse_up_to_date(workspace, say)
        made = [stage for stage in stages if "/".join(stage.spec.asset) in outcome.made]
        tell_checks(instance, gates, made, people=bool(made) or not is_clean(workspace))
        outcome.withdrawn = withdrawn_found(workspace)
        withdrawing.tell_proof(is_clean(workspace))
        outcome.withdrawals = withdrawal_lines(workspace)
    outcome.seconds = time.monotonic() - started
    return outcome


def _tidy(workspace: Workspace) -> None:
    """Remove the half-written files of processes that died.

    While a run of the UI makes something nothing is done: a later run does it.
    """
    with workspace.home.alone() as alone:
        if alone:
            workspace.home.sweep_temporary()
            if isinstance(workspace.lake.root, Path):
                remove_finished(workspace.lake.root)
            _remove_finished_training(workspace)


def _remove_finished_training(workspace: Workspace) -> None:
    """Remove what training would resume from where the encoder is stored, and made from what is there now."""
    for stage in REGISTRY.values():
        for cell in workspace.checkpoints.cells(stage.spec.asset):
            training = workspace.checkpoints.training_path(stage.spec.asset, cell)
            if training.exists() and not workspace.stale_cells(stage.spec, [cell]):
                training.unlink(missing_ok=True)


def bring_warehouse_up_to_date(workspace: Workspace, say: Say) -> None:
    """Bring what the warehouse lacks in from the lake: all of it where it is gone or damaged, what a kill left out."""
    home = workspace.home
    everything = tables()
    try:
        if home.warehouse.exists():
            warehouse.check(home.warehouse, wait_seconds=0)
            if warehouse.is_behind(home.warehouse, workspace.lake, wait_seconds=0):
                warehouse.refresh(home.warehouse, workspace.lake, [], wait_seconds=0)
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
