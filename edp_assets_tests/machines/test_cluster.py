"""The S3 store that tests start."""

from __future__ import annotations

import pytest

from edp_assets_tests.machines.cluster import AWS, s3


def test_s3__is_empty_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    s3fs = pytest.importorskip("s3fs")
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        with s3() as endpoint:
            store = s3fs.S3FileSystem(endpoint_url=endpoint, skip_instance_cache=True)
            assert store.ls("") == []
            store.mkdir("edp")
            assert store.ls("") == ["edp"]
