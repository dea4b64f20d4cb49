"""`edp run` with regenie (a stand-in) as the engine: what is made anew, by whom, and that it is what it was."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from edp_assets.storage import warehouse
from edp_assets_tests.end_to_end.conftest import run_edp
from edp_assets_tests.engines.installed import calls, install, steps, wish

pytestmark = pytest.mark.slow

KEY = ["encoder", "method", "cluster", "chromosome", "base_pair_location", "rsid"]
CELLS = "(icd10 = 'K76' AND (organ = 'liver' OR organ IS NULL)) OR (icd10 IS NULL AND organ = 'liver')"
CHOSEN = ("--organ", "liver", "--icd10", "K76", "--encoder", "mae")
WANTED = ("--select", 'key:"mae/gwas_summary_stats" or key:"organ_volume/gwas_summary_stats" or '
          'key:"icd10_whole_cohort/gwas_summary_stats"')  # fmt: skip


def statistics(home: Path) -> pl.DataFrame:
    query = f"SELECT * FROM gwas_summary_stats WHERE encoder IS DISTINCT FROM 'video_mae' AND ({CELLS})"
    methods = ["classifier", "clustering", "island", "organ_volume", "icd10_whole_cohort"]
    found = warehouse.query(home / "warehouse.duckdb", query)
    return found.filter(pl.col("method").is_in(methods)).sort(KEY)


def test_run__by_regenie_makes_the_same_associations(
    finished: tuple[Path, str], cohort_copy: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(finished[0], home, copy_function=shutil.copy2)
    (home / "cohort.json").unlink()  # the same cohort, at another place
    assert run_edp(home, "run", str(cohort_copy)).returncode == 0
    before = statistics(home)
    toml = cohort_copy / "cohort.toml"
    plain = re.sub(r'genotypes/chr\{chromosome\}\.bed"', 'genotypes/chr{chromosome}.bed"', toml.read_text())
    toml.write_text(f'{plain}\n[gwas]\nengine = "regenie"\n[gwas.regenie]\npath = "bin/regenie"\n')
    refused = run_edp(home, "run", str(cohort_copy), *CHOSEN)
    assert refused.returncode == 1
    assert "bin/regenie is not an executable file" in refused.stderr
    assert "step 1 of regenie takes one genotype file" in re.sub(r"\s+", " ", refused.stderr)
    toml.write_text(toml.read_text() + 'step1_genotypes = "genotypes/chr1.bed"\n')

    executable = install(cohort_copy / "bin", fail="chr5")
    failed = run_edp(home, "run", str(cohort_copy), *CHOSEN, *WANTED)
    assert failed.returncode == 1
    assert "regenie chr5 failed (exit status 1)" in failed.stdout + failed.stderr
    assert "Traceback" not in failed.stderr
    done_before = len(calls(executable))
    wish(executable, fail="")
    done = run_edp(home, "run", str(cohort_copy), *CHOSEN, *WANTED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "regenie step1: done before" in done.stdout
    assert steps(executable)[done_before] == "2 5"

    after = statistics(home)
    assert set(after["method"]) == set(before["method"]) >= {"organ_volume", "icd10_whole_cohort", "clustering"}
    quantitative = [frame.filter(pl.col("method") != "icd10_whole_cohort") for frame in (before, after)]
    assert quantitative[1].select(KEY).equals(quantitative[0].select(KEY))
    assert quantitative[1].height > 1000
    beta, expected = (frame["beta"].to_numpy() for frame in quantitative[::-1])
    np.testing.assert_allclose(beta, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())
    binary = [frame.filter(method="icd10_whole_cohort") for frame in (before, after)]
    assert binary[1].select(KEY).equals(binary[0].select(KEY))
    assert {path.suffix for path in (home / "work").rglob("*") if path.is_file()} == {".log"}
    n = len(calls(executable))
    assert "0 partitions made" in run_edp(home, "run", str(cohort_copy), *CHOSEN, *WANTED).stdout
    assert len(calls(executable)) == n
