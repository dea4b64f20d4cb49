"""Figures drawn in several processes are the same as those drawn here, and come in their order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from edp_assets.figures import drawing
from edp_assets.figures.drawing import draw_all
from edp_assets.figures.render import new_figure

HERE, ROOT = os.getpid(), Path(__file__).resolve().parents[2]


def titled(title: str) -> Figure:
    figure = new_figure(2, 1, title)
    figure.add_subplot()
    return figure


def dies_elsewhere(here: int, title: str) -> Figure:
    if os.getpid() != here:
        os.kill(os.getpid(), signal.SIGKILL)
    return titled(title)


def cannot(title: str) -> Figure:
    raise ValueError(f"{title} cannot be drawn")


def tasks(count: int) -> list[drawing.Task]:
    return [(partial(titled, f"figure {i}"), {"Content": str(i)}) for i in range(count)]


def pools(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_processes", lambda: cores)


def test_draw_all__in_processes_is_as_here(monkeypatch: pytest.MonkeyPatch) -> None:
    pools(1, monkeypatch)
    here = list(draw_all(tasks(5)))
    assert len(set(here)) == 5
    pools(2, monkeypatch)
    assert list(draw_all(tasks(5))) == here
    assert drawing._pool(2)._processes


def test_draw_all__a_few_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    pools(2, monkeypatch)
    monkeypatch.setattr(drawing, "_started", False)
    monkeypatch.setattr(drawing, "_pool", lambda _: pytest.fail("a pool was asked for"))
    assert len(list(draw_all(tasks(drawing.FEW - 1)))) == drawing.FEW - 1
    assert list(draw_all([])) == []


@pytest.mark.parametrize(("said", "wanted"), [("", 3), ("2", 2), ("0", 1), ("4,2", 3), ("64", 3)])
def test_processes__are_no_more_than_threads_and_cores(said: str, wanted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert drawing._processes() == wanted


def test_draw_all__says_what_a_figure_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    pools(2, monkeypatch)
    drawn = draw_all([*tasks(3), (partial(cannot, "the fourth"), {}), *tasks(1)])
    assert len([next(drawn) for _ in range(3)]) == 3
    with pytest.raises(ValueError, match="the fourth cannot be drawn"):
        next(drawn)


def test_draw_all__a_process_that_dies_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pools(2, monkeypatch)
    wanted = list(draw_all(tasks(4)))
    deadly: drawing.Task = (partial(dies_elsewhere, HERE, "figure 1"), {"Content": "1"})
    assert list(draw_all([tasks(1)[0], deadly, *tasks(4)[2:]])) == wanted
    assert "a process that drew figures died" in caplog.text
    assert list(draw_all(tasks(4))) == wanted  # by other processes


def test_draw_all__processes_end_with_one_that_is_killed() -> None:
    code = (
        "import time; from edp_assets.figures import drawing; drawing._processes = lambda: 2;"
        "from edp_assets_tests.figures.test_drawing import tasks;"
        "list(drawing.draw_all(tasks(4)));"
        "print(*drawing._pool(2)._processes, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        assert children
        parent.kill()
    deadline = time.monotonic() + 20
    while any(_lives(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_lives(pid) for pid in children)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
