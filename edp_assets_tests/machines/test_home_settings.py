"""home.toml's executor and instance, and the dagster.yaml that is written of them."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
import yaml

from edp_assets.automation.build import executor_of_home
from edp_assets.storage.dagster_yaml import SQLITE, WITHOUT_MARK, _digest, dagster_yaml, is_as_written
from edp_assets.storage.home import Home, HomeError
from edp_assets.storage.home_settings import HomeSettingsError, read_home_settings
from edp_assets.storage.postgres import require_postgres

POSTGRES = '[instance]\npostgres = "postgresql://edp@db.example.org:5432/edp?sslmode=verify-full"\n'
KUBERNETES = (
    POSTGRES
    + '[executor]\nkind = "kubernetes"\nmax_concurrent = 3\n[executor.kubernetes]\njob_image = "registry/edp:1"\n'
    'service_account_name = "edp"\ninstance_config_map = "dagster-instance"\nenv_secrets = ["edp-postgres"]\n'
    'volumes = [{name = "home", persistentVolumeClaim = {claimName = "edp-home"}}]\n'
    'volume_mounts = [{name = "home", mountPath = "/srv/edp"}]\n'
)
mismatch = pytest.mark.filterwarnings("ignore:Found version mismatch")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("EDP_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "")  # undone at the end
    return tmp_path


def prepared(home: Path, text: str) -> dict[str, object]:
    """Return dagster.yaml as it is written of this home.toml."""
    (home / "home.toml").write_text(text)
    Home(home).prepare()
    found: dict[str, object] = yaml.safe_load((home / "dagster/dagster.yaml").read_text())
    return found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[executor]\nkind = "ray"', "executor.kind: Input should be 'in_process'"),
        ('[executor]\nkind = "dask"', 'executor: .*wanted scheduler = "tcp://host:8786" with kind = "dask"'),
        ('[executor]\nscheduler = "tcp://a:1"', 'executor: .*with kind = "dask", and with no other'),
        (
            '[executor]\nkind = "dask"\nscheduler = "tcp://a:1"',
            r"in all: .*several machines cannot write.*\[instance\]",
        ),
        ("[executor]\nmax_concurrent = 0", "executor.max_concurrent: Input should be greater than or equal to 1"),
        ('[executor.kubernetes]\njob_image = "x"', r'\[executor.kubernetes\] is there: wanted kind = "kubernetes"'),
        ('[instance]\npostgres = "mysql://a/b"', "instance.postgres: .*wanted postgresql://user@host:port/database"),
        ('[instance]\npostgres = "postgresql://a:hush@b/c"', "instance.postgres: .*set PGPASSWORD, or PGPASSFILE"),
        ('[instance]\npostgres = "postgresql://b/c?password=hush"', "a password does not belong here"),
    ],
)
def test_read_home_settings__what_cannot_be_is_told_and_no_secret_repeated(
    tmp_path: Path, text: str, told: str
) -> None:
    (tmp_path / "home.toml").write_text(text)
    with pytest.raises(HomeSettingsError, match=told) as raised:
        read_home_settings(tmp_path / "home.toml")
    assert "hush" not in str(raised.value)


def test_prepare__writes_dagster_yaml_again_where_home_toml_changed(home: Path) -> None:
    assert "event_log_storage" in prepared(home, "")
    written = prepared(home, POSTGRES)
    assert written["storage"] == {
        "postgres": {"postgres_url": "postgresql+psycopg2://edp@db.example.org:5432/edp?sslmode=verify-full"}
    }
    assert "event_log_storage" not in written
    assert "storage" not in prepared(home, "")


def test_prepare__a_file_edited_by_hand_stays_and_one_of_another_instance_is_refused(home: Path) -> None:
    prepared(home, "")
    file = home / "dagster/dagster.yaml"
    edited = file.read_text().replace("max_concurrent_runs: 2", "max_concurrent_runs: 9")
    assert not is_as_written(edited)
    file.write_text(edited)
    prepared(home, "")
    assert file.read_text() == edited
    with pytest.raises(HomeError, match=r"dagster.yaml was edited by hand and lacks.*storage.*delete the file"):
        prepared(home, POSTGRES)
    file.write_text(edited + f"storage:\n  postgres:\n    postgres_url: {_url(home)}\n")
    assert prepared(home, POSTGRES)["concurrency"]["runs"]["max_concurrent_runs"] == 9  # type: ignore[index]


def _url(home: Path) -> str:
    text = yaml.safe_load(dagster_yaml(read_home_settings(home / "home.toml"), home))
    return str(text["storage"]["postgres"]["postgres_url"])


def test_is_as_written__knows_the_file_of_earlier_versions() -> None:
    earlier = (Path(__file__).parent / "earlier_dagster.yaml").read_text()
    assert _digest(earlier) == WITHOUT_MARK
    assert is_as_written(earlier)
    assert not is_as_written(earlier + "\n")


def test_dagster_yaml__says_what_the_file_of_earlier_versions_said_and_who_keeps_the_runs(home: Path) -> None:
    earlier = yaml.safe_load((Path(__file__).parent / "earlier_dagster.yaml").read_text())
    assert prepared(home, "") == {**earlier, "run_storage": SQLITE["run_storage"]}


@mismatch
def test_dagster_yaml__its_run_launcher_is_one_to_dagster_k8s(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launchers = pytest.importorskip("dagster_k8s.launcher")
    monkeypatch.setattr(launchers, "load_kubernetes_config", lambda **named: None)  # there is no cluster
    prepared(home, KUBERNETES)
    launcher = dg._core.instance.ref.InstanceRef.from_dir(str(home / "dagster")).run_launcher
    assert isinstance(launcher, launchers.K8sRunLauncher)
    assert launcher.job_image == "registry/edp:1"
    assert list(launcher.env_vars) == [f"EDP_HOME={home}"]
    assert list(launcher.env_secrets) == ["edp-postgres"]
    assert launcher.volumes[0]["persistentVolumeClaim"] == {"claimName": "edp-home"}


@mismatch
def test_dagster_yaml__a_run_launcher_setting_that_is_none_is_refused(home: Path) -> None:
    pytest.importorskip("dagster_k8s")
    prepared(home, KUBERNETES + 'job_imagine = "x"\n')
    with pytest.raises(Exception, match="job_imagine"):
        _ = dg._core.instance.ref.InstanceRef.from_dir(str(home / "dagster")).run_launcher


@mismatch
def test_executor_of_home__pods_make_the_steps_of_the_uis_runs_on_kubernetes_alone(home: Path) -> None:
    pytest.importorskip("dagster_k8s")
    assert executor_of_home(Home(home)) is None
    (home / "home.toml").write_text(KUBERNETES)
    executor = executor_of_home(Home(home))
    assert executor is not None
    assert executor.name == "k8s"


@mismatch
def test_require_postgres__a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    pytest.importorskip("dagster_postgres")
    require_postgres(Home(tmp_path))
    (tmp_path / "home.toml").write_text('[instance]\npostgres = "postgresql://edp@127.0.0.1:9/edp"\n')
    with pytest.raises(HomeError, match=r"wanted PostgreSQL at .*:9/edp, found: .*refused.*Mend \[instance\]"):
        require_postgres(Home(tmp_path))
