"""A home with planted results, and its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from edp_assets.report.build import build_report
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.report.planted import SHOWN, Planted


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    """A home of one's own, to change."""
    return Planted(tmp_path)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the planted home with a PheWAS, which nobody changes."""
    planted = Planted(tmp_path_factory.mktemp("report"))
    planted.plant_phewas(*SHOWN[0])
    planted.mirror()
    return build_report(Workspace(planted.home), lambda line: None).parent
