"""The lake in S3 (moto's server on 127.0.0.1), and a disk that is full."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from edp_assets.storage import warehouse
from edp_assets.storage.disk import FullDiskError
from edp_assets.storage.home import Home
from edp_assets.storage.home_settings import HomeSettingsError, read_home_settings
from edp_assets.storage.lake import Exclusion, Lake, Stored, cell_of
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.storage.test_lake import ASSET, scores
from edp_assets_tests.storage.test_warehouse import VOLUMES, count, volumes

CELLS = [cell_of({"icd10": code, "organ": "li'v.er %"}) for code in ("K76", "../I 10", "é[*]")]


def test_lake__in_s3_is_as_on_a_disk(far_home: Home, tmp_path: Path) -> None:
    far, near = Workspace(far_home).lake, Lake(tmp_path / "near")
    for i, cell in enumerate(CELLS):
        for lake in (far, near):
            lake.write(ASSET, cell, "edp_scores", Stored(scores(i + 1), [Exclusion("9", "liver", "s", "r")]), "in")
    assert far.cells(ASSET) == near.cells(ASSET) == sorted(CELLS)
    assert far.provenances(ASSET) == near.provenances(ASSET)
    for cell in CELLS:
        assert far.read(ASSET, cell).equals(near.read(ASSET, cell))
        assert far.read_stored(ASSET, cell, "excluded").equals(near.read_stored(ASSET, cell, "excluded"))
    assert not [file for file in far_home.scratch.rglob("*") if file.is_file()]
    tables = []
    for lake, path in ((far, far_home.warehouse), (near, tmp_path / "near.duckdb")):
        lake.write(VOLUMES, CELLS[0][1:], "organ_volumes", volumes("liver", 4), "")
        warehouse.rebuild(path, lake, [("edp_scores", ASSET), ("organ_volumes", VOLUMES)])
        tables.append([count(path, t) for t in ("organ_volumes", "excluded", "edp_scores")])
    assert tables[0] == tables[1] == [4, 4, 6]


def test_lake__a_crash_before_the_put_leaves_no_object(far_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Workspace(far_home).lake

    def power_cut(*_: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr("edp_assets.storage.table_files.put", power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        lake.write(ASSET, CELLS[0], "edp_scores", Stored(scores(3)), "in")
    assert lake.cells(ASSET) == []
    assert not [file for file in far_home.scratch.rglob("*") if file.is_file()]


def test_checkpoints__in_s3_are_fetched_once(far_home: Home) -> None:
    torch = pytest.importorskip("torch")
    from edp_assets.science.encoders.checkpoints import _write

    store, asset, cell = Workspace(far_home).checkpoints, ("mae", "encoder"), cell_of({"organ": "liver"})
    local = store.folder(asset, cell) / "encoder.safetensors"
    _write(local, {"w": torch.arange(5.0)}, {"format": "x", "edp": '{"inputs": "i", "version": "v", "rows": 1}'})
    assert store.cells(asset) == []
    store.path(asset, cell).fs.put_file(str(local), store.path(asset, cell).path)
    local.unlink()
    assert store.provenance(asset, cell).version == "v"
    assert store.file(asset, cell) == local
    stamp = local.stat().st_mtime_ns
    assert store.file(asset, cell).stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[storage]\nlake = "gs://x"', "storage.lake: .*wanted s3://bucket/prefix"),
        ('[storage]\nsecret = "hush"', "storage.secret: Extra inputs"),
        ("[storage", "is no TOML"),
    ],
)
def test_read_home_settings__what_is_no_setting_is_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "home.toml").write_text(text)
    with pytest.raises(HomeSettingsError, match=told) as raised:
        read_home_settings(tmp_path / "home.toml")
    assert "hush" not in str(raised.value)


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small file system needs root")
def test_write__a_full_disk_is_told_and_nothing_half_written_stays(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        lake = Lake(disk / "lake")
        with pytest.raises(FullDiskError, match=r"part.parquet.*could not be written: the disk is full .*MB free"):
            lake.write(ASSET, CELLS[0], "edp_scores", Stored([scores(20_000, i) for i in range(9)]), "in")
        assert not [file for file in disk.rglob("*") if file.is_file()]
        lake.write(ASSET, CELLS[0], "edp_scores", Stored(scores(10)), "in")
        with (disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))
        with pytest.raises(FullDiskError, match="could not be written"):
            warehouse.rebuild(disk / "warehouse.duckdb", lake, [("edp_scores", ASSET)])
        assert lake.read(ASSET, CELLS[0]).height == 10
    finally:
        subprocess.run(["umount", str(disk)], check=True)
