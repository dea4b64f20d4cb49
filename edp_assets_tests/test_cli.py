"""The command line's own behaviour: readable failures, exit codes."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from edp_assets.cli import _table, cli
from edp_assets.storage.disk import explained


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


def test_table__brackets_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    reason = "[labels.sets.medication] labels, [/red] none"
    _table("What [gwas] left out", pl.DataFrame({"reason": [reason], "n_[x]": [0.5]}))
    printed = capsys.readouterr().out
    assert reason in printed
    assert "What [gwas] left out" in printed
    assert "n [x]" in printed


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/h/lake"), "/h/lake: wanted .*: Permission denied; give"),
        (
            FileExistsError(errno.EEXIST, "File exists", "/h/report"),
            "/h/report: wanted a folder, found a file",
        ),
        (OSError(errno.EIO, "Input/output error", "/h"), r"^\[Errno 5\] Input/output error: '/h'$"),
        (OSError(errno.ENOSPC, "No space left on device"), "could not be written: the disk is full"),
        (ValueError(), "^ValueError$"),
    ],
)
def test_explained__names_what_to_do(tmp_path: Path, error: Exception, told: str) -> None:
    assert re.search(told, explained(tmp_path, error))
