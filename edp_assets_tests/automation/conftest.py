"""A cohort of 200 people and 24 variants whose codes are associated in a second: no image is read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edp_assets.runner import Choice, Outcome, run
from edp_assets.storage.home import Home
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.tiny_gwas import AGE, EIDS, TOML, write_folder

GWAS = "icd10_whole_cohort/gwas_summary_stats"
CHOICE = Choice(select=f'+key:"{GWAS}" or key:icd10_codes')
CASES = {"I50": EIDS[:60], "K76": EIDS[30:90]}


def diagnose(folder: Path, eid: str, code: str) -> None:
    """Add one diagnosis to the cohort."""
    with (folder / "diagnoses.csv").open("a") as file:
        file.write(f"{eid},{code}\n")


def bind(root: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Make `home` under the root the home that this process works in, of the cohort beside it."""
    monkeypatch.setenv("EDP_HOME", str(root / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(root / "home/dagster"))
    home = Home(root / "home")
    home.prepare()
    home.bind(root / "cohort")
    return home


def make(home: Home) -> Outcome:
    """Do what `edp run` does with that part of the graph."""
    with home.writing():
        return run(Workspace(home), CHOICE, lambda line: None)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the cohort, and a home that holds its codes' statistics in the whole cohort."""
    root = tmp_path_factory.mktemp("automation")
    folder = write_folder(root)
    (folder / "cohort.toml").write_text(
        f'{TOML}\n[labels]\nmin_cases = 5\n[ancestry]\nmax_kinship = "none"\n[automation]\nwatch = true\n'
    )
    rows = [f"{eid},{age:.2f},{i % 2},{i % 7 / 7}" for i, (eid, age) in enumerate(zip(EIDS, AGE, strict=True))]
    (folder / "participants.csv").write_text("\n".join(["eid,age,sex,pc1", *rows]) + "\n")
    cases = [f"{eid},{code}" for code, eids in CASES.items() for eid in eids]
    (folder / "diagnoses.csv").write_text("\n".join(["eid,icd10", *cases]) + "\n")
    (folder / "images").mkdir()
    (folder / "images/one.nii").write_text("not read here")
    scans = [f"{eid},liver,images/one.nii,images/one.nii,images/one.nii" for eid in EIDS]
    (folder / "scans.csv").write_text("\n".join(["eid,organ,mask,image_fat,image_water", *scans]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        make(bind(root, patch))
    return root


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A copy of that cohort and home, to change."""
    shutil.copytree(made, tmp_path, copy_function=shutil.copy2, dirs_exist_ok=True)
    (tmp_path / "home/cohort.json").unlink()
    return bind(tmp_path, monkeypatch)


@pytest.fixture
def folder(home: Home) -> Path:
    """The cohort folder of the home."""
    return home.root.parent / "cohort"
