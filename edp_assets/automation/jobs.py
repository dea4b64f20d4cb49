"""The jobs of the UI, the sensor and the schedules: each one op that does what a command of `edp` does.

The op calls the same function as the command and streams its lines to the run's log; the runs that this function makes
stand beside it in the UI.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import dagster as dg
from pydantic import Field

from edp_assets.automation.alive import alive
from edp_assets.cohort.problems import CohortError
from edp_assets.refresh import refresh as edp_refresh
from edp_assets.runner import Choice, Outcome
from edp_assets.storage.home import Home, HomeError
from edp_assets.storage.workspace import Workspace

WHAT, COHORT, FAILED = "edp/what", "edp/cohort", "edp/failed"
"""Tags of a run: the job's name; the cohort's; that it failed by what it did, so that to ask again would not help."""

BELOW_LABELS = 'key:"diagnoses"+ or key:"binary_labels"+'
"""Every asset that a changed label can touch: no encoder, crop or association basis."""

SHOWN = 20
"""Failed checks, failed partitions or damaged files that a run's last words list."""

Say = Callable[[str], None]


class Chosen(dg.Config):
    """What of the cohort a run is for; empty: all of it."""

    organs: list[str] = Field(default=[], description="only these organs")
    icd10: list[str] = Field(default=[], description="only these ICD-10 codes, or set.label")
    encoders: list[str] = Field(default=[], description="only these encoders")
    select: str = Field(default="", description="only these assets, in Dagster's selection syntax")
    phenome: bool = Field(default=False, description="take a new snapshot of the PheWAS traits")

    def choice(self) -> Choice:
        """Return it as the runner takes it."""
        chosen = tuple(self.organs), tuple(self.icd10), tuple(self.encoders), self.select or None
        return Choice(*chosen, phenome=self.phenome)


def refresh_chosen(workspace: Workspace, choice: Choice, say: Say) -> None:
    """Do what `edp refresh` does."""
    outcome = edp_refresh(workspace.home, workspace.cohort.folder, choice, say)
    for line in outcome.changes:
        say(f"changed: {line}")
    say(f"{sum(outcome.made.values())} partitions made, {sum(outcome.current.values())} were current")
    if outcome.made and workspace.home.warehouse.exists():
        build_report(workspace, choice, say)
    require_made(outcome)


def require_made(outcome: Outcome) -> None:
    """Raise where `edp refresh` would end with 1: something failed, is held, or people who withdrew are found."""
    told = []
    if outcome.failed:
        failed = [f"{'/'.join(e.asset)} [{' '.join(key for _, key in e.cell)}]: {e.reason}" for e in outcome.failed]
        told.append(
            f"{len(failed)} partition(s) failed (what does not stand below them is made):\n{_listed(failed)}\n"
            "The job full_run makes them again."
        )
    if outcome.holds:
        told.append(
            f"{len(outcome.holds)} failed check(s) hold what stands downstream (everything else is made):\n"
            + _listed(outcome.holds)
        )
    if told := [*told, *outcome.withdrawn]:
        raise RuntimeError("\n".join(told))


def refresh_labelled(workspace: Workspace, choice: Choice, say: Say) -> None:
    """Do what `edp refresh` does, of what stands below the labels; a narrower selection stays within that."""
    refresh_chosen(workspace, _within(BELOW_LABELS, choice), say)


def train(workspace: Workspace, choice: Choice, say: Say) -> None:
    """Materialise encoders and what they are made from; a narrower selection stays within that."""
    chosen = _within('+key:"*/encoder"', choice)
    require_made(edp_refresh(workspace.home, workspace.cohort.folder, chosen, say))


def _within(select: str, choice: Choice) -> Choice:
    """Return a choice kept within a selection."""
    return replace(choice, select=f"({select}) and ({choice.select})" if choice.select else f"({select})")


def build_report(workspace: Workspace, _: Choice, say: Say) -> None:
    """Do what `edp report` does."""
    from edp_assets.report.build import build_report as write

    warehouse = workspace.home.warehouse
    if not warehouse.exists():
        raise HomeError(f"{warehouse} is not there: run `edp run COHORT` or the job full_run first.")
    say(f"report: {write(workspace, say)}")


def verify_all(workspace: Workspace, _: Choice, say: Say) -> None:
    """Read every stored file in full and fail with those that are damaged."""
    damages = import_module("edp_assets.storage.verify").verify(workspace)
    if damages:
        told = f"{len(damages)} stored files are damaged:\n{_listed(damages)}"
        raise RuntimeError(f"{told}\nThe job full_run makes them again.")
    say("every stored file is whole")


def _listed(found: Sequence[object]) -> str:
    more = f"\n  and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "\n".join(f"  {each}" for each in found[:SHOWN]) + more


def _without_rows(error: CohortError, folder: Path) -> str:
    """Return what is wrong with a cohort, without rows, values or eids: Dagster's log outlives a withdrawal."""
    wrong = Counter((each.file, each.wanted, each.remedy) for each in error.problems)
    kinds = [f"{file}: {n} wrong; wanted {wanted}; to do: {remedy}" for (file, wanted, remedy), n in wrong.items()]
    return f"the cohort cannot be used (`edp check {folder}` names the rows):\n{_listed(kinds)}"


def _job(name: str, description: str, work: Callable[[Workspace, Choice, Say], None]) -> dg.JobDefinition:
    """Return a job of one op, whose run ends with the words that the command would print."""

    @dg.op(name=f"{name}_cohort", description=description)
    def work_in_home(context: dg.OpExecutionContext, config: Chosen) -> None:
        home = Home.from_environment()
        home.prepare()
        workspace = Workspace(home)
        with alive(home, context.run_id):
            try:
                context.instance.add_run_tags(context.run_id, {COHORT: workspace.cohort.name})
                work(workspace, config.choice(), context.log.info)
            except HomeError as error:  # somebody else is at work in the home: to ask again helps
                raise dg.Failure(str(error), allow_retries=False) from None
            except CohortError as error:
                context.instance.add_run_tags(context.run_id, {FAILED: "true"})
                raise dg.Failure(_without_rows(error, workspace.cohort.folder), allow_retries=False) from None
            except Exception as error:
                context.instance.add_run_tags(context.run_id, {FAILED: "true"})
                raise dg.Failure(f"{error}" or type(error).__name__, allow_retries=False) from error

    @dg.job(name=name, description=description, tags={WHAT: name}, executor_def=dg.in_process_executor)
    def job() -> None:
        work_in_home()

    return job


full_run = _job(
    "full_run",
    "Compare labels, scans, withdrawals and settings with what is stored, make what is missing or touched by a change, "
    "and build the report: `edp refresh`.",
    refresh_chosen,
)
refresh_labels = _job(
    "refresh_labels",
    "Read the diagnoses and label sets again, make the phenotypes, associations and summaries of those that changed, "
    "and build the report; encoders, crops and projection bases are left alone.",
    refresh_labelled,
)
train_encoders = _job(
    "train_encoders",
    "Train the encoders that are not current, of all organs or those in the config, and make what they need.",
    train,
)
report = _job("report", "Build the closing tables and the report from the warehouse: `edp report`.", build_report)
verify = _job("verify", "Read every stored file in full and tell those that are damaged.", verify_all)

JOBS = (full_run, refresh_labels, train_encoders, report, verify)
