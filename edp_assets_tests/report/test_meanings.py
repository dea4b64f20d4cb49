"""What the columns of every table mean: told with the head, and, for who has no mouse, in a list on the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from edp_assets.report.build import build_report
from edp_assets.report.evidence import TABLES
from edp_assets.storage import warehouse
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.report.planted import SHOWN, Planted, filled

PAGES = {
    "index.html": 6, "evidence.html": len(TABLES), "methods.html": 20, "organs/liver/index.html": 1,
    "organs/liver/codes/K76.html": 8, "organs/liver/scans.html": 3,
}  # fmt: skip
"""Pages, and how many tables they have at least."""
PHENOTYPE = {"encoder": "mae", "organ": SHOWN[0][0], "icd10": SHOWN[0][1], "method": "classifier"}
BESIDE: dict[str, dict[str, Any]] = {
    **{name: {**PHENOTYPE, "method": "island"} for name in TABLES},
    "evidence_hits_by_organ": {"organ": "liver", "source": "mae"},
    "label_overlap": PHENOTYPE,
    "score_correlations": PHENOTYPE,
    "asset_checks": {**PHENOTYPE, "asset": "mae/gwas_summary_stats", "passed": False},
    "excluded": {"stage": "scans", "organ": "liver", "reason": "no mask"},
}
"""A row each of the tables that the planted home has not."""


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a home with a row of every table that a page shows."""
    planted = Planted(tmp_path_factory.mktemp("full"))
    planted.plant_phewas(*SHOWN[0])
    planted.mirror()
    with warehouse.connect(planted.home.warehouse) as connection:
        for name, row in BESIDE.items():
            connection.register("planted", filled(name, [row]).to_arrow())
            connection.execute(f"INSERT INTO {name} BY NAME SELECT * FROM planted")
    return build_report(Workspace(planted.home), lambda line: None).parent


@pytest.mark.parametrize("path", PAGES)
def test_table__every_head_has_a_meaning_in_a_list_that_its_table_leads_to(full: Path, path: str) -> None:
    page = (full / path).read_text()
    lists = dict(re.findall(r'<details class="columns" id="([^"]*)">(.*?)</details>', page, re.DOTALL))
    tables = re.findall(r'<thead>(.*?)</thead>.*?</table>\s*</div>\s*<[^>]*?(?:id="|href="#)(columns-\w+)"',
                        page.replace('<p class="note"><a', "<a"), re.DOTALL)  # fmt: skip
    assert len(tables) == page.count("<thead>") >= PAGES[path]
    for head, name in tables:
        told = re.findall(r"<button type=\"button\"(?: title=\"([^\"]*)\")?>([^<]*)<", head)
        assert [column for meaning, column in told if not meaning] == []
        listed = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", lists[name])
        assert [(meaning, column) for column, meaning in listed] == told


def test_table__equal_lists_are_on_a_page_once(full: Path) -> None:
    page = (full / "methods.html").read_text()
    assert page.count('<th scope="col"><button type="button" title=') > 4 * page.count("<dt>setting</dt>")
    assert page.count("<dt>setting</dt>") == 1
    found = re.findall(r'id="(columns-\w+)"', page)
    assert len(found) == len(set(found))
