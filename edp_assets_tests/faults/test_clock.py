"""Nothing is decided by the order of times: a clock set back, or a file of an older time, changes no verdict."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from edp_assets.runner import Choice, run
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.faults.conftest import CODES, Planted

pytestmark = pytest.mark.slow

DAY = 86_400


def test_run__a_clock_set_back_between_stages_makes_nothing_out_of_date(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    for days, select in enumerate(("key:icd10_codes", "key:icd10_cases", None)):
        monkeypatch.setattr(time, "time", lambda days=days: real() - days * DAY)
        run(Workspace(planted.home), Choice(select=select), lambda line: None)
        for file in planted.home.root.rglob("*.parquet"):  # of the time before the clock was set back
            status = file.stat()
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + DAY * 10**9))
    planted.calls.clear()
    again = run(Workspace(planted.home), Choice(), lambda line: None)
    assert (again.made, planted.calls) == ({}, [])
    assert sum(again.current.values()) == 1 + 3 * len(CODES) + 2


def test_run__a_file_put_back_with_its_older_time_is_seen_as_changed(planted: Planted, tmp_path: Path) -> None:
    folder = planted.home.cohort_folder()
    assert folder is not None
    shutil.copytree(folder, tmp_path / "cohort", copy_function=shutil.copy2)
    (planted.home.root / "cohort.json").unlink()
    planted.home.bind(tmp_path / "cohort")
    table, chosen = tmp_path / "cohort/diagnoses.csv", Choice(select="key:icd10_codes")
    kept = table.stat()
    for seconds, made in ((0, 1), (60, 1), (60, 0), (0, 1), (-DAY, 1), (-DAY, 0)):
        os.utime(table, ns=(kept.st_atime_ns, kept.st_mtime_ns + seconds * 10**9))
        outcome = run(Workspace(planted.home), chosen, lambda line: None)
        assert sum(outcome.made.values()) == made, seconds
