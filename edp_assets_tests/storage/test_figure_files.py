"""A figure that was deleted is drawn again: its partition is not current."""

from __future__ import annotations

from pathlib import Path

import pytest

from edp_assets.assets.stage import REGISTRY
from edp_assets.report.build import build_report
from edp_assets.storage import warehouse
from edp_assets.storage.cells import cell_of
from edp_assets.storage.figure_files import figure_files
from edp_assets.storage.lake import Stored
from edp_assets.storage.workspace import Fingerprints, Workspace
from edp_assets_tests.report.planted import SHOWN, Planted, filled

ASSET, TABLE = ("mae", "paper_figures"), "paper_figures"


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    """Two cells with a figure each, current."""
    planted = Planted(tmp_path)
    workspace, spec = Workspace(planted.home), REGISTRY[ASSET].spec
    for place, (organ, icd10) in enumerate(SHOWN[:2]):
        file = planted.home.figures / f"mae/{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"a figure")
        row = {"encoder": "mae", "organ": organ, "icd10": icd10, "figure": "figure_4",
               "path": str(file.relative_to(planted.home.root))}  # fmt: skip
        cell = cell_of({"organ": organ, "icd10": icd10})
        now = Fingerprints(workspace, spec).of(cell)
        planted.lake.write(ASSET, cell, TABLE, Stored(filled(TABLE, [row])), now)
    planted.assets[ASSET] = TABLE
    planted.mirror()
    return planted


def stale(planted: Planted) -> dict[tuple[str, ...], list[str]]:
    cells = [cell_of({"organ": organ, "icd10": icd10}) for organ, icd10 in SHOWN[:2]]
    found = Workspace(planted.home).stale_cells(REGISTRY[ASSET].spec, cells)
    return {tuple(key for _, key in cell): why for cell, why in found.items()}


def test_stale_cells__those_whose_figures_were_deleted_are(planted: Planted) -> None:
    assert stale(planted) == {}
    (planted.home.figures / "mae/1.png").unlink()
    (organ, icd10) = SHOWN[1]
    assert stale(planted) == {(icd10, organ): ["figures that were deleted"]}
    told: list[str] = []
    build_report(Workspace(planted.home), told.append)
    assert told[0].startswith("1 figures are not there any more")


def test_figure_files__without_a_warehouse_that_lists_them_there_are_none(planted: Planted) -> None:
    assert len(figure_files(planted.home.warehouse)) == 2
    with warehouse.connect(planted.home.warehouse) as connection:
        connection.execute(f"DROP TABLE {TABLE}")
    assert figure_files(planted.home.warehouse) == {}
    planted.home.warehouse.write_bytes(b"no database")
    assert figure_files(planted.home.warehouse) == {}
    planted.home.warehouse.unlink()
    assert figure_files(planted.home.warehouse) == {}
    assert not planted.home.warehouse.exists()
