"""The warehouse: mirrors the lake, replaces one partition's rows, waits for a second writer."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import polars as pl
import pytest

from edp_assets.storage import warehouse
from edp_assets.storage.lake import Exclusion, Lake, Stored, cell_of
from edp_assets.storage.schemas import SCHEMAS, WAREHOUSE_TABLES, WAREHOUSE_VIEWS, empty

VOLUMES, SCORES = ("organ_volumes",), ("mae", "edp_scores")


def volumes(organ: str, n: int) -> Stored:
    frame = pl.DataFrame({"eid": [f"{i}" for i in range(n)], "organ": organ, "voxels": 10, "volume_ml": 1.5})
    return Stored(frame, [Exclusion("99", organ, "masked_crops", "empty mask")])


def count(path: Path, table: str) -> int:
    return warehouse.query(path, f"SELECT count(*) AS n FROM {table}")["n"][0]


def test_refresh__replaces_only_the_partitions_named(tmp_path: Path) -> None:
    lake, path = Lake(tmp_path / "lake"), tmp_path / "warehouse.duckdb"
    cells = [cell_of({"organ": organ}) for organ in ("heart", "liver")]
    for cell, n in zip(cells, (3, 4), strict=True):
        lake.write(VOLUMES, cell, "organ_volumes", volumes(dict(cell)["organ"], n), "")
    warehouse.refresh(path, lake, [("organ_volumes", VOLUMES, cells)])
    assert (count(path, "organ_volumes"), count(path, "excluded")) == (7, 2)
    lake.write(VOLUMES, cells[0], "organ_volumes", Stored(volumes("heart", 1).frames), "")
    warehouse.refresh(path, lake, [("organ_volumes", VOLUMES, cells[:1])])
    counts = warehouse.query(path, "SELECT organ, count(*) AS n FROM organ_volumes GROUP BY organ ORDER BY organ")
    assert counts.rows() == [("heart", 1), ("liver", 4)]
    assert count(path, "excluded") == 1


def test_refresh__whom_encoders_were_trained_on_is_seen_once_it_is_written(tmp_path: Path) -> None:
    lake, path, cell = Lake(tmp_path / "lake"), tmp_path / "warehouse.duckdb", cell_of({"organ": "liver"})
    lake.write(VOLUMES, cell, "organ_volumes", volumes("liver", 1), "")
    warehouse.refresh(path, lake, [("organ_volumes", VOLUMES, [cell])])
    assert count(path, "trained_on") == 0
    for rows, encoder in enumerate(("mae", "video_mae"), 1):
        people = pl.DataFrame({"encoder": encoder, "organ": "liver", "eid": [f"{i}" for i in range(rows)]})
        lake.write((encoder, "trained_on"), cell, "trained_on", Stored(people), "")
        warehouse.refresh(path, lake, [("organ_volumes", VOLUMES, [cell])])
        assert count(path, "trained_on") == (1, 3)[rows - 1]


def test_refresh__a_warehouse_of_an_earlier_version_gets_the_new_columns(tmp_path: Path) -> None:
    lake, path, cell = Lake(tmp_path / "lake"), tmp_path / "warehouse.duckdb", cell_of({"organ": "liver"})
    with warehouse.connect(path) as connection:
        connection.execute(
            "CREATE TABLE organ_volumes (eid VARCHAR, organ VARCHAR, volume_ml DOUBLE, stored_asset VARCHAR, "
            "stored_cell VARCHAR)"
        )
        connection.execute("INSERT INTO organ_volumes VALUES ('7', 'heart', 2.5, 'organ_volumes', 'heart')")
    lake.write(VOLUMES, cell, "organ_volumes", volumes("liver", 1), "")
    warehouse.refresh(path, lake, [("organ_volumes", VOLUMES, [cell])])
    found = warehouse.query(path, "SELECT eid, organ, voxels, volume_ml FROM organ_volumes ORDER BY organ")
    assert found.rows() == [("7", "heart", None, 2.5), ("0", "liver", 10, 1.5)]


def test_rebuild__every_contract_table_is_there_with_its_columns(tmp_path: Path) -> None:
    lake, path = Lake(tmp_path / "it's [a] lake"), tmp_path / "warehouse.duckdb"
    cell = cell_of({"organ": "li'ver", "icd10": 'K"76'})
    scores = (
        empty("edp_scores")
        .clear(2)
        .with_columns(
            pl.Series("eid", ["1", "2"]), method=pl.lit("classifier"), score=pl.lit(0.5), label_used=pl.lit(True)
        )
    )
    lake.write(SCORES, cell, "edp_scores", Stored(scores), "")
    warehouse.rebuild(path, lake, [("edp_scores", SCORES)])
    for name in (*WAREHOUSE_TABLES, *WAREHOUSE_VIEWS):
        frame = warehouse.query(path, f"SELECT * FROM {name}")
        assert set(SCHEMAS[name]) <= set(frame.columns)
        assert frame.height == (2 if name == "edp_scores" else 0)


def test_connect__two_writers_take_turns(tmp_path: Path) -> None:
    lake, path = Lake(tmp_path / "lake"), tmp_path / "warehouse.duckdb"
    cells = [cell_of({"organ": f"organ {i}"}) for i in range(6)]
    for cell in cells:
        lake.write(VOLUMES, cell, "organ_volumes", volumes(dict(cell)["organ"], 2), "")
    code = (
        "import sys; from pathlib import Path; from edp_assets.storage import warehouse;"
        "from edp_assets.storage.lake import Lake, cell_of;"
        "lake, path = Lake(Path(sys.argv[1])), Path(sys.argv[2]);"
        "[warehouse.refresh(path, lake, [('organ_volumes', ('organ_volumes',), [cell_of({'organ': organ})])])"
        " for organ in sys.argv[3:]]"
    )

    def write(organs: list[str]) -> int:
        command = [sys.executable, "-c", code, str(lake.root), str(path), *organs]
        return subprocess.run(command, check=False).returncode

    organs = [dict(cell)["organ"] for cell in cells]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(write, [organs[:3], organs[3:]])) == [0, 0]
    assert count(path, "organ_volumes") == 12


def test_connect__a_warehouse_held_too_long_is_told(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    code = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('held', flush=True); time.sleep(30)"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        started = time.monotonic()
        with (
            pytest.raises(warehouse.WarehouseError, match="Close the program that holds it"),
            warehouse.connect(path, wait_seconds=0.5),
        ):
            pass
        holder.kill()
    assert time.monotonic() - started < 10


def test_connect__a_reader_waits_for_a_writer_of_its_own_process(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with ThreadPoolExecutor(1) as pool:
        with warehouse.connect(path) as writer:
            writer.execute("CREATE TABLE t AS SELECT 7 AS n")
            answer = pool.submit(warehouse.query, path, "SELECT n FROM t")
            time.sleep(0.3)
            assert not answer.done()
        assert answer.result(20)["n"].to_list() == [7]


def test_connect__a_question_that_cannot_be_answered_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(duckdb.CatalogException, match="nothing_of_this_name"),
        warehouse.connect(tmp_path / "warehouse.duckdb") as connection,
    ):
        connection.execute("SELECT * FROM nothing_of_this_name")
