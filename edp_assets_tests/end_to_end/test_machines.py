"""Every stage on Dask's workers, with lake and checkpoints in S3 and Dagster on PostgreSQL: as in one process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from edp_assets.storage.home import Home
from edp_assets_tests.end_to_end import test_kills
from edp_assets_tests.end_to_end.conftest import run_edp
from edp_assets_tests.end_to_end.test_run import tables
from edp_assets_tests.machines.cluster import AWS, STEADY, DaskCluster, dask_cluster, postgres, s3, write_home_toml

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Found version mismatch")]

SELECT = 'not group:evidence and not key:"*/*_figures" and not key:"mae/cluster_alternatives"'
"""All but evidence and pictures, which take the longest and are stored as everything else is."""

WIDTH = 1e-6
"""Relative difference of what is multiplied beside other columns, or from another place in memory: MKL's last bits."""


smallest_cohort = test_kills.cohort
"""Runs through every stage."""


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with dask_cluster(tmp_path_factory.mktemp("dask"), workers=2) as started:
        yield started


@pytest.fixture
def home(cluster: DaskCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home whose settings name all three."""
    # MKL multiplies as it does for the workers: UMAP makes whole units of a last bit.
    for name, value in {**AWS, **STEADY}.items():
        monkeypatch.setenv(name, value)
    with s3() as endpoint, postgres() as database:
        write_home_toml(
            tmp_path / "home",
            storage={"lake": "s3://edp/lake", "checkpoints": "s3://edp/checkpoints", "endpoint_url": endpoint},
            executor={"kind": "dask", "scheduler": cluster.address},
            instance={"postgres": database},
        )
        found = Home(tmp_path / "home")
        found.stored("lake").fs.mkdir("edp")  # type: ignore[union-attr]
        yield found


def test_run__on_dask_s3_and_postgres_makes_the_tables_of_one_process(
    home: Home, cluster: DaskCluster, smallest_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("run", "--select", SELECT, str(smallest_cohort))
    for each in (tmp_path / "one process", home.root):
        done = run_edp(each, *command)
        assert done.returncode == 0, done.stdout + done.stderr + cluster.logs()
    theirs, mine = tables(tmp_path / "one process"), tables(home.root)
    assert theirs["withdrawals"].height == 1
    assert mine.keys() == theirs.keys()
    for name, frame in theirs.items():
        assert_frame_equal(mine[name], frame, check_exact=False, rel_tol=WIDTH, abs_tol=WIDTH)
    assert pl.concat([each.select(pl.len()) for each in mine.values()]).sum().item() > 5_000
    # What lies here is no result: the lake and the encoders are in S3, runs and events in PostgreSQL.
    assert not list(home.root.rglob("part.parquet"))
    assert not list(home.root.rglob("*.db"))
    assert len(home.stored("checkpoints").fs.glob("edp/checkpoints/mae/encoder/*/encoder.safetensors")) == 1  # type: ignore[union-attr]
    monkeypatch.setenv("DAGSTER_HOME", str(home.dagster))
    with dg.DagsterInstance.get() as instance:
        runs = instance.get_runs()
    assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
    assert sum("edp/part" in run.tags for run in runs) > 30
    again = run_edp(home.root, *command)
    assert "\n0 partitions made" in again.stdout, again.stdout + again.stderr
