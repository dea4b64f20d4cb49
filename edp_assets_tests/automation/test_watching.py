"""The sensor on a cohort's files: what makes it ask for a refresh, once, and what does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from edp_assets.automation.alive import alive, end_dead
from edp_assets.automation.jobs import FAILED, full_run
from edp_assets.automation.sensors import CHANGED
from edp_assets.automation.watching import changed, look, seen
from edp_assets.definitions import defs
from edp_assets.storage.home import Home
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.automation.conftest import diagnose

SENSOR = defs.resolve_sensor_def("cohort_changes")


@pytest.fixture
def instance(home: Home) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as made:
        yield made


class Looks:
    """The looks of the sensor, one after another, with its cursor."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.cursor = instance, None

    def __call__(self) -> dg.RunRequest | str:
        """Return what it asks for, or why it asks for nothing."""
        context = dg.build_sensor_context(self.instance, cursor=self.cursor, definitions=defs)
        found = SENSOR.evaluate_tick(context)
        self.cursor = found.cursor
        return found.run_requests[0] if found.run_requests else str(found.skip_message)


def end(instance: dg.DagsterInstance, request: dg.RunRequest, status: dg.DagsterRunStatus, **tags: str) -> None:
    """Leave the run that a request asked for in a status."""
    instance.create_run_for_job(full_run, tags={"dagster/run_key": str(request.run_key), **tags}, status=status)


def test_look__sees_replaced_tables_genotypes_and_new_images(home: Home, folder: Path) -> None:
    cohort = Workspace(home).cohort
    before = look(cohort)
    assert {"cohort.toml", "participants.csv", "chr1.bed", "images"} <= set(before)
    os.utime(folder / "chr2.fam", (1, 1))
    (folder / "images/two.nii").touch()
    assert changed(before, look(cohort)) == ["chr2.bed", "images"]


def test_sensor__asks_once_for_a_change_that_has_become_quiet(instance: dg.DagsterInstance, folder: Path) -> None:
    looks = Looks(instance)
    assert "no file of the cohort has changed" in str(looks())  # the results have seen the files as they are
    diagnose(folder, "290", "K760")
    assert "changed: diagnoses.csv" in str(looks())
    diagnose(folder, "291", "K760")  # still being written
    assert "changed: diagnoses.csv" in str(looks())
    asked = looks()
    assert isinstance(asked, dg.RunRequest)
    assert asked.tags[CHANGED] == "diagnoses.csv"
    assert "no file" in str(looks())
    end(instance, asked, dg.DagsterRunStatus.SUCCESS)
    assert "no file" in str(looks())


def test_sensor__a_file_put_back_is_a_change_of_its_own(instance: dg.DagsterInstance, folder: Path) -> None:
    file = folder / "diagnoses.csv"
    text, times = file.read_text(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    looks, keys = Looks(instance), set()
    looks()
    for step in range(4):
        if step % 2:
            file.write_text(text)
            os.utime(file, ns=times)
        else:
            diagnose(folder, "290", "K760")
        looks()
        asked = looks()
        assert isinstance(asked, dg.RunRequest)
        keys.add(asked.run_key)
    assert len(keys) == 4


def test_sensor__first_look_asks_for_what_changed_while_it_was_off(instance: dg.DagsterInstance, folder: Path) -> None:
    diagnose(folder, "290", "K760")
    assert isinstance(Looks(instance)(), dg.RunRequest)


def test_seen__settings_are_seen_only_if_older_than_the_last_run(home: Home, folder: Path) -> None:
    assert changed(seen(Workspace(home)), look(Workspace(home).cohort)) == []
    with (folder / "cohort.toml").open("a") as file:
        file.write("# more\n")
    assert changed(seen(Workspace(home)), look(Workspace(home).cohort)) == ["cohort.toml"]


def test_sensor__waits_while_another_process_is_at_work(instance: dg.DagsterInstance, home: Home, folder: Path) -> None:
    looks = Looks(instance)
    looks()
    diagnose(folder, "290", "K760")
    looks()
    with home.writing():
        assert "is in use by another run" in str(looks())
    assert isinstance(looks(), dg.RunRequest)


@pytest.mark.parametrize(("tags", "again"), [({}, True), ({FAILED: "true"}, False)])
def test_sensor__asks_again_only_where_the_run_did_not_fail_by_itself(
    instance: dg.DagsterInstance, folder: Path, tags: dict[str, str], again: bool
) -> None:
    looks = Looks(instance)
    looks()
    diagnose(folder, "290", "K760")
    looks()
    asked = looks()
    for _ in range(2):
        assert isinstance(asked, dg.RunRequest)
        end(instance, asked, dg.DagsterRunStatus.FAILURE, **tags)
        asked = looks()
        assert isinstance(asked, dg.RunRequest) == again
        if not again:
            return
    assert isinstance(asked, dg.RunRequest)
    end(instance, asked, dg.DagsterRunStatus.FAILURE)
    assert "no file" in str(looks())  # three times are enough


def test_sensor__a_home_without_a_cohort_is_told(instance: dg.DagsterInstance, home: Home) -> None:
    (home.root / "cohort.json").unlink()
    assert "belongs to no cohort yet" in str(Looks(instance)())


def test_end_dead__ends_runs_whose_process_died_and_no_other(instance: dg.DagsterInstance, home: Home) -> None:
    runs = [instance.create_run_for_job(full_run, status=dg.DagsterRunStatus.STARTED) for _ in range(2)]
    with alive(home, runs[0].run_id):
        (home.dagster / "alive" / runs[1].run_id).touch()  # as a killed process leaves it
        assert end_dead(home, instance) == [runs[1].run_id]
    found = [instance.get_run_by_id(run.run_id) for run in runs]
    assert [run.status.value for run in found if run] == ["STARTED", "FAILURE"]
    assert end_dead(home, instance) == []


def test_sensor__a_reset_cursor_asks_under_keys_of_its_own(instance: dg.DagsterInstance, folder: Path) -> None:
    looks, keys = Looks(instance), []
    for eid in ("290", "291"):
        looks()
        diagnose(folder, eid, "K760")
        looks()
        asked = looks()
        assert isinstance(asked, dg.RunRequest)
        keys.append(asked.run_key)
        looks.cursor = None  # as "Reset cursor" of the UI does
    assert len(set(keys)) == 2
