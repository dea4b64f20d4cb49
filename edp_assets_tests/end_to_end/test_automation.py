"""A daemon left alone: a changed diagnosis is in the results within two minutes, without a hand on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edp_assets.storage.home import Home
from edp_assets.storage.lake import cell_of
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.end_to_end.conftest import environment

pytestmark = [pytest.mark.slow, pytest.mark.alone]

DAEMON = (sys.executable, "-m", "dagster._daemon", "run", "-m", "edp_assets.definitions")


def wait(happened: Callable[[], bool], log: Path, seconds: float) -> None:
    """Wait until something has happened."""
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, log.read_text()[-4000:]
        time.sleep(1)


def test_daemon__refreshes_a_changed_label_within_two_minutes(
    finished: tuple[Path, str], cohort_copy: Path, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    shutil.copytree(finished[0], home.root, copy_function=shutil.copy2)
    (home.root / "cohort.json").write_text(json.dumps({"cohort": str(cohort_copy)}))
    config = cohort_copy / "cohort.toml"
    times = config.stat()
    config.write_text(config.read_text() + "\n[automation]\nwatch = true\nwatch_seconds = 5\n")
    os.utime(config, ns=(times.st_atime_ns, times.st_mtime_ns))
    lake, report, log = Workspace(home).lake, home.report / "index.html", tmp_path / "daemon.log"
    before, written = _statistics(lake.root), report.stat().st_mtime_ns
    cases = set(lake.read(("icd10_cases",), cell_of({"icd10": "J45"}))["eid"])
    healthy = next(eid for eid in lake.read(("scans",), cell_of({"organ": "liver"}))["eid"] if eid not in cases)

    with log.open("w") as out:
        daemon = subprocess.Popen(DAEMON, env=environment(home.root), stdout=out, stderr=out, start_new_session=True)
    try:
        wait(lambda: "no file of the cohort has changed" in log.read_text(), log, 60)
        with (cohort_copy / "diagnoses.csv").open("a") as file:
            file.write(f"{healthy},J45,2020-01-01\n")
        wait(lambda: report.stat().st_mtime_ns > written, log, 120)
    finally:
        os.killpg(daemon.pid, signal.SIGTERM)
        daemon.wait(60)
    assert healthy in set(lake.read(("icd10_cases",), cell_of({"icd10": "J45"}))["eid"])
    remade = {path for path, modified in _statistics(lake.root).items() if before[path] != modified}
    assert remade
    assert all("icd10=J45" in path for path in remade)


def _statistics(lake: Path) -> dict[str, int]:
    """Return the modification times of all summary statistics."""
    return {str(path): path.stat().st_mtime_ns for path in lake.glob("*/gwas_summary_stats/**/part.parquet")}
