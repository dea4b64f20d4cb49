"""`edp verify`: every stored file is read to its end; what is damaged is named, set aside, and made again by a run."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from edp_assets.cli import cli
from edp_assets.storage import checkpoints, warehouse
from edp_assets.storage.cells import ASIDE
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Exclusion, Stored, cell_of
from edp_assets.storage.verify import verify
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.cohort.conftest import build
from edp_assets_tests.storage.test_damage import flip

VOLUMES = ("organ_volumes",)
CELLS = [cell_of({"organ": organ}) for organ in ("heart", "liver")]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A home with two organs' volumes, a list of exclusions and the warehouse."""
    build(tmp_path / "cohort")
    monkeypatch.setenv("EDP_HOME", str(tmp_path / "home"))
    home = Home.from_environment()
    home.prepare()
    home.bind(tmp_path / "cohort")
    found = Workspace(home)
    for cell in CELLS:
        organ = dict(cell)["organ"]
        frame = pl.DataFrame({"eid": ["1", "2"], "organ": organ, "voxels": 10, "volume_ml": 1.5})
        found.lake.write(
            VOLUMES, cell, "organ_volumes", Stored(frame, [Exclusion("9", organ, "masked_crops", "empty mask")]), ""
        )
    warehouse.refresh(home.warehouse, found.lake, [("organ_volumes", VOLUMES, CELLS)])
    return found


def test_verify__whole_files_are_counted_and_kept(workspace: Workspace) -> None:
    said: list[str] = []
    assert verify(workspace, said.append) == []
    assert said[0].startswith("4 files of ")
    assert said[0].endswith("0 damaged")
    assert workspace.lake.cells(VOLUMES) == CELLS


def test_verify__names_and_sets_aside_what_is_damaged(workspace: Workspace) -> None:
    path = workspace.lake.path(VOLUMES, CELLS[1])
    flip(path, 20)
    (damage,) = verify(workspace)
    assert (damage.asset, damage.cell, damage.path) == (VOLUMES, CELLS[1], path)
    assert str(damage).startswith(f"organ_volumes [organ liver]: {path} is damaged")
    assert path.with_name(path.name + ASIDE).exists()
    assert workspace.lake.cells(VOLUMES) == CELLS[:1]
    assert verify(workspace) == []


def test_verify__a_damaged_list_of_exclusions_takes_its_partition_along(workspace: Workspace) -> None:
    path = workspace.lake.path(VOLUMES, CELLS[0])
    flip(path.with_name("excluded.parquet"), 20)
    (damage,) = verify(workspace)
    assert damage.path.name == "excluded.parquet"
    assert workspace.lake.cells(VOLUMES) == CELLS[1:]


def test_verify__a_damaged_encoder_and_warehouse_are_found(workspace: Workspace) -> None:
    encoder = workspace.checkpoints.root / "mae/encoder/organ=liver" / checkpoints.FILE
    encoder.parent.mkdir(parents=True)
    encoder.write_bytes(b"no encoder")
    path = workspace.home.warehouse
    path.write_bytes(path.read_bytes()[:-100])
    damages = verify(workspace)
    assert [(each.asset, each.path.name) for each in damages] == [
        (("mae", "encoder"), checkpoints.FILE),
        ((), path.name),
    ]
    assert "the warehouse: " in str(damages[1])
    assert not path.exists()


def test_cli__verify_exits_1_with_what_is_damaged_and_what_to_do(workspace: Workspace) -> None:
    folder = str(workspace.cohort.folder)
    done = CliRunner().invoke(cli, ["verify", folder])
    assert done.exit_code == 0
    assert "4 files of" in done.output
    flip(workspace.lake.path(VOLUMES, CELLS[0]), 20)
    done = CliRunner().invoke(cli, ["verify", folder])
    assert done.exit_code == 1
    assert "1 stored file(s) were damaged:" in done.output
    assert f"`edp run {folder}` makes them again." in done.output


def test_cli__verify_of_an_empty_home_says_what_to_do_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "cohort")
    monkeypatch.setenv("EDP_HOME", str(tmp_path / "nothing"))
    done = CliRunner().invoke(cli, ["verify", str(tmp_path / "cohort")])
    assert done.exit_code == 1
    assert "holds nothing yet: `edp run" in done.output
