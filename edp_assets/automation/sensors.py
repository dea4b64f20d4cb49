"""The sensor that refreshes when the cohort's files change, and the schedules. What the runs do is in `jobs`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import dagster as dg

from edp_assets.automation.alive import end_dead
from edp_assets.automation.jobs import FAILED, full_run, verify
from edp_assets.automation.watching import changed, look, seen
from edp_assets.settings.automation import NIGHTLY, WEEKLY, AutomationSettings
from edp_assets.storage.home import Home, HomeError
from edp_assets.storage.workspace import Workspace

CHANGED = "edp/changed"
"""Tag of a run: the files that changed."""

ATTEMPTS = 3
"""Times that a refresh is asked for whose process died, or that found the home taken."""

NAMES_SHOWN = 10


@dataclass
class Cursor:
    """What the sensor keeps between two looks.

    Attributes:
        settled: the files' signatures that a refresh was last asked for.
        last: those of the last look: a change counts once two looks agree.
        asked: runs asked for.
        since: when the cursor was first written, in ns; with `asked` it makes each run's key, also after a reset.
        attempt: how often the last one was.
    """

    settled: dict[str, str]
    last: dict[str, str]
    asked: int = 0
    attempt: int = 1
    files: list[str] = field(default_factory=list)
    since: int = field(default_factory=time.time_ns)

    def request(self) -> dg.RunRequest:
        """Return the request of a refresh."""
        names = ", ".join(self.files[:NAMES_SHOWN])
        more = len(self.files) - NAMES_SHOWN
        return dg.RunRequest(run_key=self.key, tags={CHANGED: f"{names} and {more} more" if more > 0 else names})

    @property
    def key(self) -> str:
        """The run key of the last request: Dagster starts no second run of it."""
        return f"cohort_changes-{self.since}-{self.asked}"


def watch(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Look at the cohort's files and ask for a refresh once a change has been quiet for one look."""
    home = Home.from_environment()
    if home.cohort_folder() is None:
        yield dg.SkipReason(f"{home.root} belongs to no cohort yet: run `edp run COHORT` first.")
        return
    dead = end_dead(home, context.instance)
    workspace = Workspace(home)
    now = look(workspace.cohort)
    cursor = Cursor(**json.loads(context.cursor)) if context.cursor else Cursor(seen(workspace), now)
    files = changed(cursor.settled, now)
    quiet, cursor.last = cursor.last == now, now
    again = not files and _to_ask_again(context.instance, cursor)
    skip = None
    if files and not quiet:
        skip = f"changed: {', '.join(files[:NAMES_SHOWN])}. Refreshed once they have been quiet for one look."
    elif not files and not again:
        skip = "no file of the cohort has changed"
    elif taken := _taken(home):
        skip = taken
    elif files:
        cursor.settled, cursor.files, cursor.attempt = now, files, 1
    else:
        cursor.attempt += 1
    if skip is None:
        cursor.asked += 1
        yield cursor.request()
    else:
        yield dg.SkipReason(skip + (f" ({len(dead)} run(s) whose process had died ended)" if dead else ""))
    context.update_cursor(json.dumps(asdict(cursor)))


def _taken(home: Home) -> str:
    """Return who is at work in the home; empty where nobody is."""
    try:
        with home.writing():
            return ""
    except HomeError as error:
        return str(error)


def _to_ask_again(instance: dg.DagsterInstance, cursor: Cursor) -> bool:
    """Return whether the last refresh did not come to an end of its own: its process died, or the home was taken."""
    if not cursor.asked or cursor.attempt >= ATTEMPTS:
        return False
    runs = instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": cursor.key}), limit=1)
    return any(run.status == dg.DagsterRunStatus.FAILURE and FAILED not in run.tags for run in runs)


def build_sensor(settings: AutomationSettings) -> dg.SensorDefinition:
    """Return the sensor `cohort_changes`, on where `[automation] watch` says so."""
    return dg.SensorDefinition(
        name="cohort_changes",
        job=full_run,
        evaluation_fn=watch,
        minimum_interval_seconds=settings.watch_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if settings.watch else dg.DefaultSensorStatus.STOPPED,
        description="Refreshes when a file of the cohort folder is added, removed or replaced and then left alone for "
        "one look. Its default is [automation] watch in cohort.toml; a switch in this UI overrules it.",
    )


def build_schedules(settings: AutomationSettings) -> list[dg.ScheduleDefinition]:
    """Return the schedules, on where `[automation]` gives them a time."""
    told = "Its default is [automation] {} in cohort.toml; a switch in this UI overrules it."
    return [
        dg.ScheduleDefinition(
            name=name,
            job=job,
            cron_schedule=default if time == "off" else time,
            execution_timezone=settings.timezone,
            default_status=dg.DefaultScheduleStatus.STOPPED if time == "off" else dg.DefaultScheduleStatus.RUNNING,
            description=f"{what} {told.format(key)}",
        )
        for name, job, key, time, default, what in (
            ("nightly_refresh", full_run, "nightly", settings.nightly, NIGHTLY,
             "Refresh that looks at every file, those that the sensor cannot see as well."),
            ("weekly_check", verify, "weekly", settings.weekly, WEEKLY, "Reads every stored file in full."),
        )
    ]  # fmt: skip
