"""Running in Dagster: one stage's range of cells, its checks; and the end of runs that a killed process left open."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import dagster as dg

from edp_assets.assets.stage import Stage
from edp_assets.assets.unmade import CellsUnmadeError
from edp_assets.checks.gates import STORED_ONLY
from edp_assets.checks.people import withdrawn_people
from edp_assets.graph import graph
from edp_assets.storage.attempts import Reason
from edp_assets.storage.lake import Cell
from edp_assets.storage.verdicts import GATES, LOOKS

RUN_TAG, PART_TAG = "edp/run", "edp/part"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

Say = Callable[[str], None]


class StageFailedError(RuntimeError):
    """A stage failed; the message names it, and says why in the words of what went wrong."""


def materialise(
    instance: dg.DagsterInstance, stage: Stage, first: Cell, last: Cell, part: str | None = None
) -> dict[Cell, Reason]:
    """Run one asset over a range of partitions in this process (the one place that resolves a job by hand).

    Args:
        instance: where the run is kept.
        stage: the asset's.
        first: the range's first cell.
        last: its last one.
        part: the name of the part of a stage that this belongs to, where another process asked for it.

    Returns:
        The cells that failed; all others of the range are stored.

    Raises:
        StageFailedError: the stage as a whole failed.
    """
    tags = {RUN_TAG: "true"} | ({PART_TAG: part} if part else {})
    if first:
        start, end = ("|".join(key for _, key in cell) for cell in (first, last))
        tags |= {"dagster/asset_partition_range_start": start, "dagster/asset_partition_range_end": end}
    # Checks are told once a run, not once a range: `tell_checks`.
    job = graph.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={stage.definition.key}, asset_check_selection=set()
    )
    try:
        job.execute_in_process(instance=instance, tags=tags, run_config=QUIET)
    except CellsUnmadeError as error:
        if error.held:  # a check has failed since the runner asked
            raise StageFailedError(f"{error.description}") from error
        return error.failed
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise StageFailedError(f"{'/'.join(stage.spec.asset)} failed: {cause}") from error
    return {}


def tell_checks(instance: dg.DagsterInstance, gates: Iterable[Stage], made: Iterable[Stage], *, people: bool) -> None:
    """Tell Dagster what checks found, as results of its own checks: once a run, since each telling is a run of its own.

    Args:
        instance: where the run is kept.
        gates: the stages whose verdicts are told.
        made: those whose failed looks are told.
        people: look for people who withdrew, and tell of it.
    """
    named = [(stage, GATES) for stage in gates] + [(stage, LOOKS) for stage in made if stage.spec.asset in LOOKS]
    checks = {
        dg.AssetCheckKey(stage.definition.key, name) for stage, of in named for name in of[stage.spec.asset].checks
    }
    if people:
        checks |= withdrawn_people.check_keys
    if checks:
        everything = graph.resolve_implicit_global_asset_job_def()
        job = everything.get_subset(asset_selection=set(), asset_check_selection=checks)
        job.execute_in_process(instance=instance, tags={RUN_TAG: "true", STORED_ONLY: "stored"}, run_config=QUIET)


def end_orphans(instance: dg.DagsterInstance, say: Say) -> None:
    """Mark as failed the runs of this runner that a killed process left open; the caller holds the writer lock."""
    ended = end_open(instance, {RUN_TAG: "true"}, "The process was killed; a later `edp run` went on from here.")
    if ended:
        say(f"an earlier run was killed: {ended} open run(s) marked as failed, going on from what is stored")


def end_open(instance: dg.DagsterInstance, tags: dict[str, str], message: str) -> int:
    """Mark as failed the open runs with these tags, whose processes are dead, and return how many there were."""
    open_statuses = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.NOT_STARTED]
    orphans = instance.get_runs(filters=dg.RunsFilter(statuses=open_statuses, tags=tags))
    for orphan in orphans:
        # The dead run would hold its place in the encoders' pool, and every later one would wait for it. Its place is
        # freed first: a kill between the two leaves the run open, and the next run ends it.
        instance.event_log_storage.free_concurrency_slots_for_run(orphan.run_id)
        instance.report_run_failed(orphan, message=message)
    return len(orphans)
