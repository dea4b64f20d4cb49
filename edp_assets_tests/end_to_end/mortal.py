"""`edp` in a process that may be told where to die: it kills itself there by SIGKILL, as the kernel would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

STEADY = {"OPENBLAS_NUM_THREADS": "1", "MKL_CBWR": "COMPATIBLE", "MPLBACKEND": "agg"}
"""MKL's products depend in their last bit on where in memory the factors lie, unless it is told otherwise."""


LIMIT_SECONDS = 600
"""No run of a tiny cohort takes as long."""


class Processes:
    """Starts `edp` in processes of their own, and waits for them."""

    def start(self, home: Path, *arguments: str, die: dict[str, float] | None = None) -> dict[str, Any]:
        """Start `edp` with these arguments; `die`: point -> which time it is passed.

        The points are those of `Deaths.set`; `seconds` are counted from the start of the first stage that is made.
        """
        home.parent.mkdir(parents=True, exist_ok=True)
        log = home.with_name(f"{home.name}.{time.monotonic_ns()}.log")
        request = json.dumps({"home": str(home), "arguments": arguments, "die": die or {}})
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "edp_assets_tests.end_to_end.mortal", request],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", **STEADY},
                start_new_session=True,
            )
        return {"pid": process.pid, "process": process, "log": log}

    def wait(self, child: dict[str, Any]) -> dict[str, Any]:
        """Return a child's exit code, the signal that ended it, and what it printed."""
        try:
            code = child["process"].wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            child["process"].kill()
            raise
        ended = {"signal": -code, "code": None} if code < 0 else {"signal": 0, "code": code}
        return {**ended, "printed": child["log"].read_text()}

    def run(self, home: Path, *arguments: str, die: dict[str, float] | None = None) -> dict[str, Any]:
        """Start `edp` and wait for its end."""
        return self.wait(self.start(home, *arguments, die=die))


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

        from edp_assets.runner import parts
        from edp_assets.storage import warehouse

        replace, refresh, materialise = os.replace, warehouse.refresh, parts.materialise

        def moving(source: Any, target: Any) -> None:
            self.passes("before a move")
            replace(source, target)
            if Path(target).name == "excluded.parquet":
                self.passes("excluded written, rows not")
            self.passes("after a move")

        def refreshing(*arguments: Any, **named: Any) -> None:
            self.passes("rows written, warehouse not")
            refresh(*arguments, **named)

        def materialising(*arguments: Any) -> Any:
            self.starts()
            return materialise(*arguments)

        os.replace, warehouse.refresh, parts.materialise = moving, refreshing, materialising
        sqlalchemy.event.listen(sqlalchemy.Engine, "commit", lambda connection: self.passes("in a commit"))


def main(request: dict[str, Any]) -> int:
    """Be `edp`."""
    import click

    os.environ["EDP_HOME"] = request["home"]
    os.environ["DAGSTER_HOME"] = request["home"] + "/dagster"
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    from edp_assets.cli import cli

    deaths = Deaths(request["die"])
    deaths.set()
    try:
        code = int(cli(request["arguments"], prog_name="edp", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    print(f"passed: {json.dumps(deaths.passed)}")
    return code


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
