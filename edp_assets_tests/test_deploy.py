"""The deployment files: sound to the programs that read them, shut to the network, and Dagster's own configuration."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import dagster as dg
import pytest
import yaml

from edp_assets.storage.home import Home

DEPLOY = Path(str(files("edp_assets") / "deploy"))
UNITS = ("edp-webserver.service", "edp-daemon.service")


@pytest.mark.parametrize("unit", UNITS)
def test_unit__is_hardened_and_listens_to_this_machine_alone(unit: str) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / unit)
    service = parser["Service"]
    assert (service["User"], service["StateDirectoryMode"], service["UMask"]) == ("edp", "0700", "0077")
    assert (service["NoNewPrivileges"], service["ProtectSystem"]) == ("yes", "strict")
    assert (service["ReadWritePaths"], service["IPAddressDeny"], service["IPAddressAllow"]) == (
        "%S/edp",
        "any",
        "localhost",
    )
    if "webserver" in unit:
        assert "-h 127.0.0.1" in service["ExecStart"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS)
def test_unit__is_sound_to_systemd(unit: str, tmp_path: Path) -> None:
    """Of a copy whose programs exist here: `verify` looks for them."""
    lines = (DEPLOY / unit).read_text().splitlines()
    programs = [f"{line.split('=')[0]}=/bin/true" if line.startswith("Exec") else line for line in lines]
    (tmp_path / unit).write_text("\n".join(programs) + "\n")
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert unit not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


def test_compose__opens_no_port_and_drops_all_rights() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert set(services) == {"webserver", "daemon", "prepare"}
    for name, service in services.items():
        assert "ports" not in service
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["network_mode"] == ("host" if name == "webserver" else "none")
        assert service["volumes"][1].endswith(":ro")  # the cohort
    assert services["webserver"]["command"][-4:] == ["-h", "127.0.0.1", "-p", "3000"]


def _compose() -> bool:
    docker = shutil.which("docker")
    return docker is not None and not subprocess.run([docker, "compose", "version"], capture_output=True).returncode


@pytest.mark.skipif(not _compose(), reason="docker compose is not installed")
def test_compose__is_sound_to_docker() -> None:
    command = ["docker", "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    env = {**os.environ, "EDP_HOME": "/srv/edp", "EDP_COHORT": "/srv/cohort"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lacking = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)
    assert "the folder that holds the results" in lacking.stderr


def test_dagster_yaml__is_what_dagster_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDP_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "")  # undone at the end
    Home(tmp_path).prepare()
    with dg.DagsterInstance.get() as instance:
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        assert instance.get_tick_retention_settings(dg._core.definitions.run_request.InstigatorType.SENSOR)
        limits = instance.get_concurrency_config().run_queue_config
    assert limits is not None
    assert limits.tag_concurrency_limits == [{"key": "edp/what", "limit": 1}]  # jobs wait for one another
