"""Dagster's configuration of an EDP_HOME, dagster.yaml, as home.toml asks for it: instance, run launcher, limits."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from edp_assets.storage.home_settings import HomeSettings

BASE: dict[str, Any] = {
    "nux": {"enabled": False},
    "telemetry": {"enabled": False},
    "concurrency": {
        "runs": {"max_concurrent_runs": 2, "tag_concurrency_limits": [{"key": "edp/what", "limit": 1}]},
        "pools": {"default_limit": 1, "granularity": "op"},
    },
    "run_monitoring": {"enabled": True, "start_timeout_seconds": 600},
    "retention": {
        "sensor": {"purge_after_days": {"skipped": 2, "failure": 90, "success": 90}},
        "schedule": {"purge_after_days": 90},
    },
    "python_logs": {"managed_python_loggers": ["edp_assets"], "python_log_level": "INFO"},
}
"""What is the same wherever runs are made and kept."""

SQLITE = {
    "event_log_storage": {"module": "edp_assets.storage.event_log", "class": "EventLog", "config": {}},
    "run_storage": {"module": "edp_assets.storage.run_log", "class": "RunLog", "config": {}},
}

MARK = "# Written by edp from home.toml, and again when that changes; edited by hand it stays as it is. sha256 "

WITHOUT_MARK = "c4abbbc863cc23fa"
"""Digest of the file that earlier versions wrote, which bore no mark."""


def dagster_yaml(settings: HomeSettings, root: Path) -> str:
    """Return the file's text for the home at `root`."""
    config = dict(BASE)
    if settings.instance.postgres is None:
        config |= SQLITE
    else:  # its batches are written as one by dagster-postgres itself; a password is libpq's affair
        _, _, where = settings.instance.postgres.partition("://")
        # The driver is named: SQLAlchemy's default one is not dagster-postgres's.
        config["storage"] = {"postgres": {"postgres_url": f"postgresql+psycopg2://{where}"}}
    if settings.executor.kind == "kubernetes":
        config["run_launcher"] = k8s_run_launcher(settings.executor.kubernetes, root)
    body = yaml.safe_dump(config, sort_keys=False)
    return f"{MARK}{_digest(body)}\n{body}"


def k8s_run_launcher(config: dict[str, Any], root: Path) -> dict[str, Any]:
    """Return the section that has each run in a pod of its own, which sees the home under the same path."""
    whole = {**config, "env_vars": [f"EDP_HOME={root}", *config.get("env_vars", [])]}
    return {"module": "dagster_k8s.launcher", "class": "K8sRunLauncher", "config": whole}


def is_as_written(text: str) -> bool:
    """Return whether a file's text is as it was written here, so that it may be written anew."""
    first, _, body = text.partition("\n")
    return first == f"{MARK}{_digest(body)}" or _digest(text) == WITHOUT_MARK


def not_in(stored: str, wanted: str) -> list[str]:
    """Return the sections of where runs are kept and made that a file lacks, or has otherwise than is wanted."""
    there, asked = yaml.safe_load(stored) or {}, yaml.safe_load(wanted)
    return [name for name in ("storage", "run_launcher") if name in asked and there.get(name) != asked[name]]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
