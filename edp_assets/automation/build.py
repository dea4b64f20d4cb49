"""Everything that starts runs, put together by the settings of the cohort that EDP_HOME holds."""

from __future__ import annotations

import logging

import dagster as dg

from edp_assets.automation.following import build_follow_sensor
from edp_assets.automation.jobs import JOBS
from edp_assets.automation.sensors import build_schedules, build_sensor
from edp_assets.cohort.config import load_cohort
from edp_assets.settings import Settings
from edp_assets.storage.home import Home

log = logging.getLogger(__name__)


def settings_of_home(home: Home) -> Settings:
    """Return the settings of the home's cohort; the defaults, and a line in the log, where it cannot be read.

    A broken cohort.toml must not take the UI away, in which its error is seen.
    """
    try:
        folder = home.cohort_folder()
        return Settings() if folder is None else load_cohort(folder).settings
    except Exception as error:
        log.warning("[automation] counts as off, since the cohort cannot be read: %s", error)
        return Settings()


def executor_of_home(home: Home) -> dg.ExecutorDefinition | None:
    """Return what makes the steps of runs from the UI, as home.toml says: pods, or Dagster's default, processes.

    The jobs' own steps stay in their run's process: what a job's runs are made of is the runner's affair.
    """
    executor = home.settings.executor
    if executor.kind != "kubernetes":
        return None
    from dagster_k8s import k8s_job_executor

    return k8s_job_executor.configured({"max_concurrent": executor.max_concurrent} if executor.max_concurrent else {})


def build_automation(settings: Settings) -> dg.Definitions:
    """Return jobs, sensors and schedules."""
    sensors = [build_sensor(settings.automation), build_follow_sensor(settings.encoders)]
    return dg.Definitions(jobs=list(JOBS), sensors=sensors, schedules=build_schedules(settings.automation))
