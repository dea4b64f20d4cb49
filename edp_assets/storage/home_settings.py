"""Settings of one EDP_HOME, from its `home.toml`: of the machine, not of the cohort or its results."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator


class HomeSettingsError(ValueError):
    """home.toml says something that is no setting."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StorageSettings(_Section):
    """Where the lake and the checkpoints lie. Credentials come from the environment or the AWS profile alone."""

    lake: str | None = Field(None, description="s3://bucket/prefix of the Parquet files; none: EDP_HOME/lake")
    checkpoints: str | None = Field(None, description="s3://bucket/prefix of encoders; none: EDP_HOME/checkpoints")
    endpoint_url: str | None = Field(None, description="URL of an S3-compatible store other than Amazon's")

    @field_validator("lake", "checkpoints")
    @classmethod
    def _is_s3(cls, value: str | None) -> str | None:
        if value is not None and not (value.startswith("s3://") and value[5:].strip("/")):
            raise ValueError("wanted s3://bucket/prefix; leave it out for a folder of EDP_HOME")
        return None if value is None else value.rstrip("/")


class ExecutorSettings(_Section):
    """Where the partitions of a stage are made."""

    kind: Literal["in_process", "multiprocess", "dask", "kubernetes"] = Field(
        "in_process", description="in the run's process, in several of this machine, on Dask's workers, in pods"
    )
    max_concurrent: int | None = Field(
        None, ge=1, description="multiprocess: processes (none: one a core); kubernetes: pods at once (none: 8)"
    )
    scheduler: str | None = Field(None, description="address of the scheduler of an existing Dask cluster")
    kubernetes: dict[str, Any] = Field(
        default={}, description="config of dagster-k8s's K8sRunLauncher: image, namespace, service account, volumes"
    )

    @model_validator(mode="after")
    def _is_whole(self) -> ExecutorSettings:
        if (self.kind == "dask") != (self.scheduler is not None):
            raise ValueError('wanted scheduler = "tcp://host:8786" with kind = "dask", and with no other')
        if self.kubernetes and self.kind != "kubernetes":
            raise ValueError('[executor.kubernetes] is there: wanted kind = "kubernetes", or that section gone')
        return self


class InstanceSettings(_Section):
    """Where Dagster keeps runs and events. A password comes from PGPASSWORD or libpq's password file alone."""

    postgres: str | None = Field(
        None, description="postgresql://user@host:port/database; none: SQLite in EDP_HOME/dagster"
    )

    @field_validator("postgres")
    @classmethod
    def _has_no_password(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "postgresql://")
        if parts.scheme not in ("postgresql", "postgres"):
            raise ValueError("wanted postgresql://user@host:port/database")
        if parts.password is not None or "password=" in parts.query:
            raise ValueError("a password does not belong here: set PGPASSWORD, or PGPASSFILE to a password file")
        return value


class HomeSettings(_Section):
    """All of home.toml."""

    storage: StorageSettings = StorageSettings()
    executor: ExecutorSettings = ExecutorSettings()
    instance: InstanceSettings = InstanceSettings()

    @model_validator(mode="after")
    def _are_of_one_kind(self) -> HomeSettings:
        if self.executor.kind in ("dask", "kubernetes") and self.instance.postgres is None:
            raise ValueError(
                f"executor.kind is {self.executor.kind}, and several machines cannot write Dagster's SQLite files: "
                'wanted [instance] postgres = "postgresql://user@host:port/database"'
            )
        return self


def read_home_settings(path: Path) -> HomeSettings:
    """Read home.toml; without one every setting has its default.

    Raises:
        HomeSettingsError: a section, setting or value that is none, each named.
    """
    if not path.exists():
        return HomeSettings()
    try:
        return HomeSettings.model_validate(tomllib.loads(path.read_text()))
    except tomllib.TOMLDecodeError as error:
        raise HomeSettingsError(f"{path} is no TOML: {error}") from None
    except ValidationError as error:
        # What stands under an unknown name is not repeated: it may be a secret that does not belong there.
        wrong = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'in all'}: {each['msg']}" for each in error.errors())
        raise HomeSettingsError(
            f"{path}: {wrong}. Known settings are in the README, sections Storage and More than one machine."
        ) from None
