"""`edp run` with regenie (a stand-in) as the engine: refused early, resumed, the other engine's associations."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from edp_assets.storage import warehouse
from edp_assets_tests.end_to_end.conftest import run_edp
from edp_assets_tests.engines.installed import calls, install, steps, wish

pytestmark = pytest.mark.slow

KEY = ["method", "chromosome", "base_pair_location", "rsid"]
BASELINES = (
    'key:"icd10_codes" or +key:"organ_volume/gwas_summary_stats" or +key:"icd10_whole_cohort/gwas_summary_stats"'
)
CHOSEN = ("--organ", "liver", "--icd10", "K76", "--select", BASELINES)  # no encoder is trained for them


def statistics(home: Path) -> pl.DataFrame:
    return warehouse.query(home / "warehouse.duckdb", "SELECT * FROM gwas_summary_stats").sort(KEY)


def test_run__by_regenie_makes_the_same_associations(cohort_copy: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = run_edp(home, "run", str(cohort_copy), *CHOSEN)
    assert done.returncode == 0, done.stdout + done.stderr
    before = statistics(home)
    toml = cohort_copy / "cohort.toml"
    toml.write_text(f'{toml.read_text()}\n[gwas]\nengine = "regenie"\n[gwas.regenie]\npath = "bin/regenie"\n')
    refused = run_edp(home, "run", str(cohort_copy), *CHOSEN)
    assert refused.returncode == 1
    told = re.sub(r"\s+", " ", refused.stderr)
    assert "bin/regenie is not an executable file" in told
    assert "step 1 of regenie takes one genotype file of all chromosomes" in told
    toml.write_text(toml.read_text() + 'step1_genotypes = "genotypes/chr1.bed"\n')

    executable = install(cohort_copy / "bin", fail="chr5")
    failed = run_edp(home, "run", str(cohort_copy), *CHOSEN)
    assert failed.returncode == 1
    assert "regenie chr5 failed (exit status 1)" in failed.stdout + failed.stderr
    assert "Traceback" not in failed.stderr
    called = len(calls(executable))
    wish(executable, fail="")
    done = run_edp(home, "run", str(cohort_copy), *CHOSEN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "regenie step1: done before" in done.stdout
    assert steps(executable)[called] == "2 5"

    after = statistics(home)
    assert set(after["method"]) == {"organ_volume", "icd10_whole_cohort"}
    assert after.select(KEY).equals(before.select(KEY))
    volume, by_projection = (frame.filter(method="organ_volume")["beta"].to_numpy() for frame in (after, before))
    assert len(volume) > 1000
    np.testing.assert_allclose(volume, by_projection, rtol=1e-4, atol=1e-6 * np.abs(by_projection).max())
    assert {path.name for path in (home / "work").rglob("*") if path.is_file()} == {
        f"{step}.output.log" for step in ("step1", *(f"chr{chromosome}" for chromosome in after["chromosome"].unique()))
    }
    called = len(calls(executable))
    assert "0 partitions made" in run_edp(home, "run", str(cohort_copy), *CHOSEN).stdout
    assert len(calls(executable)) == called
