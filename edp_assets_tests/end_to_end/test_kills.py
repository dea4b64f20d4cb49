"""SIGKILL at any moment: a run that goes on ends as if it had not been killed, and nothing is left behind."""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from edp_assets.seal import KEY
from edp_assets.storage.home import Home
from edp_assets.storage.lake import notes_of
from edp_assets.storage.table_files import PROVENANCE
from edp_assets_tests.end_to_end.conftest import make_small
from edp_assets_tests.end_to_end.mortal import Processes
from edp_assets_tests.end_to_end.test_run import OF_THE_HOME, tables

pytestmark = pytest.mark.slow

KILLS = 32
SELECT = " and ".join(
    f"not {part}"
    for part in (
        "group:evidence", "group:few_shot", "group:adjustment", 'key:"mae/cluster_alternatives"',
        'key:"mae/phenotype_figures"', 'key:"mae/association_figures"', 'key:"mae/regional_figures"',
    )
)  # fmt: skip
"""All but evidence and pictures, which take the longest and are stored as everything else is."""


RUN = ("run", "--select", SELECT)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest cohort that runs through every stage: 60 scans of one organ, two chromosomes, one code of two."""
    from edp_assets.cohort.synthetic.write import write_cohort

    folder = tmp_path_factory.mktemp("kills") / "cohort"
    write_cohort(folder, seed=3, participants=300, imaged=60, workers=1)
    make_small(folder)
    for file in (folder / "genotypes").iterdir():
        if not file.name.startswith(("chr2.", "chr22.")):
            file.unlink()
    config = folder / "cohort.toml"
    text = config.read_text()
    for section in (
        r"\[organs\.(?:kidneys|heart)\]",
        r"\[encoders\.(?:video_mae|untrained)\]",
        r"\[labels\.sets\.medication\]",
    ):
        text = re.sub(rf"{section}\n(?:[^\[\n][^\n]*\n|\n)*", "", text)
    text = re.sub("codes = .*", 'codes = ["K76", "I10"]', text, count=1)
    text = re.sub("checkpoint_seconds = .*", "checkpoint_seconds = 0.05", text)
    text = text.replace("batch_size = 128", "batch_size = 256")
    config.write_text(text + "[checks.sample_size]\nmin_participants = 10\nmin_cases = 1\n")
    return folder


@pytest.fixture(scope="module")
def server() -> Processes:
    """What starts runs."""
    return Processes()


CLOCKS = ("lake/withdrawals/", "asset_checks.parquet")
"""Files that say when something was carried out or looked at, or where in this home: their rows are compared alone."""


def contents(home: Path) -> dict[str, object]:
    """Return all that a home stores: every partition's rows, provenance and notes, and every encoder."""
    import pyarrow.parquet as pq
    from safetensors import safe_open

    found: dict[str, object] = {}
    for path in sorted((home / "lake").rglob("*.parquet")):
        name = str(path.relative_to(home))
        rows = pl.DataFrame(pq.read_table(path, partitioning=None)).drop(OF_THE_HOME, strict=False)
        found[name] = repr(rows.to_dict(as_series=False))  # as text, in which a missing number equals itself
        if not any(part in name for part in CLOCKS):
            found[f"{name} provenance"] = (pq.read_metadata(path).metadata or {}).get(PROVENANCE)
            found[f"{name} notes"] = notes_of(path)
    for path in sorted((home / "checkpoints").rglob("*.safetensors")):
        with safe_open(path, framework="np") as file:  # the order of its header is not kept, and the seal is of that
            found[str(path.relative_to(home))] = {k: v for k, v in file.metadata().items() if k != KEY}
            found[f"{path.relative_to(home)} weights"] = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
    return found


def left_behind(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what a finished run should have cleared away."""
    left = [str(path) for pattern in ("*.tmp", ".pieces-*", "training.safetensors") for path in home.rglob(pattern)]
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    with dg.DagsterInstance.get() as instance:
        left += [f"{run.run_id} {run.status}" for run in instance.get_runs() if not run.is_finished]
        for pool in instance.event_log_storage.get_concurrency_keys():
            info = instance.event_log_storage.get_concurrency_info(pool)
            left += [f"{pool}: {info}"] * bool(info.active_slot_count or info.pending_step_count)
    with Home(home).writing():  # is free
        pass
    return left


def deaths(rng: np.random.Generator, number: int, moves: int) -> dict[str, float]:
    """Return where the n-th attempt dies; after so many moves it does in any case, so that all stages have kills."""
    kinds: list[dict[str, float]] = [
        {"seconds": rng.uniform(0, 3)},
        {"before a move": int(rng.integers(1, moves + 1))},
        {"in a commit": int(rng.integers(1, 160))},
        {"rows written, warehouse not": int(rng.integers(1, moves + 1))},
        {"excluded written, rows not": 1},
        {"seconds": rng.uniform(0, 1)},
    ]
    return {"after a move": moves, **kinds[number % len(kinds)]}


def test_run__killed_at_many_moments_ends_as_if_undisturbed(
    cohort: Path, server: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, home, rng = tmp_path / "undisturbed", tmp_path / "home", np.random.default_rng(7)
    done = server.run(undisturbed, *RUN, str(cohort))
    assert (done["code"], done["signal"]) == (0, 0), done["printed"]
    moves = int(re.search(r'"after a move": (\d+)', done["printed"])[1])  # type: ignore[index]
    killed_in: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    number = 0
    while killed_in.total() < KILLS:
        # Some attempts are left to come further than others, so that the last kills fall into the last stages.
        die = deaths(rng, number, round(moves / KILLS) * (1 if number % 3 else 2))
        ended = server.run(home, *RUN, str(cohort), die=die)
        if ended["signal"] != 9:  # came to its end, as few kills before the last one may let it: once more
            assert ended["code"] == 0, ended["printed"]
            shutil.rmtree(home)
        at_work = re.findall(r"^\[\d+/\d+\] (\S+)", ended["printed"], re.MULTILINE)
        if at_work:  # else it was killed while it opened the instance: that counts for nothing, and may do no harm
            killed_in[at_work[-1]] += 1
            kinds[list(die)[-1]] += 1
        number += 1
        assert number < 2 * KILLS, killed_in
    last = server.run(home, *RUN, str(cohort))
    assert (last["code"], last["signal"]) == (0, 0), last["printed"]
    print(f"\n{killed_in.total()} kills at work in {len(killed_in)} stages: {dict(killed_in)}; {dict(kinds)}")
    assert len(killed_in) >= 12
    of_home, of_undisturbed = contents(home), contents(undisturbed)
    assert of_home.keys() == of_undisturbed.keys()
    assert [name for name in of_home if of_home[name] != of_undisturbed[name]] == []
    of_undisturbed = tables(undisturbed)
    assert [name for name, frame in tables(home).items() if not frame.equals(of_undisturbed[name])] == []
    assert left_behind(home, monkeypatch) == []
    shutil.rmtree(home)


def test_run__a_second_one_is_told_who_is_at_work_and_damages_nothing(
    cohort: Path, server: Processes, tmp_path: Path
) -> None:
    # Training takes longer than a second run needs to come to the lock.
    home, arguments = tmp_path / "home", ("run", str(cohort), "--select", "+key:mae/encoder")
    first = server.start(home, *arguments)
    while "[1/" not in Path(first["log"]).read_text():
        time.sleep(0.05)
    second = server.run(home, *arguments)
    assert second["code"] == 1, second["printed"]
    assert f"is in use by another run (process {first['pid']})" in second["printed"]
    assert "Traceback" not in second["printed"]
    ended = server.wait(first)
    assert ended["code"] == 0, ended["printed"]
    again = server.run(home, *arguments)
    assert "0 partitions made" in again["printed"]
