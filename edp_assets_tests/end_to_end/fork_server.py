"""`edp` in children forked from a process that has imported everything and used nothing: a start costs no imports.

Each line on stdin is a request (JSON), each on stdout its answer; `ForkServer` is the other side. A child may be told
where to die: it kills itself with SIGKILL there, as the kernel would.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

HEAVY = (
    "duckdb", "igraph", "imblearn.over_sampling", "leidenalg", "matplotlib.pyplot", "nibabel", "pyarrow.parquet",
    "safetensors.torch", "scanpy", "scipy.stats", "sklearn.decomposition", "sklearn.neighbors", "sqlalchemy",
    "threadpoolctl", "torch", "umap",
)  # fmt: skip


HARMLESS = {"jemalloc_bg_thd", "polars-ooc-clea"}
"""Threads that polars starts when it is imported: they hold no lock that a child would miss."""


STEADY = {"OPENBLAS_NUM_THREADS": "1", "MKL_CBWR": "COMPATIBLE", "MPLBACKEND": "agg"}
"""MKL's products depend in their last bit on where in memory the factors lie, unless it is told otherwise."""


class ForkServer:
    """Starts children of one warm process; use as a context."""

    def __enter__(self) -> ForkServer:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "edp_assets_tests.end_to_end.fork_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **STEADY},
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.communicate(timeout=60)  # its stdin closed, it ends

    def start(self, home: Path, *arguments: str, die: dict[str, float] | None = None) -> dict[str, Any]:
        """Start `edp` with these arguments; `die`: point -> which time it is passed.

        The points are those of `Deaths.set`; `seconds` are counted from the start of the first stage that is made.
        """
        return self._ask({"home": str(home), "arguments": arguments, "die": die or {}})

    def wait(self, child: dict[str, Any]) -> dict[str, Any]:
        """Return a child's exit code, the signal that ended it, and what it printed."""
        ended = self._ask({"wait": child["pid"]})
        return {**ended, "printed": Path(child["log"]).read_text()}

    def run(self, home: Path, *arguments: str, die: dict[str, float] | None = None) -> dict[str, Any]:
        """Start `edp` and wait for its end."""
        return self.wait(self.start(home, *arguments, die=die))

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))


class Deaths:
    """Kills this process the n-th time that it passes a point."""

    def __init__(self, die: dict[str, float]) -> None:
        self.die, self.passed = die, Counter[str]()

    def passes(self, point: str) -> None:
        self.passed[point] += 1
        if self.die.get(point) == self.passed[point]:
            os.kill(os.getpid(), signal.SIGKILL)

    def starts(self) -> None:
        """Start the clock: a stage is about to be made."""
        if "seconds" in self.die and not self.passed["stages"]:
            timer = threading.Timer(self.die["seconds"], os.kill, (os.getpid(), signal.SIGKILL))
            timer.daemon = True
            timer.start()
        self.passes("stages")

    def set(self) -> None:
        """Lay the points: starts of stages, file moves, commits of Dagster's event log, refreshes of the warehouse."""
        import sqlalchemy

        from edp_assets import runner
        from edp_assets.storage import warehouse

        replace, refresh, materialise = os.replace, warehouse.refresh, runner.materialise

        def moving(source: Any, target: Any) -> None:
            self.passes("before a move")
            replace(source, target)
            if Path(target).name == "excluded.parquet":
                self.passes("excluded written, rows not")
            self.passes("after a move")

        def refreshing(*arguments: Any) -> None:
            self.passes("rows written, warehouse not")
            refresh(*arguments)

        def materialising(*arguments: Any) -> Any:
            self.starts()
            return materialise(*arguments)

        os.replace, warehouse.refresh, runner.materialise = moving, refreshing, materialising
        sqlalchemy.event.listen(sqlalchemy.Engine, "commit", lambda connection: self.passes("in a commit"))


def child(request: dict[str, Any], log: str) -> None:
    """Be `edp`."""
    os.setsid()
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.environ["EDP_HOME"] = request["home"]
    os.environ["DAGSTER_HOME"] = request["home"] + "/dagster"
    from edp_assets.cli import cli

    deaths = Deaths(request["die"])
    deaths.set()
    code = cli(request["arguments"], prog_name="edp", standalone_mode=False) or 0
    print(f"passed: {json.dumps(deaths.passed)}")
    raise SystemExit(code)


def fork(request: dict[str, Any]) -> dict[str, Any]:
    """Start a child."""
    home = Path(request["home"])
    home.parent.mkdir(parents=True, exist_ok=True)
    log = str(home.with_name(f"{home.name}.{time.monotonic_ns()}.log"))
    Path(log).touch()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            child(request, log)
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException as error:
            import click

            if isinstance(error, click.ClickException):
                error.show()
                code = error.exit_code
            else:
                sys.excepthook(type(error), error, error.__traceback__)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return {"pid": pid, "log": log}


def wait(pid: int) -> dict[str, Any]:
    """Wait for a child."""
    _, status = os.waitpid(pid, 0)
    killed = os.WIFSIGNALED(status)
    return {"signal": os.WTERMSIG(status) if killed else 0, "code": None if killed else os.WEXITSTATUS(status)}


def serve() -> None:
    """Import everything, then answer."""
    import edp_assets

    for name in HEAVY:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(edp_assets.__path__, "edp_assets."):
        importlib.import_module(module.name)
    tasks = set(os.listdir("/proc/self/task")) - {str(os.getpid())}
    others = {Path(f"/proc/self/task/{task}/comm").read_text().strip() for task in tasks} - HARMLESS
    assert not others, f"a process with the threads {others} cannot be forked"
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(wait(request["wait"]) if "wait" in request else fork(request)), flush=True)


if __name__ == "__main__":
    serve()
