"""An S3 server for tests, and a home that stores there; a home that Dagster keeps its databases in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edp_assets.storage.home import Home
from edp_assets_tests.machines.cluster import AWS, s3


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Moto's S3 server on 127.0.0.1."""
    with s3() as started:
        yield started


@pytest.fixture
def far_home(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home whose lake and checkpoints lie in a bucket of their own."""
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
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
