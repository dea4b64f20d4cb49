"""The record of runs: what it writes is what Dagster's own writes and reads, and uses within one another do no harm."""

from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pytest
from dagster._core.storage.runs import SqliteRunStorage

from edp_assets.storage.home import Home
from edp_assets.storage.run_log import RunLog


@dg.asset
def made() -> None:
    """Tells of nothing but that it was made."""


def test_run_log__is_read_by_dagsters_own_and_reads_what_that_one_adds(dagster_home: Home) -> None:
    with dg.DagsterInstance.get() as instance:
        log = instance.run_storage
        assert isinstance(log, RunLog)
        run = dg.materialize([made], instance=instance, tags={"edp/run": "true"}).run_id
        theirs = SqliteRunStorage.from_local(str(dagster_home.dagster / "history"))
        (found,) = theirs.get_runs(dg.RunsFilter(tags={"edp/run": "true"}))
        assert (found.run_id, found.status) == (run, dg.DagsterRunStatus.SUCCESS)
        theirs.add_run_tags(run, {"edp/what": "refresh"})
        assert instance.get_run_by_id(run).tags["edp/what"] == "refresh"  # type: ignore[union-attr]
        theirs.delete_run(run)
        assert instance.get_runs() == []


def test_run_log__a_transaction_within_another_and_threads_have_their_own(dagster_home: Home) -> None:
    log = RunLog.from_local(str(dagster_home.dagster / "history"))
    with log.connect() as outer, log.connect() as inner:
        assert outer is not inner
        assert inner.exec_driver_sql("SELECT count(*) FROM runs").scalar() == 0
    with log.connect() as again:
        assert again is outer

    def count(_: int) -> int:
        with log.connect() as connection:
            return int(connection.exec_driver_sql("SELECT count(*) FROM runs").scalar() or 0)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(count, range(40))) == [0] * 40


def test_run_log__what_fails_is_not_kept_and_nothing_stays_open(dagster_home: Home) -> None:
    log = RunLog.from_local(str(dagster_home.dagster / "history"))
    with pytest.raises(RuntimeError, match="in the middle"), log.connect() as connection:  # noqa: PT012
        connection.exec_driver_sql("INSERT INTO runs (run_id, pipeline_name) VALUES ('a', 'b')")
        raise RuntimeError("in the middle")
    assert log.get_runs() == []
    log.dispose()
    assert log._databases.names() == []
    assert log.get_runs() == []


def test_run_log__without_a_dagster_home_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with pytest.raises(ValueError, match=r"DAGSTER_HOME, which is not set: set it to \$EDP_HOME/dagster"):
        RunLog.from_config_value(None, {})
