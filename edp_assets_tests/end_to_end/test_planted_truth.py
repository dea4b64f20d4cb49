"""One organ of the demo, at its full size: the planted genes are found, and nothing is on the null chromosomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edp_assets_tests.end_to_end.conftest import run_edp
from edp_assets_tests.planted_truth import calibrations, found

SELECT = '+key:"*/gene_hits" or +key:"*/lead_variants" or +key:icd10_codes'
CHOSEN = ("--organ", "kidneys", "--encoder", "mae", "--select", SELECT)
"""What tells genes; figures and evidence are looked at on smaller cohorts."""


@pytest.mark.slow
def test_demo__finds_the_planted_genes_of_an_organ_and_no_others(tmp_path: Path) -> None:
    done = run_edp(tmp_path, "demo", "--seed", "1", *CHOSEN)
    assert done.returncode == 0, done.stdout + done.stderr
    result = found(tmp_path, organs=("kidneys",))
    assert result.planted == 3
    assert result.by_method["edp"] == 3, result
    assert result.by_method.get("icd10_imaging_cohort", 0) == 0
    assert result.not_planted == []
    assert result.null_hits == 0
    (calibration,) = calibrations(tmp_path)
    assert calibration.calibrated, calibration
    again = run_edp(tmp_path, "demo", "--seed", "1", *CHOSEN)
    assert again.returncode == 0, again.stderr
    assert "0 partitions made" in again.stdout
