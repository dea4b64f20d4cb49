"""What looking at stored tables costs a cell (`pytest -s` prints it): a millisecond or two, next to no file."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from edp_assets.assets.stage import REGISTRY
from edp_assets.graph import graph
from edp_assets.storage.lake import cell_of
from edp_assets.storage.verdicts import Verdicts
from edp_assets_tests.checks.planted import people, planted, store, table

assert graph
CELLS, PEOPLE = 700, 1200
MILLISECONDS = 6.0
"""Allowed a cell and table on a busy machine; measured is a third of it."""


@pytest.mark.slow
def test_look__of_many_cells(tmp_path: Path) -> None:
    workspace = planted(tmp_path)
    lake = workspace.lake
    cells = [cell_of({"organ": f"o{i % 10}", "icd10": f"K{i // 10}"}) for i in range(CELLS)]
    selection, scores = ("mae", "phenotype_selection"), ("mae", "edp_scores")
    for i in range(10):
        store(
            workspace, ("mae", "adjusted_embeddings"), cell_of({"organ": f"o{i}"}), table("adjusted_embeddings", PEOPLE)
        )
    frames = {
        ("mae", "phenotype_models"): table("phenotype_models", 10, cluster=list(range(10))),
        selection: table("phenotype_selection", 10, cluster=list(range(10)), selected=[True] * 2 + [False] * 8),
        scores: table("edp_scores", 2 * PEOPLE, eid=2 * people(PEOPLE)),
    }
    for asset, frame in frames.items():
        first = store(workspace, asset, cells[0], frame)
        for cell in cells[1:]:
            path = lake.path(asset, cell)
            path.parent.mkdir(parents=True)
            shutil.copyfile(first, path)
    for asset in (selection, scores):
        verdicts, before = Verdicts(workspace), time.process_time()
        for cell in cells:
            verdicts.look(asset, cell, current=True)
        each = 1000 * (time.process_time() - before) / CELLS
        print(f"\n{'/'.join(asset)}: schema and row counts of {CELLS} cells, {each:.2f} ms of CPU a cell")
        assert each < MILLISECONDS
        assert not verdicts.made
    before = time.process_time()
    assert Verdicts(workspace).holds_above(REGISTRY[scores].spec, cells, look=True) == {}
    print(f"looking at what {CELLS} cells of edp_scores are made from: {time.process_time() - before:.1f} s of CPU")
    before = time.process_time()
    assert Verdicts(workspace).holds_above(REGISTRY[scores].spec, cells) == {}
    print(f"asking what is known of it: {time.process_time() - before:.2f} s of CPU")
