"""A home with a baseline's statistics of three codes: no image is read, so that it is made in seconds."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from edp_assets.runner import Choice, Outcome, run
from edp_assets.storage.home import Home
from edp_assets.storage.workspace import Workspace

GWAS = "icd10_whole_cohort/gwas_summary_stats"
BELOW = 'key:"icd10_whole_cohort/lead_variants" or key:"icd10_whole_cohort/gene_hits"'
UPSTREAM = f'(+key:"{GWAS}" or +key:"icd10_whole_cohort/gene_hits" or +key:icd10_codes)'


def bind(home: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Make the home the one that this process works in."""
    monkeypatch.setenv("EDP_HOME", str(home))
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    found = Home(home)
    found.prepare()
    found.bind(cohort)
    return found


def materialise(home: Home, select: str, said: list[str] | None = None) -> Outcome:
    """Run a selection as `edp run` does."""
    return run(Workspace(home), Choice(select=select), (said if said is not None else []).append)


@pytest.fixture(scope="session")
def small_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic cohort of 300 people, whose codes I10, K76 and M54 have cases among the imaged."""
    from edp_assets.cohort.synthetic.write import write_cohort

    folder = tmp_path_factory.mktemp("checks") / "cohort"
    write_cohort(folder, seed=5, participants=300, imaged=12, workers=1)
    config = (folder / "cohort.toml").read_text()
    config = re.sub("codes = .*", 'codes = ["K76", "I10", "J45", "M54"]', config, count=1)
    config = re.sub("min_cases = .*", "min_cases = 1", config)
    config = re.sub(r"\[few_shot\]\n.*\n.*\n|unadjusted_codes = .*\n", "", config)
    (folder / "cohort.toml").write_text(config)
    return folder


@pytest.fixture(scope="session")
def made(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that holds the codes' statistics in the whole cohort, and their checks; nothing downstream of them."""
    with pytest.MonkeyPatch.context() as patch:
        home = bind(tmp_path_factory.mktemp("made") / "home", small_cohort, patch)
        materialise(home, f"{UPSTREAM} and not ({BELOW})")
    return home.root


@pytest.fixture
def home(made: Path, small_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A copy of that home, of a copy of the cohort whose settings may be changed."""
    cohort = tmp_path / "cohort"
    shutil.copytree(small_cohort, cohort, copy_function=shutil.copy2)
    shutil.copytree(made, tmp_path / "home", copy_function=shutil.copy2)
    (tmp_path / "home/cohort.json").unlink()
    return bind(tmp_path / "home", cohort, monkeypatch)
