"""The warehouse catches up: after a program that held it, after a kill, after damage, in new columns."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from edp_assets.storage import mirror, warehouse
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Lake, cell_of
from edp_assets.storage.mirror import catch_up, gathering, mirroring
from edp_assets_tests.storage.test_warehouse import SCORES, VOLUMES, count, volumes

CELLS = [cell_of({"organ": organ}) for organ in ("heart", "liver")]
ALL = [("organ_volumes", VOLUMES), ("edp_scores", SCORES)]


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the warehouse as a notebook does."""
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield
        holder.kill()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(warehouse, "WAIT_SECONDS", 0.2)
    return Home(tmp_path)


def store(home: Home, cells: list[tuple[tuple[str, str], ...]]) -> Lake:
    lake = Lake(home.lake)
    with mirroring(home, lake, "organ_volumes", VOLUMES) as written:
        for cell in cells:
            lake.write(VOLUMES, cell, "organ_volumes", volumes(dict(cell)["organ"], 2), "")
            written.append(cell)
    return lake


def test_mirroring__what_a_held_warehouse_lacks_comes_in_later(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    lake = store(home, CELLS[:1])
    assert not list(home.unmirrored.iterdir())
    with held(home.warehouse):
        store(home, CELLS[1:])
        assert catch_up(home, lake, wait_seconds=0) == ["organ_volumes"]
    assert "The run goes on" in caplog.text
    assert count(home.warehouse, "organ_volumes") == 2
    assert catch_up(home, lake) == []
    assert count(home.warehouse, "organ_volumes") == 4
    assert not list(home.unmirrored.iterdir())


def test_mirroring__the_next_writer_brings_in_what_was_left_out(home: Home) -> None:
    store(home, CELLS[:1])
    with held(home.warehouse):
        store(home, CELLS[1:])
    store(home, [cell_of({"organ": "brain"})])
    assert count(home.warehouse, "organ_volumes") == 6
    assert not list(home.unmirrored.iterdir())


def test_mirroring__a_killed_run_is_caught_up_with(home: Home) -> None:
    code = (
        "import os, sys; from pathlib import Path; from edp_assets.storage.home import Home;"
        "from edp_assets.storage.lake import Lake; from edp_assets.storage.mirror import mirroring;"
        "from edp_assets_tests.storage.test_mirror import *;"
        "home = Home(Path(sys.argv[1])); lake = Lake(home.lake);"
        "context = mirroring(home, lake, 'organ_volumes', VOLUMES);"
        "context.__enter__();"
        "lake.write(VOLUMES, CELLS[0], 'organ_volumes', volumes('heart', 2), ''); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(home.root)], check=False).returncode == -9
    assert len(list(home.unmirrored.iterdir())) == 1
    assert catch_up(home, Lake(home.lake)) == []
    assert count(home.warehouse, "organ_volumes") == 2


def test_mirroring__a_writer_at_work_keeps_its_mark(home: Home) -> None:
    lake = Lake(home.lake)
    with mirroring(home, lake, "organ_volumes", VOLUMES):
        assert catch_up(home, lake, wait_seconds=0) == []
        assert len(list(home.unmirrored.iterdir())) == 1
    assert not list(home.unmirrored.iterdir())


@pytest.mark.parametrize("way", ["garbage", "truncated", "flipped"])
def test_mirroring__a_damaged_warehouse_is_set_aside_and_made_again(
    home: Home, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    store(home, CELLS[:1])
    whole = bytearray(home.warehouse.read_bytes())
    if way == "garbage":
        whole = bytearray(b"no database" * 1000)
    elif way == "truncated":
        whole = whole[: len(whole) // 2]
    else:
        for at in range(4096, len(whole), 997):
            whole[at] ^= 0x10
    home.warehouse.write_bytes(whole)
    lake = store(home, CELLS[1:])
    assert "is damaged" in caplog.text
    assert home.warehouse.with_name("warehouse.duckdb.damaged").exists()
    assert catch_up(home, lake, ALL) == []
    assert count(home.warehouse, "organ_volumes") == 4
    assert not list(home.unmirrored.iterdir())


def test_query__a_damaged_warehouse_says_what_to_do(home: Home) -> None:
    home.warehouse.write_bytes(b"no database" * 1000)
    with pytest.raises(warehouse.WarehouseDamagedError, match="`edp run` makes it again"):
        warehouse.query(home.warehouse, "SELECT 1")


def test_catch_up__a_warehouse_that_is_gone_is_made_again(home: Home) -> None:
    lake = store(home, CELLS)
    home.warehouse.unlink()
    assert catch_up(home, lake, ALL) == []
    assert count(home.warehouse, "organ_volumes") == 4


def test_rebuild__files_of_before_a_column_have_null_there(home: Home) -> None:
    lake = store(home, CELLS[:1])
    old = lake.path(VOLUMES, CELLS[1])
    old.parent.mkdir(parents=True)
    pl.DataFrame({"eid": ["7"], "organ": "liver", "volume_ml": 2.5}).write_parquet(old)
    scores = lake.path(SCORES, cell_of({"icd10": "K76", "organ": "liver"}))
    scores.parent.mkdir(parents=True)
    pl.DataFrame({"eid": ["7"], "organ": "liver", "score": 0.5}).write_parquet(scores)
    warehouse.rebuild(home.warehouse, lake, ALL)
    rows = warehouse.query(home.warehouse, "SELECT eid, voxels, volume_ml FROM organ_volumes WHERE organ = 'liver'")
    assert rows.rows() == [("7", None, 2.5)]
    assert warehouse.query(home.warehouse, "SELECT eid, score, label_used FROM edp_scores").rows() == [("7", 0.5, None)]


def test_rebuild__a_damaged_file_is_told_and_the_others_come_in(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    lake = store(home, CELLS)
    path = lake.path(VOLUMES, CELLS[0])
    content = bytearray(path.read_bytes())
    content[60] ^= 0x10
    path.write_bytes(content)
    warehouse.rebuild(home.warehouse, lake, ALL)
    assert count(home.warehouse, "organ_volumes") == 2
    assert "organ_volumes [organ heart]" in caplog.text


def test_marks__are_plain(home: Home) -> None:
    with mirroring(home, Lake(home.lake), "organ_volumes", ("mae", "x")):
        (mark,) = home.unmirrored.iterdir()
        assert json.loads(mark.read_text()) == ["organ_volumes", "mae/x"]


def test_gathering__several_assets_come_in_with_one_write(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    writes, refresh = [], warehouse.refresh
    monkeypatch.setattr(warehouse, "refresh", lambda *a, **k: (writes.append(len(a[2])), refresh(*a, **k)))
    with gathering(home, Lake(home.lake)):
        for cell in CELLS:
            store(home, [cell])
        assert len(list(home.unmirrored.iterdir())) == 2  # a kill here is caught up with
        assert catch_up(home, Lake(home.lake), wait_seconds=0) == []
        assert not home.warehouse.exists()
    assert writes == [2]
    assert count(home.warehouse, "organ_volumes") == 4
    assert not list(home.unmirrored.iterdir())


def test_gathering__what_waits_comes_in_after_a_while(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "GATHER_SECONDS", 0.05)
    with gathering(home, Lake(home.lake)):
        store(home, CELLS)
        deadline = time.monotonic() + 20
        while list(home.unmirrored.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert count(home.warehouse, "organ_volumes") == 4


def test_gathering__what_failed_in_the_background_fails_the_end(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(mirror, "GATHER_SECONDS", 0.0)
    monkeypatch.setattr(warehouse, "refresh", fails)
    gathered = gathering(home, Lake(home.lake))
    gathered.__enter__()
    store(home, CELLS)
    time.sleep(0.2)
    with pytest.raises(OSError, match="no space left"):
        gathered.__exit__(None, None, None)
    monkeypatch.undo()
    assert len(list(home.unmirrored.iterdir())) == 1
    assert catch_up(home, Lake(home.lake)) == []
    assert count(home.warehouse, "organ_volumes") == 4
