"""The files for Kubernetes: sound to dagster-k8s and the Kubernetes client, and the two say the same."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from edp_assets.runner.parts import Part
from edp_assets.runner.pods import Pods
from edp_assets.storage.home import Home
from edp_assets.storage.home_settings import read_home_settings

FILES = Path(str(files("edp_assets") / "deploy/k8s"))
pytestmark = pytest.mark.filterwarnings("ignore:Found version mismatch")

CHART = {
    "dagsterWebserver", "dagster-user-deployments", "postgresql", "generatePostgresqlPasswordSecret", "runLauncher",
    "dagsterDaemon", "telemetry", "global",
}  # fmt: skip
"""Of the sections of the chart's values (its schema, DagsterHelmValues) those that are used."""


@pytest.fixture
def values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FILES / "values.yaml").read_text())
    return found


def deployment(values: dict[str, Any]) -> dict[str, Any]:
    (found,) = values["dagster-user-deployments"]["deployments"]
    return dict(found)


def test_values__say_what_home_toml_says(values: dict[str, Any]) -> None:
    settings, of_chart = read_home_settings(FILES / "home.toml"), deployment(values)
    pod = settings.executor.kubernetes
    assert set(values) == CHART
    assert pod["job_image"] == "{repository}:{tag}".format(**of_chart["image"])
    assert pod["volumes"] == of_chart["volumes"]
    assert pod["volume_mounts"] == of_chart["volumeMounts"]
    assert pod["service_account_name"] == values["global"]["serviceAccountName"]
    launcher, of_part = values["runLauncher"]["config"]["k8sRunLauncher"], pod["run_k8s_config"]
    assert launcher["runK8sConfig"]["podSpecConfig"] == of_part["pod_spec_config"]
    assert launcher["runK8sConfig"]["containerConfig"]["resources"] == of_part["container_config"]["resources"]
    assert [each for each in of_chart["env"] if each["name"] == "PGPASSWORD"] == of_part["container_config"]["env"]
    where = values["postgresql"]
    named = "postgresql://{postgresqlUsername}@{postgresqlHost}:5432/{postgresqlDatabase}".format(**where)
    assert settings.instance.postgres == named
    assert not any("assword" in key and value for key, value in where.items())


def test_values__keep_the_limits_of_dagster_yaml(values: dict[str, Any], tmp_path: Path) -> None:
    from edp_assets.storage.dagster_yaml import BASE

    queue = values["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    runs = BASE["concurrency"]["runs"]
    assert queue == {
        "maxConcurrentRuns": runs["max_concurrent_runs"], "tagConcurrencyLimits": runs["tag_concurrency_limits"]
    }  # fmt: skip
    assert values["telemetry"] == BASE["telemetry"]


def test_values__are_what_dagster_k8s_takes(values: dict[str, Any]) -> None:
    contexts = pytest.importorskip("dagster_k8s.container_context")
    of_chart = deployment(values)
    taken = {name: of_chart[key] for name, key in (("volumes", "volumes"), ("volume_mounts", "volumeMounts"))}
    context = contexts.K8sContainerContext.create_from_config({"k8s": {**taken, "env": of_chart["env"]}})
    assert len(context.run_k8s_config.pod_spec_config["volumes"]) == 2
    with pytest.raises(Exception, match="claimNam"):
        contexts.K8sContainerContext.create_from_config(
            {"k8s": {"volumes": [{"name": "home", "persistentVolumeClaim": {"claimNam": "edp-home"}}]}}
        )


def test_home_toml__makes_the_pod_of_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launchers = pytest.importorskip("dagster_k8s.launcher")
    monkeypatch.setattr(launchers, "load_kubernetes_config", lambda **named: None)  # there is no cluster
    for name in ("EDP_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "")
    shutil.copy(FILES / "home.toml", tmp_path)
    home = Home(tmp_path)
    home.prepare()
    launcher = dg._core.instance.ref.InstanceRef.from_dir(str(home.dagster)).run_launcher
    pods = Pods.__new__(Pods)
    pods._launcher = launcher  # type: ignore[assignment]
    job = pods._job("edp-1", Part(tmp_path, ("mae", "encoder"), (), "1"), tmp_path / "1.json")
    pod = job.spec.template.spec
    (container,) = pod.containers
    assert container.args == ["python", "-m", "edp_assets.runner.pods", str(tmp_path / "1.json")]
    assert container.resources.limits == {"memory": "32Gi"}
    assert pod.security_context.run_as_user == 10001
    variables = {each.name: each for each in container.env}
    assert variables["EDP_HOME"].value == str(tmp_path)
    assert variables["PGPASSWORD"].value_from.secret_key_ref.name == "dagster-postgresql-secret"
    assert [volume.persistent_volume_claim.claim_name for volume in pod.volumes] == ["edp-home", "edp-cohort"]
    assert [mount.mount_path for mount in container.volume_mounts] == ["/srv/edp/home", "/srv/edp/cohort"]
    assert job.metadata.labels["edp/asset"] == "mae-encoder"
