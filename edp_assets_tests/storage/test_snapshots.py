"""Tables that are snapshots: current whatever their inputs become, until a new one is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edp_assets.storage.home import Home
from edp_assets.storage.lake import Stored
from edp_assets.storage.workspace import Fingerprints, StageSpec, Workspace
from edp_assets_tests.report.planted import filled
from edp_assets_tests.tiny_toml import COHORT

TOML = (
    COHORT
    + """
[genotypes]
path = "all.bed"
[organs.liver]
"""
)
SPEC = StageSpec(
    ("phenome_traits",), (), "phenome_traits", "1",
    inputs={"participants": ("participants",), "diagnoses": ("diagnoses",)}, snapshot_of=("diagnoses",),
)  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    folder = tmp_path / "cohort"
    folder.mkdir()
    (folder / "cohort.toml").write_text(TOML)
    home = Home(tmp_path / "home")
    home.root.mkdir()
    home.bind(folder)
    made = Workspace(home)
    for table in ("participants", "diagnoses"):
        store(made, table, ["1"])
    made.lake.write(SPEC.asset, (), SPEC.table, Stored(filled(SPEC.table, [])), Fingerprints(made, SPEC).of(()))
    return made


def store(workspace: Workspace, table: str, eids: list[str]) -> None:
    workspace.lake.write((table,), (), table, Stored(filled(table, [{"eid": eid} for eid in eids])), "planted")


def test_stale_cells__of_a_snapshot_only_where_a_new_one_is_asked_for(workspace: Workspace) -> None:
    assert workspace.stale_cells(SPEC, [()]) == {}
    store(workspace, "diagnoses", ["1", "2"])
    assert workspace.stale_cells(SPEC, [()]) == {}
    assert workspace.stale_cells(SPEC, [()], anew=True) == {(): ["input diagnoses"]}
    assert workspace.stale_cells(replace(SPEC, snapshot_of=()), [()]) == {(): ["input diagnoses"]}


def test_stale_cells__a_snapshot_is_made_anew_where_anything_else_changes(workspace: Workspace) -> None:
    store(workspace, "diagnoses", ["1", "2"])
    assert workspace.stale_cells(replace(SPEC, code_version="2"), [()]) == {(): ["code", "input diagnoses"]}
    store(workspace, "participants", ["1", "2"])
    assert workspace.stale_cells(SPEC, [()]) == {(): ["input participants", "input diagnoses"]}
