"""Settings of one EDP_HOME, from its `home.toml`: of the machine, not of the cohort or its results."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator


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


class HomeSettings(_Section):
    """All of home.toml."""

    storage: StorageSettings = StorageSettings()


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
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise HomeSettingsError(f"{path}: {wrong}. Known settings are in the README, section Storage.") from None
