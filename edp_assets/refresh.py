"""One run on a cohort's home, as the command line, the sensor and the schedules start it: checked, locked, resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edp_assets.cohort.check import check_cohort
from edp_assets.cohort.problems import CohortError, refused
from edp_assets.runner import Choice, Outcome, run
from edp_assets.storage.home import Home
from edp_assets.storage.postgres import require_postgres
from edp_assets.storage.workspace import Workspace

Say = Callable[[str], None]


def refresh(home: Home, folder: Path, choice: Choice, say: Say) -> Outcome:
    """Bring what is stored of a cohort up to date: make what is missing or made from something that has changed.

    Compared by content: labels a code, scans and participants a row, settings, code versions, genotype files. So a
    changed label makes its own code's cells and the summaries above them again, and no encoder, crop or basis.

    Args:
        home: where results go.
        folder: the cohort folder.
        choice: of what part of the graph; an empty one is of all.
        say: takes each line of progress.

    Raises:
        CohortError: the cohort has a problem that stops a run; nothing was written.
        HomeError: another process is at work in the home, or it holds another cohort; or what home.toml names, a
            database or a cluster, does not answer.
        StageFailedError: a stage failed; what was done before it is kept.
    """
    # Before anything is written: what stops a run is told at once, before any work starts.
    problems = check_cohort(folder, deep=False)
    if refused(problems):
        raise CohortError(refused(problems))
    with home.writing():
        home.prepare()
        require_postgres(home)
        home.bind(folder)
        if notes := sum(problem.severity != "refused" for problem in problems):
            say(f"{notes} note(s) on the cohort: `edp check {folder}` lists them; what is left out is in `excluded`")
        return run(Workspace(home), choice, say)
