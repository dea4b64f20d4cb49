"""Jobs: what a run of one does, and what it says where it cannot; and what of it all is switched on."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from edp_assets.assets.encoders import ENCODERS
from edp_assets.automation import jobs
from edp_assets.automation.build import build_automation, settings_of_home
from edp_assets.cohort.problems import CohortError
from edp_assets.definitions import defs
from edp_assets.refresh import refresh
from edp_assets.runner import Failed, Outcome
from edp_assets.runner.choice import Choice, chosen_stages
from edp_assets.settings import Settings
from edp_assets.storage.attempts import Reason
from edp_assets.storage.cells import cell_of
from edp_assets.storage.home import Home
from edp_assets_tests.automation.conftest import CHOICE, diagnose


def start(job: dg.JobDefinition, **chosen: object) -> tuple[dg.DagsterRun, str]:
    """Run a job in this process; return its run and the words that it failed with (none: it succeeded)."""
    config = {"ops": {f"{job.name}_cohort": {"config": chosen}}}
    with dg.DagsterInstance.get() as instance:
        done = job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
        run = instance.get_run_by_id(done.run_id)
    assert run is not None
    failed = [event for event in done.all_events if event.event_type_value == "STEP_FAILURE"]
    return run, str(failed[0].event_specific_data.user_failure_data.description) if failed else ""


def test_refresh__makes_what_a_changed_label_touches_and_logs_what_it_does(
    home: Home, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    diagnose(folder, "290", "K760")
    run, failed = start(jobs.full_run, select=str(CHOICE.select))
    assert failed == ""
    assert (run.tags[jobs.WHAT], run.tags[jobs.COHORT]) == ("full_run", "tiny")
    logged = "".join(capfd.readouterr())
    assert "icd10_whole_cohort/gwas_summary_stats K76 (input" in logged
    assert "changed: " in logged
    assert "4 partitions made" in logged
    assert "I50" not in logged
    assert (home.report / "index.html").exists()
    assert list((home.dagster / "alive").iterdir()) == []


def test_refresh_labels__does_the_same_below_the_labels_alone(
    home: Home, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    diagnose(folder, "290", "K760")
    _, failed = start(jobs.refresh_labels, select=str(CHOICE.select))
    assert failed == ""
    assert "icd10_whole_cohort/gwas_summary_stats K76 (input" in "".join(capfd.readouterr())
    below = {stage.spec.asset[-1] for stage in chosen_stages(Choice(select=jobs.BELOW_LABELS), ENCODERS)}
    assert {"diagnoses", "icd10_cases", "phenotype_selection", "edp_scores", "gwas_summary_stats", "gene_hits"} <= below
    assert not below & {"scans", "masked_crops", "encoder", "embeddings", "association_basis", "embedding_associations"}


def test_refresh__is_told_that_another_process_is_at_work(home: Home) -> None:
    with home.writing():
        run, failed = start(jobs.full_run)
    assert "is in use by another run" in failed
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert jobs.FAILED not in run.tags  # to ask again helps


def test_refresh__a_broken_table_fails_the_run_with_what_edp_check_says(home: Home, folder: Path) -> None:
    (folder / "participants.csv").write_text("age,sex\n60,1\n")
    run, failed = start(jobs.full_run)
    assert "participants.csv" in failed
    assert "eid" in failed
    assert run.tags[jobs.FAILED] == "true"


def test_refresh__a_wrong_value_is_told_without_whose_it_is(home: Home, folder: Path) -> None:
    table = folder / "participants.csv"
    header, first, *rest = table.read_text().splitlines()
    table.write_text("\n".join([header, first.replace(first.split(",")[1], "n/k", 1), *rest]) + "\n")
    eid = first.split(",")[0]
    with pytest.raises(CohortError, match=eid):
        refresh(home, folder, CHOICE, lambda _: None)
    _, failed = start(jobs.full_run)
    assert "participants.csv: 1 wrong; wanted" in failed
    assert f"`edp check {folder}` names the rows" in failed
    assert "n/k" not in failed
    assert not [
        path for path in home.dagster.rglob("*") if path.is_file() and f"eid {eid}" in path.read_text("latin-1")
    ]
    assert not [path for path in home.dagster.rglob("*") if path.is_file() and "n/k" in path.read_text("latin-1")]


@pytest.mark.parametrize("job", [jobs.full_run, jobs.train_encoders])
def test_jobs__fail_where_edp_refresh_ends_with_1(
    home: Home, monkeypatch: pytest.MonkeyPatch, job: dg.JobDefinition
) -> None:
    failed = [Failed(("mae", "edp_scores"), cell_of({"organ": "liver", "icd10": "K76"}), Reason("singular matrix", ""))]
    asked = []

    def refreshed(home: Home, folder: Path, choice: Choice, say: object) -> Outcome:
        asked.append(choice.select)
        return Outcome(failed=failed, withdrawn=["1 person who withdrew is found in lake/x"])

    monkeypatch.setattr(jobs, "edp_refresh", refreshed)
    run, told = start(job, select="key:a")
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert "1 partition(s) failed" in told
    assert "mae/edp_scores [K76 liver]: singular matrix" in told
    assert "1 person who withdrew is found in lake/x" in told
    assert asked == ["key:a" if job is jobs.full_run else '(+key:"*/encoder") and (key:a)']


def test_verify__fails_with_the_damaged_files(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    damages = [f"file {i}" for i in range(jobs.SHOWN + 3)]
    monkeypatch.setitem(sys.modules, "edp_assets.storage.verify", SimpleNamespace(verify=lambda workspace: damages))
    _, failed = start(jobs.verify)
    assert failed.startswith("23 stored files are damaged:\n  file 0\n")
    assert "and 3 more" in failed


def test_definitions__everything_is_off_unless_cohort_toml_says_so(home: Home, folder: Path) -> None:
    off = build_automation(Settings())
    assert {sensor.default_status.value for sensor in off.sensors or []} == {"STOPPED"}
    assert {schedule.default_status.value for schedule in off.schedules or []} == {"STOPPED"}
    with (folder / "cohort.toml").open("a") as file:
        file.write('watch_seconds = 60\nnightly = "30 1 * * 1-5"\ntimezone = "Europe/London"\n')
    on = build_automation(settings_of_home(home))
    watch = next(sensor for sensor in on.sensors or [] if sensor.name == "cohort_changes")
    assert (watch.default_status.value, watch.minimum_interval_seconds) == ("RUNNING", 60)
    nightly, weekly = on.schedules or []
    assert (nightly.cron_schedule, nightly.execution_timezone) == ("30 1 * * 1-5", "Europe/London")
    assert (nightly.default_status.value, weekly.default_status.value) == ("RUNNING", "STOPPED")
    assert weekly.cron_schedule == "0 4 * * 0"


def test_settings_of_home__a_broken_cohort_toml_is_told_and_counts_as_off(
    home: Home, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "cohort.toml").write_text("[cohort\n")
    with caplog.at_level(logging.WARNING):
        assert settings_of_home(home) == Settings()
    assert "counts as off" in caplog.text


@pytest.mark.parametrize("time", ["0 2 * *", "60 2 * * *", "0 2 * * 8", "0 2 31-1 * *", "*/0 2 * * *", "nightly", ""])
def test_settings__a_wrong_time_is_refused(time: str) -> None:
    with pytest.raises(ValueError, match=r"nightly.*cron line of five fields"):
        Settings.from_toml({"automation": {"nightly": time}})


def test_settings__times_and_zones() -> None:
    for time in ("0 2 * * *", "*/15 0-6,22 1,15 * 0", "off"):
        assert Settings.from_toml({"automation": {"weekly": time}}).automation.weekly == time
    with pytest.raises(ValueError, match=r"timezone.*IANA"):
        Settings.from_toml({"automation": {"timezone": "Mars/Olympus"}})


def test_jobs__say_what_they_do() -> None:
    found = {job.name: job for job in defs.resolve_all_job_defs() if job.name != "__ASSET_JOB"}
    assert set(found) == {"full_run", "refresh_labels", "train_encoders", "report", "verify"}
    assert all(job.description for job in found.values())
