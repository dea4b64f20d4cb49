"""A home with planted results, its report, and a browser to read it in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from edp_assets.report.build import build_report
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.report.planted import SHOWN, Planted
from edp_assets_tests.report.watched import NAMES, QUIET, WAIT, Watched


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


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    found = [path for name in NAMES if (path := shutil.which(name))]
    if not found:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed (make browser)")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")), executable_path=found[0], args=list(QUIET), color_scheme="light"
        )
        opened.set_default_timeout(WAIT)
        yield opened
        opened.close()


@pytest.fixture
def browser(context: Any) -> Iterator[Watched]:
    watched = Watched(context.new_page())
    yield watched
    watched.page.close()
    assert watched.wrong == []
    assert {urlsplit(url).scheme for url in watched.asked} <= {"file", "data"}
