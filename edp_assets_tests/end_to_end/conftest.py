"""A tiny synthetic cohort, and `edp` as a user runs it: a process of its own with an EDP_HOME of its own."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

EDP = (sys.executable, "-c", "from edp_assets.cli import main; main()")


def environment(home: Path) -> dict[str, str]:
    """Return the environment of one run: its own home; one thread, since two fight for the cores of a busy machine."""
    own = {"EDP_HOME": str(home), "OMP_NUM_THREADS": "1", "DAGSTER_HOME": str(home / "dagster")}
    return {**os.environ, **own}


def run_edp(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `edp` to its end."""
    command, env = [*EDP, *arguments], environment(home)
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=1_800)


def make_small(cohort: Path) -> None:
    """Let a cohort of few people have codes, with an encoder of one epoch on coarse slices."""
    text = (cohort / "cohort.toml").read_text()
    text = re.sub("min_cases = .*", "min_cases = 5", text)
    text = re.sub("codes = .*", 'codes = ["K76", "I10", "J45"]', text, count=1)
    text = re.sub(r"(\[few_shot\]\ncodes =) .*", r'\1 ["I10"]', text)
    text = re.sub("unadjusted_codes = .*", 'unadjusted_codes = ["I10"]', text)
    text = re.sub("\nepochs = .*", "\nepochs = 1", text)
    text = text.replace('labels = ["metformin"]', 'labels = ["metformin"]\nmin_cases = 3')
    text = text.replace("patch = 6\nresolution = 48", "patch = 8\nresolution = 48")
    # The control is one more encoder to every stage: a third of the time, and nothing that the others do not show.
    text = text.replace("[encoders.untrained]\n", "")
    (cohort / "cohort.toml").write_text(
        text + "[classifier]\nmin_auc = 0.0\nmax_p = 1.0\n[clustering]\nmin_cases = 2\nmax_p = 1.0\n"
        "[island]\nmin_cases = 1\nmax_p = 1.0\n"
    )


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of pytest have in common, and, where make says so, several calls of it."""
    own = tmp_path_factory.getbasetemp()
    of_all = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    return Path(os.environ.get("EDP_TESTS_SHARED") or of_all)


@contextmanager
def made_once(folder: Path) -> Iterator[bool]:
    """Give whether a folder is to be made: the first that asks makes it whole, others wait for that."""
    done = folder / "made"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            yield False
            return
        shutil.rmtree(folder, ignore_errors=True)
        yield True
        done.touch()


@pytest.fixture(scope="session")
def tiny_cohort(shared: Path) -> Path:
    """A synthetic cohort of 400 people, 100 of them imaged."""
    from edp_assets.cohort.synthetic.write import write_cohort

    with made_once(shared / "tiny") as wanted:
        folder = shared / "tiny" / "cohort"
        if wanted:
            write_cohort(folder, seed=3, participants=400, imaged=100, workers=1)
            make_small(folder)
    return folder


@pytest.fixture
def cohort_copy(tiny_cohort: Path, tmp_path: Path) -> Path:
    """A copy of the tiny cohort to break or change; the images are shared, file times kept."""
    folder = tmp_path / "cohort"
    link: Callable[[str, str], object] = os.link
    shutil.copytree(tiny_cohort, folder, copy_function=shutil.copy2, ignore=shutil.ignore_patterns("images"))
    shutil.copytree(tiny_cohort / "images", folder / "images", copy_function=link)
    return folder


@pytest.fixture(scope="session")
def finished(tiny_cohort: Path, shared: Path) -> tuple[Path, str]:
    """The home of an undisturbed run on the tiny cohort, and what it printed."""
    with made_once(shared / "finished") as wanted:
        home, printed = shared / "finished" / "home", shared / "finished" / "printed.txt"
        if wanted:
            done = run_edp(home, "run", str(tiny_cohort))
            assert done.returncode == 0, done.stdout + done.stderr
            printed.write_text(done.stdout)
    return home, printed.read_text()
