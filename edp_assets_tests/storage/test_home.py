"""EDP_HOME: one cohort, one writer at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from edp_assets.storage.home import Home, HomeError


def test_bind__a_second_cohort_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.root.mkdir()
    assert home.cohort_folder() is None
    home.bind(tmp_path / "a")
    home.bind(tmp_path / "a")
    assert home.cohort_folder() == tmp_path / "a"
    with pytest.raises(HomeError, match=r"a, which is gone, was moved here, remove .*cohort\.json"):
        home.bind(tmp_path / "b")
    (tmp_path / "a").mkdir()
    with pytest.raises(HomeError, match="One EDP_HOME holds one cohort"):
        home.bind(tmp_path / "b")


def test_writing__a_second_run_is_told_who_holds_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.writing(), pytest.raises(HomeError, match=r"in use by another run \(process \d+\)"), home.writing():
        pass
    with home.writing():
        pass


def test_prepare__telemetry_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "unset")
    monkeypatch.setenv("EDP_HOME", str(tmp_path / "home"))
    home = Home.from_environment()
    home.prepare()
    config = yaml.safe_load((home.dagster / "dagster.yaml").read_text())
    assert config["telemetry"] == {"enabled": False}
