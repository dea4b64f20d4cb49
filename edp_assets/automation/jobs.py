"""The jobs of the UI, the sensor and the schedules: each one op that does what a command of `edp` does.

The op calls the same function as the command and streams its lines to the run's log; the runs that this function makes
stand beside it in the UI.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import dagster as dg

from edp_assets.automation.alive import alive
from edp_assets.runner import Choice, run
from edp_assets.storage.home import Home, HomeError
from edp_assets.storage.workspace import Workspace

WHAT, COHORT, FAILED = "edp/what", "edp/cohort", "edp/failed"
"""Tags of a run: the job's name; the cohort's; that it failed by what it did, so that to ask again would not help."""

HELD_SHOWN = 20

Say = Callable[[str], None]


class Chosen(dg.Config):
    """What of the cohort a run is for; empty: all of it."""

    organs: list[str] = []
    icd10: list[str] = []
    encoders: list[str] = []


def refresh_all(workspace: Workspace, chosen: Chosen, say: Say) -> None:
    """Do what `edp refresh` does, then build the report."""
    choice = Choice(tuple(chosen.organs), tuple(chosen.icd10), tuple(chosen.encoders))
    folder = workspace.home.cohort_folder()
    if find_spec("edp_assets.refresh"):
        import_module("edp_assets.refresh").refresh(workspace.home, folder, choice, say)
    else:
        _run(workspace, choice, say)
    build_report(workspace, chosen, say)


def run_all(workspace: Workspace, chosen: Chosen, say: Say) -> None:
    """Do what `edp run` does, then build the report."""
    _run(workspace, Choice(tuple(chosen.organs), tuple(chosen.icd10), tuple(chosen.encoders)), say)
    build_report(workspace, chosen, say)


def train(workspace: Workspace, chosen: Chosen, say: Say) -> None:
    """Materialise encoders and what they are made from."""
    select = '+key:"*/encoder"'
    _run(workspace, Choice(tuple(chosen.organs), (), tuple(chosen.encoders), select), say)


def build_report(workspace: Workspace, _: Chosen, say: Say) -> None:
    """Do what `edp report` does."""
    from edp_assets import summary
    from edp_assets.figures.report import write_report

    warehouse = workspace.home.warehouse
    if not warehouse.exists():
        raise HomeError(f"{warehouse} is not there: run `edp run COHORT` or the job full_run first.")
    hits, loci, organs = (f(warehouse) for f in (summary.hits_by_disease, summary.loci_by_disease,
                                                 summary.hits_by_organ))  # fmt: skip
    quality, left_out = summary.encoder_quality(warehouse), summary.left_out(warehouse)
    say(f"report: {write_report(workspace.home.report, hits, loci, organs, quality, left_out)}")


def verify_all(workspace: Workspace, _: Chosen, say: Say) -> None:
    """Read every stored file in full and fail with those that are damaged."""
    damages = import_module("edp_assets.storage.verify").verify(workspace)
    if damages:
        told = "\n".join(f"  {damage}" for damage in damages[:HELD_SHOWN])
        more = f"\n  and {len(damages) - HELD_SHOWN} more" if len(damages) > HELD_SHOWN else ""
        raise RuntimeError(f"{len(damages)} stored files are damaged:\n{told}{more}\nThe job full_run makes them again.")
    say("every stored file is whole")


def _run(workspace: Workspace, choice: Choice, say: Say) -> None:
    from edp_assets.cohort.check import check_cohort
    from edp_assets.cohort.problems import CohortError, refused

    problems = refused(check_cohort(workspace.cohort.folder, deep=False))
    if problems:
        raise CohortError(problems)
    with workspace.home.writing():
        outcome = run(workspace, choice, say)
    say(f"{sum(outcome.made.values())} partitions made, {sum(outcome.current.values())} were current")
    if outcome.holds:
        told = "\n".join(f"  {hold}" for hold in outcome.holds[:HELD_SHOWN])
        raise RuntimeError(
            f"{len(outcome.holds)} failed check(s) hold what stands downstream (everything else is made):\n{told}"
        )


def _job(name: str, description: str, work: Callable[[Workspace, Chosen, Say], None]) -> dg.JobDefinition:
    """Return a job of one op, whose run ends with the words that the command would print."""

    @dg.op(name=f"{name}_cohort", description=description)
    def work_in_home(context: dg.OpExecutionContext, config: Chosen) -> None:
        home = Home.from_environment()
        home.prepare()
        workspace = Workspace(home)
        with alive(home, context.run_id):
            try:
                context.instance.add_run_tags(context.run_id, {COHORT: workspace.cohort.name})
                work(workspace, config, context.log.info)
            except HomeError as error:  # somebody else is at work in the home: to ask again helps
                raise dg.Failure(str(error), allow_retries=False) from None
            except Exception as error:
                context.instance.add_run_tags(context.run_id, {FAILED: "true"})
                raise dg.Failure(f"{error}" or type(error).__name__, allow_retries=False) from error

    @dg.job(name=name, description=description, tags={WHAT: name}, executor_def=dg.in_process_executor)
    def job() -> None:
        work_in_home()

    return job


refresh = _job(
    "refresh",
    "Compare labels, scans, withdrawals and settings with what is stored, and rebuild what they touch: `edp refresh`.",
    refresh_all,
)
full_run = _job("full_run", "Make everything that is not current: `edp run`.", run_all)
train_encoders = _job(
    "train_encoders",
    "Train the encoders that are not current, of all organs or those in the config, and make what they need.",
    train,
)
report = _job("report", "Build the closing tables and the report from the warehouse: `edp report`.", build_report)
verify = _job("verify", "Read every stored file in full and tell those that are damaged.", verify_all)

JOBS = (refresh, full_run, train_encoders, report, verify)
