"""Encoders outlive changed crops: when one is kept, when it is trained, and what is told of whom it learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from edp_assets.assets.encoders import ENCODERS
from edp_assets.science.encoders.checkpoints import TrainedEncoder
from edp_assets.storage import trained_on, withdrawal
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Stored, cell_of
from edp_assets.storage.schemas import empty
from edp_assets.storage.workspace import Fingerprints, Workspace
from edp_assets_tests.tiny_toml import COHORT

TOML = (
    COHORT
    + """
withdrawn = "withdrawn.csv"
[genotypes]
path = "all.bed"
[organs.liver]
"""
)
LIVER, CROPS = cell_of({"organ": "liver"}), ("masked_crops",)
SPEC = ENCODERS["mae"].encoder.spec


class Config:
    """As much of an encoder's config as its file needs."""

    kind = "mae"

    def to_dict(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A home with crops of five people and an encoder that was trained on them."""
    folder = tmp_path / "cohort"
    folder.mkdir()
    (folder / "cohort.toml").write_text(TOML)
    (folder / "withdrawn.csv").write_text("")
    home = Home(tmp_path / "home")
    home.root.mkdir()
    home.bind(folder)
    found = Workspace(home)
    crop(found, "12345")
    train(found)
    trained_on.record(found, Fingerprints(found, SPEC), LIVER)
    return found


def crop(workspace: Workspace, people: str) -> None:
    """Store crops of these people."""
    rows = empty("masked_crops").clear(len(people)).with_columns(eid=pl.Series(list(people)))
    plain = {"organ": "liver", "voxels": b"", "mask_voxels": 1, "volume_ml": 1.0}
    lists = {name: pl.lit(pl.Series([[1]])).first() for name in ("shape", "spacing_mm", "mean_intensity")}
    frame = rows.with_columns(**{name: pl.lit(value) for name, value in plain.items()}, **lists)
    workspace.lake.write(CROPS, LIVER, "masked_crops", Stored(frame), "")


def train(workspace: Workspace, weight: float = 0.0) -> None:
    """Store an encoder as a run does: its fingerprint is that of what is there now."""
    trained = TrainedEncoder(Config(), {"w": torch.tensor([weight])}, [])  # type: ignore[arg-type]
    workspace.checkpoints.write(SPEC.asset, LIVER, trained, Fingerprints(workspace, SPEC).of(LIVER))


def again(workspace: Workspace, more: str = "") -> Workspace:
    """Look at the cohort again, after adding to its settings."""
    toml = workspace.cohort.folder / "cohort.toml"
    toml.write_text(toml.read_text() + more)
    return Workspace(workspace.home)


def is_current(workspace: Workspace, *, retrain: bool = False) -> bool:
    return not workspace.stale_cells(SPEC, [LIVER], anew=retrain)


def test_stale_cells__an_encoder_is_kept_when_crops_change_until_asked_for_anew(workspace: Workspace) -> None:
    assert is_current(workspace, retrain=True)
    crop(workspace, "2345678")
    assert is_current(workspace)
    assert not is_current(workspace, retrain=True)
    assert not is_current(again(workspace, "[encoders.mae]\nepochs = 7\n"))


def test_stale_cells__nothing_is_kept_that_was_made_by_another_recipe_or_is_another_encoder(
    workspace: Workspace,
) -> None:
    crop(workspace, "2345")
    trained = TrainedEncoder(Config(), {"w": torch.tensor([1.0])}, [])  # type: ignore[arg-type]
    workspace.checkpoints.write(SPEC.asset, LIVER, trained, "of something else")
    assert not is_current(workspace)


def test_kept_lines__tell_what_differs_and_what_to_do(workspace: Workspace) -> None:
    assert trained_on.kept_lines(workspace, SPEC, [LIVER]) == []
    crop(workspace, "345678")
    (line,) = trained_on.kept_lines(workspace, SPEC, [LIVER])
    command = f"`edp refresh {workspace.cohort.folder} --retrain --organ liver --encoder mae`"
    assert line == (
        "mae/encoder liver: kept, trained on other scans than there are now (3 new, 2 no longer there); "
        f"{command} trains it anew"
    )
    (workspace.cohort.folder / "withdrawn.csv").write_text("1\n")
    withdrawal.carry_out(again(workspace), lambda: {CROPS: [LIVER]}, [])
    (line,) = trained_on.kept_lines(workspace, SPEC, [LIVER])
    assert "(3 new, 1 withdrawn, 1 no longer there)" in line
    (training,) = trained_on.trainings(workspace, [SPEC])
    assert (training.scans, training.withdrawn) == (5, 1)


def test_adopt__an_encoder_of_an_earlier_version_is_known_by_its_crops(workspace: Workspace) -> None:
    path = workspace.lake.path(("mae", "trained_on"), LIVER)
    path.unlink()
    assert [(t.scans, t.withdrawn) for t in trained_on.trainings(workspace, [SPEC])] == [(None, None)]
    assert is_current(workspace)
    trained_on.adopt(workspace, [SPEC])
    crop(workspace, "1234")
    assert is_current(workspace)
    path.unlink()
    trained_on.adopt(workspace, [SPEC])  # too late: its crops are gone
    assert not path.exists()
    assert not is_current(workspace)


def test_adopt__who_returns_is_no_longer_counted_as_withdrawn(workspace: Workspace) -> None:
    (workspace.cohort.folder / "withdrawn.csv").write_text("1\n")
    withdrawal.carry_out(again(workspace), lambda: {CROPS: [LIVER]}, [])
    trained_on.adopt(workspace, [SPEC])
    assert [t.withdrawn for t in trained_on.trainings(workspace, [SPEC])] == [1]
    crop(workspace, "12345")
    trained_on.adopt(workspace, [SPEC])
    assert [t.withdrawn for t in trained_on.trainings(workspace, [SPEC])] == [0]
