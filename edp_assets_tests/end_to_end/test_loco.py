"""[loco] of a cohort.toml: enabled it makes another GWAS of every EDP, taken out again the one that was before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from edp_assets.storage import warehouse
from edp_assets_tests.end_to_end.conftest import run_edp
from edp_assets_tests.end_to_end.test_run import copy_home

pytestmark = pytest.mark.slow

STAGES = ["mae/loco_basis", "mae/embedding_associations", "mae/gwas_summary_stats"]
CHOSEN = ("--organ", "liver", "--encoder", "mae", "--select", "+key:mae/gwas_summary_stats")


def statistics(home: Path) -> pl.DataFrame:
    columns = "icd10, method, cluster, chromosome, base_pair_location, rsid, effect_allele"
    sql = f"SELECT {columns}, beta, standard_error, neg_log_10_p_value, n FROM gwas_summary_stats WHERE encoder = 'mae'"
    return warehouse.query(home / "warehouse.duckdb", f"{sql} AND organ = 'liver' ORDER BY {columns}")


def test_run__loco_makes_another_gwas_and_back(finished: tuple[Path, str], cohort_copy: Path, tmp_path: Path) -> None:
    home, config = copy_home(finished[0], tmp_path / "home"), cohort_copy / "cohort.toml"
    (home / "cohort.json").unlink()
    as_it_was, before = config.read_text(), statistics(home)
    for toml in ("[loco]\nenabled = true\nvariants = 500\nfolds = 3\n", "[loco]\nvariants = 500\n"):
        config.write_text(as_it_was + toml)
        done = run_edp(home, "run", str(cohort_copy), *CHOSEN)
        assert done.returncode == 0, done.stdout + done.stderr
        made = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("[") and " done in " in line]
        assert made == STAGES
        after = statistics(home)
        assert after.select(after.columns[:7]).equals(before.select(before.columns[:7]))
        assert after["n"].equals(before["n"])
        moved = np.abs((after["neg_log_10_p_value"] - before["neg_log_10_p_value"]).to_numpy())
        assert (moved.max() > 0.1) == ("enabled" in toml)
    assert after.equals(before)
