"""The event log: what it writes is what Dagster's own writes, and that one reads it."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from edp_assets.storage.event_log import EventLog
from edp_assets.storage.home import Home

KEYS = [f"K{number}" for number in range(20)]


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(KEYS), backfill_policy=dg.BackfillPolicy.single_run())
def made(context: dg.AssetExecutionContext) -> None:
    """Tells of nothing but that it was made."""


def materialise(instance: dg.DagsterInstance, first: str, last: str) -> str:
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return dg.materialize([made], instance=instance, tags=tags).run_id


def schema(path: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        revision = connection.execute("SELECT 'revision', version_num FROM alembic_version").fetchall()
        mode = connection.execute("PRAGMA journal_mode").fetchall()
    connection.close()
    return [*found, *revision, *mode]


def test_event_log__a_run_s_database_is_as_dagsters_own(dagster_home: Home, tmp_path: Path) -> None:
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.event_log_storage, EventLog)
        runs = [materialise(instance, KEYS[0], KEYS[-1]) for _ in range(2)]
    theirs = SqliteEventLogStorage(str(tmp_path / "theirs"))
    with theirs.run_connection("a"):
        pass
    history = dagster_home.dagster / "history/runs"
    assert sorted(path.name for path in history.iterdir() if not path.name.endswith(("-wal", "-shm"))) == sorted(
        ["index.db", *(f"{run}.db" for run in runs)]
    )
    for run in runs:
        assert schema(history / f"{run}.db") == schema(tmp_path / "theirs/a.db")
    assert schema(history / "index.db") == schema(tmp_path / "theirs/index.db")


def test_event_log__dagsters_own_reads_what_it_wrote(dagster_home: Home) -> None:
    with dg.DagsterInstance.get() as instance:
        run = materialise(instance, KEYS[0], KEYS[9])
        mine = [entry.message for entry in instance.all_logs(run)]
    theirs = SqliteEventLogStorage(str(dagster_home.dagster / "history/runs"))
    assert [entry.message for entry in theirs.get_logs_for_run(run)] == mine
    assert set(theirs.get_materialized_partitions(made.key)) == set(KEYS[:10])
    with dg.DagsterInstance.get() as instance:  # and goes on in a database that is there
        again = materialise(instance, KEYS[5], KEYS[14])
    assert set(theirs.get_materialized_partitions(made.key)) == set(KEYS[:15])
    assert len(theirs.get_logs_for_run(again)) > 10


def test_event_log__threads_take_turns_and_reach_their_own_database(dagster_home: Home) -> None:
    log = EventLog(str(dagster_home.dagster / "history/runs"))

    def reached(shard: str) -> str:
        with log.run_connection(shard) as connection:
            return Path(connection.exec_driver_sql("PRAGMA database_list").fetchall()[0][2]).stem

    shards = [f"run-{number % 5}" for number in range(40)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(reached, shards)) == shards


def test_event_log__keeps_few_databases_open_and_opens_a_replaced_one_anew(dagster_home: Home, tmp_path: Path) -> None:
    log = EventLog(str(dagster_home.dagster / "history/runs"))
    theirs = SqliteEventLogStorage(str(tmp_path / "theirs"))
    with theirs.run_connection("other") as connection:
        connection.exec_driver_sql("CREATE TABLE mark (one INTEGER)")
    for shard in "abcdefgh":
        with log.run_connection(shard) as connection:
            connection.exec_driver_sql("SELECT 1 FROM event_logs").fetchall()
    assert log._databases.names() == list("efgh")
    other = tmp_path / "theirs/other.db"
    other.replace(log.path_for_shard("h"))
    with log.run_connection("h") as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM mark").scalar() == 0
    with pytest.raises(RuntimeError, match="in the middle"), log.run_connection("h") as connection:  # noqa: PT012
        connection.exec_driver_sql("INSERT INTO mark VALUES (1)")
        raise RuntimeError("in the middle")
    with log.run_connection("h") as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM mark").scalar() == 0
    log.dispose()
    assert not log._databases.names()


def test_event_log__sees_what_another_process_adds(dagster_home: Home) -> None:
    log = EventLog(str(dagster_home.dagster / "history/runs"))
    assert not log.has_dynamic_partition("codes", "K76")
    theirs = SqliteEventLogStorage(str(dagster_home.dagster / "history/runs"))
    theirs.add_dynamic_partitions("codes", ["K76"])
    assert log.has_dynamic_partition("codes", "K76")
    assert not log.has_table("nowhere")
