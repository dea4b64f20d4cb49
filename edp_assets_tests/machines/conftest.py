"""Fixtures of runs over several processes."""

from __future__ import annotations

from edp_assets_tests.checks.conftest import small_cohort
from edp_assets_tests.faults.conftest import faults_cohort, planted

__all__ = ["faults_cohort", "planted", "small_cohort"]
