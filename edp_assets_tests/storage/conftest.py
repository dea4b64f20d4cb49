"""An S3 server for tests, and a home that stores there; a home that Dagster keeps its databases in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edp_assets.storage.home import Home


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Moto's S3 server on 127.0.0.1."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    pytest.importorskip("s3fs")
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def far_home(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home whose lake and checkpoints lie in a bucket of their own."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"home-{abs(hash(tmp_path)):x}"
    (tmp_path / "home.toml").write_text(
        f'[storage]\nlake = "s3://{bucket}/lake"\ncheckpoints = "s3://{bucket}/checkpoints"\n'
        f'endpoint_url = "{endpoint}"\n'
    )
    found = Home(tmp_path)
    found.stored("lake").fs.mkdir(bucket)
    return found


@pytest.fixture
def dagster_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A prepared home, as which the environment has it."""
    monkeypatch.setenv("EDP_HOME", str(tmp_path / "home"))
    found = Home.from_environment()
    found.prepare()
    monkeypatch.setenv("DAGSTER_HOME", str(found.dagster))
    return found
