"""Two runs at once on one home, from the UI or the command line: nothing is damaged, and what must wait waits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest

from edp_assets.runner import Choice, run
from edp_assets.runner.execute import RUN_TAG, end_orphans
from edp_assets.storage import warehouse
from edp_assets.storage.home import Home
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.faults.conftest import CODES, ORGANS, SCORES, SUMS, Planted

pytestmark = pytest.mark.slow

RUN = """
import json, os, sys, time
from itertools import pairwise
from pathlib import Path
import dagster as dg
from edp_assets.assets.stage import REGISTRY
from edp_assets.storage.home import Home
REGISTRY.clear()
from edp_assets_tests.faults.conftest import Planted, define
home, asset, first, last = Path(sys.argv[1]), tuple(sys.argv[2].split("/")), *sys.argv[3:5]
os.environ |= {"EDP_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
found = []
graph = define(found)
found.append(planted := Planted(Home(home), graph))
events = open(home.parent / f"events.{os.getpid()}.jsonl", "w", buffering=1)
def calling(key):
    events.write(json.dumps([time.monotonic(), key]) + "\\n")
    time.sleep(float(sys.argv[5]))
    events.write(json.dumps([time.monotonic(), key]) + "\\n")
planted.calling = calling
print("ready", flush=True)
sys.stdin.readline()
sys.exit(0 if planted.run(asset, first, last).success else 1)
"""


def dagster_runs(home: Path, asset: tuple[str, ...], first: str, last: str, seconds: float) -> list[str]:
    """Run an asset in two Dagster runs in two processes at the same time; return what each wrote."""
    command = [sys.executable, "-c", RUN, str(home), "/".join(asset), first, last, str(seconds)]
    both = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    printed = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    return printed


def calls(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Return when each cell was at work, in either process."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for file in folder.glob("events.*.jsonl"):
        events = [json.loads(line) for line in file.read_text().splitlines()]
        for (begin, key), (end, _) in zip(events[::2], events[1::2], strict=True):
            found["|".join(key)].append((begin, end))
    return found


def overlap(spans: list[tuple[float, float]]) -> bool:
    ordered = sorted(spans)
    return any(end > begin for (_, end), (begin, _) in pairwise(ordered))


def test_two_dagster_runs__on_the_same_partitions_leave_each_whole(planted: Planted) -> None:
    run(Workspace(planted.home), Choice(select="+key:icd10_cases"), lambda line: None)
    dagster_runs(planted.home.root, SCORES, "A00|heart", "A09|liver", 0.05)
    spans = calls(planted.home.root.parent)
    cells = {f"scores|{code}|{organ}" for code in CODES[:10] for organ in ORGANS}
    assert {key: len(spans[key]) for key in spans} == dict.fromkeys(cells, 2)  # each run made each
    assert not any(overlap(of_cell) for of_cell in spans.values())  # but never both at once
    assert any(
        overlap([a, b]) for one in cells for other in cells if one != other for a in spans[one] for b in spans[other]
    )
    workspace = Workspace(planted.home)
    assert planted.stored(SCORES) == {key.removeprefix("scores|") for key in cells}
    for cell in workspace.lake.cells(SCORES):
        assert workspace.lake.read(SCORES, cell).height == 1
    assert list(planted.home.root.rglob("*.tmp")) == []
    with planted.home.alone() as alone:
        assert alone
    # And `edp run` finds them current.
    outcome = run(workspace, Choice(icd10=tuple(CODES[:10])), lambda line: None)
    assert outcome.current["planted/scores"] == 20


def test_two_dagster_runs__train_an_encoder_one_after_the_other(planted: Planted) -> None:
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("organ", ORGANS)
    dagster_runs(planted.home.root, ("planted", "encoder"), "heart", "heart", 1.0)
    (spans,) = calls(planted.home.root.parent).values()
    assert len(spans) == 2
    assert not overlap(spans)
    with dg.DagsterInstance.get() as instance:
        info = instance.event_log_storage.get_concurrency_info("encoders")
    assert (info.active_slot_count, info.pending_step_count) == (0, 0)


def test_edp_run__while_a_run_of_the_ui_is_at_work(planted: Planted) -> None:
    run(Workspace(planted.home), Choice(select="+key:icd10_cases"), lambda line: None)
    command = [sys.executable, "-c", RUN, str(planted.home.root), "planted/scores", "A00|heart", "B09|heart", "0.1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as ui:
        assert ui.stdout is not None
        assert ui.stdin is not None
        ui.stdout.readline()
        ui.stdin.write("go\n")
        ui.stdin.flush()
        with planted.home.writing():
            outcome = run(Workspace(planted.home), Choice(), lambda line: None)
        ui.communicate(timeout=120)
        assert ui.returncode == 0
    assert outcome.failed == []
    # Whoever came last, rows and what they are made from fit: nothing is to be made again.
    again = run(Workspace(planted.home), Choice(), lambda line: None)
    assert again.made == {}
    assert planted.stored(SUMS) == set(ORGANS)


def test_end_orphans__leaves_the_runs_of_others_alone(planted: Planted) -> None:
    job = planted.graph.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance:
        ours, theirs = (
            instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)
            for tags in ({RUN_TAG: "true"}, {"dagster/backfill": "abc"})
        )
        said: list[str] = []
        end_orphans(instance, said.append)
        statuses = {each.run_id: each.status for each in instance.get_runs()}
    assert statuses == {ours.run_id: dg.DagsterRunStatus.FAILURE, theirs.run_id: dg.DagsterRunStatus.STARTED}
    assert said == ["an earlier run was killed: 1 open run(s) marked as failed, going on from what is stored"]


HOLD = """
import sys, time
from itertools import pairwise
from pathlib import Path
from edp_assets.storage.home import Home
home = Home(Path(sys.argv[1]))
with home.writing(), home.making(("encoder",), [(("organ", "liver"),)]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_locks__of_a_dead_process_are_free(tmp_path: Path) -> None:
    home, liver, heart = Home(tmp_path), (("organ", "liver"),), (("organ", "heart"),)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with home.alone() as alone:
            assert not alone
        with home.making(("encoder",), [heart]):  # another cell is free
            pass
        holder.send_signal(signal.SIGKILL)
    with home.writing(), home.making(("encoder",), [heart, liver]):
        pass
    with home.alone() as alone:
        assert alone


def test_tidy__clears_up_after_a_process_that_died(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    home, refresh = planted.home, warehouse.refresh
    run(Workspace(home), Choice(select="key:icd10_codes"), lambda line: None)
    codes = "SELECT count(*) FROM icd10_codes"
    assert warehouse.query(home.warehouse, codes).item() == len(CODES)
    with warehouse.connect(home.warehouse) as connection:
        connection.execute("DELETE FROM icd10_codes")

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(warehouse, "refresh", dies)
    assert planted.run(("icd10_codes",)).success is False
    monkeypatch.setattr(warehouse, "refresh", refresh)
    half_written = home.lake / "icd10_cases/icd10=A00/.part.parquet.1.abc.tmp"
    half_written.parent.mkdir(parents=True)
    half_written.touch()
    said: list[str] = []
    with home.making(("icd10_cases",), [(("icd10", "A00"),)]):  # somebody is at work
        run(Workspace(home), Choice(select="key:icd10_codes"), said.append)
        assert half_written.exists()
    run(Workspace(home), Choice(select="key:icd10_codes"), said.append)
    assert not half_written.exists()
    assert warehouse.query(home.warehouse, codes).item() == len(CODES)
    assert said == []
    assert list(home.unmirrored.iterdir()) == []
