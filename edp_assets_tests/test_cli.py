"""The command line's own behaviour: readable failures, exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from edp_assets.cli import cli


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home/dagster"))
    return tmp_path / "home"


def test_run__a_missing_cohort_is_one_message_and_writes_nothing(home: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["run", str(tmp_path / "nowhere")])
    assert done.exit_code == 1
    assert "cohort.toml" in done.stderr
    assert "Traceback" not in done.output
    assert not home.exists()


def test_check__a_missing_cohort_lists_the_problem(home: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["check", str(tmp_path / "nowhere")])
    assert done.exit_code == 1
    assert "cohort.toml" in done.output


def test_report__before_any_run_says_what_to_do(home: Path) -> None:
    done = CliRunner().invoke(cli, ["report"])
    assert done.exit_code == 1
    assert "run `edp run COHORT`" in done.stderr


def test_verbose__shows_the_traceback(home: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["--verbose", "run", str(tmp_path / "nowhere")])
    assert done.exit_code == 1
    assert done.exception is not None
    assert type(done.exception).__name__ == "CohortError"
