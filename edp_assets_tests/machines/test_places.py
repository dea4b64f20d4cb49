"""Processes, Dask's workers and pods make what one process makes; what dies, is away or cannot serve is told."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from edp_assets import runner
from edp_assets.assets.stage import REGISTRY
from edp_assets.runner import Choice, places, run
from edp_assets.runner.execute import StageFailedError
from edp_assets.runner.parts import Part, make
from edp_assets.runner.places import Elsewhere, places_of
from edp_assets.storage.attempts import Reason
from edp_assets.storage.home import Home, HomeError
from edp_assets.storage.lake import Cell
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.checks.conftest import bind
from edp_assets_tests.faults.conftest import CASES, CODES, SCORES, SUMS, Planted
from edp_assets_tests.machines.cluster import AWS, DaskCluster, dask_cluster, postgres, s3, write_home_toml
from edp_assets_tests.machines.kube_api import kube_api

pytestmark = pytest.mark.filterwarnings(
    "ignore:Found version mismatch",  # dagster and its libraries are released hours apart
    "ignore:.*:ResourceWarning",
)
SELECT = "+key:icd10_codes or +key:icd10_cases"


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with dask_cluster(tmp_path_factory.mktemp("dask"), workers=2) as started:
        yield started


@pytest.fixture(scope="module")
def here(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    """What one process makes."""
    with pytest.MonkeyPatch.context() as patch:
        home = bind(tmp_path_factory.mktemp("here") / "home", small_cohort, patch)
        run(Workspace(home), Choice(select=SELECT), lambda line: None)
        return lake(home)


def lake(home: Home) -> dict[str, pl.DataFrame]:
    """Return every stored partition's rows, wherever the lake lies."""
    stored, found = Workspace(home).lake, {}
    for each in REGISTRY.values():
        for cell in stored.cells(each.spec.asset):
            found[f"{'/'.join(each.spec.asset)} {cell}"] = stored.read(each.spec.asset, cell)
    return found


def assert_same(home: Home, here: dict[str, pl.DataFrame]) -> None:
    found = lake(home)
    assert found.keys() == here.keys()
    assert [name for name in here if not found[name].equals(here[name])] == []


def statuses() -> list[dg.DagsterRunStatus]:
    with dg.DagsterInstance.get() as instance:
        return [each.status for each in instance.get_runs()]


def test_elsewhere__what_fails_in_a_part_holds_what_is_below_and_the_rest_is_made(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts are made by threads of this process, so that faults can be planted in them."""
    planted.faults |= {("cases", "A03"): ValueError("planted"), ("scores", "B01", "liver"): ValueError("planted")}
    asked: list[Part] = []

    def results(parts: Sequence[Part]) -> Iterator[dict[Cell, Reason]]:
        asked.extend(parts)
        yield from map(make, parts)

    monkeypatch.setattr(places, "Here", lambda instance: Elsewhere(Workspace(planted.home), lambda: 3, results))
    outcome = run(Workspace(planted.home), Choice(), lambda line: None)
    assert outcome.made == {"icd10_codes": 1, "icd10_cases": 19, "planted/scores": 37}
    assert {(failed.asset, failed.cell[0][1]) for failed in outcome.failed} == {(CASES, "A03"), (SCORES, "B01")}
    assert outcome.held == {"planted/scores": 2, "planted/sums": 2}
    planted.faults.clear()
    assert run(Workspace(planted.home), Choice(), lambda line: None).made == {
        "icd10_cases": 1, "planted/scores": 3, "planted/sums": 2
    }  # fmt: skip
    assert max(len(part.cells) for part in asked if part.asset == CASES) == 7  # 20 codes among three
    assert planted.stored(SUMS) == {"heart", "liver"}
    assert planted.stored(CASES) == set(CODES)


def test_processes__make_what_one_process_makes(
    small_cohort: Path, here: dict[str, pl.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_home_toml(tmp_path / "home", executor={"kind": "multiprocess", "max_concurrent": 2})
    home, before = bind(tmp_path / "home", small_cohort, monkeypatch), dict(os.environ)
    run(Workspace(home), Choice(select=SELECT), lambda line: None)
    assert_same(home, here)
    assert dict(os.environ) == before
    # The codes' three cases were two parts: a run each, as all other stages are.
    with dg.DagsterInstance.get() as instance:
        parts = [each for each in instance.get_runs() if "edp/part" in each.tags]
    assert len(parts) >= 2
    assert set(statuses()) == {dg.DagsterRunStatus.SUCCESS}


def test_processes__one_that_dies_is_told_with_what_to_do(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    write_home_toml(planted.home.root, executor={"kind": "multiprocess", "max_concurrent": 2})
    monkeypatch.setattr(places, "make", _die)
    with pytest.raises(StageFailedError, match=r"icd10_cases: a process that made it died.*smaller max_concurrent"):
        run(Workspace(Home(planted.home.root)), Choice(), lambda line: None)


def _die(_: Part) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_dask__with_postgres_and_s3_makes_what_one_process_makes(
    small_cohort: Path,
    here: dict[str, pl.DataFrame],
    cluster: DaskCluster,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = tmp_path / "home"
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    with s3() as endpoint:
        write_home_toml(
            home,
            storage={"lake": "s3://edp/lake", "endpoint_url": endpoint},
            executor={"kind": "dask", "scheduler": cluster.address},
            instance={"postgres": database},
        )
        Home(home).stored("lake").fs.mkdir("edp")  # type: ignore[union-attr]
        found = bind(home, small_cohort, monkeypatch)
        outcome = run(Workspace(found), Choice(select=SELECT), lambda line: None)
        assert not outcome.failed
        assert_same(found, here)
        assert run(Workspace(found), Choice(select=SELECT), lambda line: None).made == {}
    assert set(statuses()) == {dg.DagsterRunStatus.SUCCESS}
    # Neither rows nor SQLite lie here.
    assert not [*(home / "lake").rglob("*.parquet"), *(home / "dagster").rglob("*.db")]


def test_dask__a_worker_that_dies_costs_no_result(
    small_cohort: Path,
    here: dict[str, pl.DataFrame],
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two workers one is killed while it makes something; the other one makes the rest."""
    with dask_cluster(tmp_path, workers=1) as cluster:
        home = tmp_path / "home"
        write_home_toml(home, executor={"kind": "dask", "scheduler": cluster.address}, instance={"postgres": database})
        found, said = bind(home, small_cohort, monkeypatch), list[str]()

        def kill() -> None:
            deadline = time.monotonic() + 60
            while not any("diagnoses done" in line for line in said) and time.monotonic() < deadline:
                time.sleep(0.01)
            cluster.processes[1].kill()
            cluster.start_worker()

        killer = threading.Thread(target=kill)
        killer.start()
        outcome = run(Workspace(found), Choice(select=SELECT), said.append)
        killer.join()
        assert cluster.processes[1].poll() is not None
        assert sum(outcome.made.values()) == len(here)
        assert_same(found, here)
        assert dg.DagsterRunStatus.STARTED not in statuses()


def test_dask__workers_that_do_not_see_the_home_are_named(
    small_cohort: Path, cluster: DaskCluster, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    write_home_toml(home, executor={"kind": "dask", "scheduler": cluster.address}, instance={"postgres": database})
    bind(home, small_cohort, monkeypatch)
    monkeypatch.setattr(places, "unseen", lambda home, cohort: ["EDP_HOME /not/there"])
    with (
        pytest.raises(HomeError, match=r"127.0.0.1:\d+ does not see EDP_HOME /not/there.*under the same path"),
        dg.DagsterInstance.get() as instance,
        places_of(Workspace(Home(home)), instance),
    ):
        pass


@pytest.mark.parametrize("answers", [False, True])
def test_dask__no_scheduler_and_no_worker_are_told(
    answers: bool, small_cohort: Path, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "WAIT_SECONDS", 2 if answers else 0.5)
    with dask_cluster(tmp_path, workers=0) as cluster:
        address = cluster.address if answers else "tcp://127.0.0.1:9"
        write_home_toml(
            tmp_path / "home", executor={"kind": "dask", "scheduler": address}, instance={"postgres": database}
        )
        home = bind(tmp_path / "home", small_cohort, monkeypatch)
        told = r"has no worker after 2 s: start some" if answers else "no Dask scheduler answers at tcp://127.0.0.1:9"
        with (
            pytest.raises(HomeError, match=told),
            dg.DagsterInstance.get() as instance,
            places_of(Workspace(home), instance),
        ):
            pass


def test_kubernetes__pods_make_what_one_process_makes_though_one_dies(
    small_cohort: Path,
    here: dict[str, pl.DataFrame],
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner.pods, "POLL_SECONDS", 0.2)
    with kube_api(tmp_path, dies=1) as (asked, kubeconfig):
        home = tmp_path / "home"
        launcher = {
            "service_account_name": "edp",
            "instance_config_map": "dagster-instance",
            "job_image": "registry.example.org/edp:1",
            "job_namespace": "edp",
            "load_incluster_config": False,
            "kubeconfig_file": str(kubeconfig),
        }
        write_home_toml(
            home,
            executor={"kind": "kubernetes", "max_concurrent": 2},
            instance={"postgres": database},
            **{"executor.kubernetes": launcher},
        )
        found = bind(home, small_cohort, monkeypatch)
        run(Workspace(found), Choice(select=SELECT), lambda line: None)
        assert_same(found, here)
        assert not list((home / "parts").iterdir())
        (spec, *others) = (each["spec"]["template"]["spec"] for each in asked.manifests.values())
        assert len(others) == 2  # three codes in two parts, and one pod that died
        assert spec["serviceAccountName"] == "edp"
        assert spec["containers"][0]["image"] == "registry.example.org/edp:1"
        assert {"name": "EDP_HOME", "value": str(home)} in spec["containers"][0]["env"]
