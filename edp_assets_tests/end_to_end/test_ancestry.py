"""A cohort without genotype PCs and with relatives: HapMap 3's 957 people, of whom some are cryptically related."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from edp_assets.science.genetics.calibration import lambda_gc
from edp_assets.storage import warehouse
from edp_assets_tests.cohort.conftest import write_nifti
from edp_assets_tests.end_to_end.conftest import run_edp

DATA = Path(__file__).resolve().parents[3] / "shared/data/hapmap3"
BED = "HM3_thinned_autosomal_overlap"
SELECT = ("--select", "+key:icd10_whole_cohort/gwas_summary_stats or +key:icd10_codes")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not DATA.is_dir(), reason=f"no public data in ../{DATA.name}")]

COHORT = """
[cohort]
name = "HapMap 3"
genome_build = "NCBI36"
participants = "participants.csv"
diagnoses = "diagnoses.csv"
scans = "scans.csv"
withdrawn = "withdrawn.csv"
[genotypes]
path = "hapmap3.bed"
[labels]
codes = ["J45"]
min_cases = 1
[organs.liver]
channels = ["fat"]
"""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cohort: a code that is more common in some populations than in others, and no cause of it."""
    folder = tmp_path_factory.mktemp("hapmap") / "cohort"
    folder.mkdir()
    for suffix in (".bed", ".bim", ".fam"):
        shutil.copyfile(DATA / f"{BED}{suffix}", folder / f"hapmap3{suffix}")
    eids = [line.split()[1] for line in (folder / "hapmap3.fam").read_text().splitlines()]
    with (DATA / "relationships_w_pops_121708.txt").open() as file:
        rows = {row["IID"]: row for row in csv.DictReader(file, delimiter="\t")}
    rng = np.random.default_rng(5)
    risk = dict(zip(sorted({row["population"] for row in rows.values()}), np.linspace(0.1, 0.5, 11), strict=True))
    cases = [eid for eid in eids if rng.random() < risk[rows[eid]["population"]]]
    sex = [int(rows[eid]["sex"]) % 2 for eid in eids]
    pl.DataFrame({"eid": eids, "sex": sex}).write_csv(folder / "participants.csv")
    pl.DataFrame({"eid": cases, "icd10": "J45"}).write_csv(folder / "diagnoses.csv")
    for name in ("mask", "fat"):
        write_nifti(folder / f"{name}.nii.gz", np.ones((4, 4, 4), np.uint8))
    scan = {"eid": cases[:3], "organ": "liver", "mask": "mask.nii.gz", "image_fat": "fat.nii.gz"}
    pl.DataFrame(scan).write_csv(folder / "scans.csv")
    (folder / "withdrawn.csv").write_text("eid\n")
    (folder / "cohort.toml").write_text(COHORT)
    return folder


def ask(home: Path, sql: str) -> pl.DataFrame:
    return warehouse.query(home / "warehouse.duckdb", sql)


def made(printed: str) -> set[str]:
    """Return the assets that a run made."""
    return {line.split()[1] for line in printed.splitlines() if line.startswith("[") and " done in " in line}


def test_run__a_cohort_without_pcs_and_with_relatives(cohort: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = run_edp(home, "run", str(cohort), *SELECT)
    assert done.returncode == 0, done.stdout + done.stderr
    pcs = ask(home, "SELECT * FROM genotype_pcs")
    assert pcs.height == 957
    assert pcs.null_count().sum_horizontal().item() == 0
    relatives = ask(home, "SELECT eid, relative, kinship, left_out FROM relatives ORDER BY eid, relative")
    pairs = relatives.filter(pl.col("eid") < pl.col("relative"))
    assert relatives.height == 2 * pairs.height > 100
    assert pairs["kinship"].min() >= 0.0884
    left_out = set(relatives.filter("left_out")["eid"])
    assert all(a in left_out or b in left_out for a, b in pairs.select("eid", "relative").rows())
    excluded = ask(home, "SELECT eid, reason FROM excluded WHERE stage LIKE '%gwas%'")
    assert set(excluded["eid"]) == left_out
    assert excluded["reason"].unique().to_list() == ["related to another person of the association"]
    statistics = ask(home, "SELECT neg_log_10_p_value AS p, n FROM gwas_summary_stats")
    assert statistics["n"].unique().to_list() == [957 - len(left_out)]
    assert 0.94 < lambda_gc(statistics["p"].to_numpy()) < 1.06

    # The same pairs as a table: found again, and nothing that stands on them is made anew.
    pairs.select(ID1="eid", ID2="relative", Kinship="kinship").write_csv(cohort / "rel.dat", separator=" ")
    toml = cohort / "cohort.toml"
    toml.write_text(toml.read_text().replace("[genotypes]\n", '[genotypes]\nkinship = "rel.dat"\n'))
    again = run_edp(home, "run", str(cohort), *SELECT)
    assert again.returncode == 0, again.stdout + again.stderr
    assert made(again.stdout) == {"ancestry_variants", "relatives"}

    # Someone withdraws whose only relative was left out for them: that one comes back.
    alone = pairs.filter(pl.col("eid").is_in((relatives.group_by("eid").len().filter(len=1))["eid"].implode()))
    alone = alone.filter(pl.col("relative").is_in((relatives.group_by("eid").len().filter(len=1))["eid"].implode()))
    a, b = alone.select("eid", "relative").row(0)
    gone, back = (a, b) if b in left_out else (b, a)
    (cohort / "withdrawn.csv").write_text(f"eid\n{gone}\n")
    after = run_edp(home, "run", str(cohort), *SELECT)
    assert after.returncode == 0, after.stdout + after.stderr
    assert {"relatives", "genotype_pcs", "icd10_whole_cohort/gwas_summary_stats"} <= made(after.stdout)
    assert set(ask(home, "SELECT eid FROM excluded WHERE stage LIKE '%gwas%'")["eid"]) == left_out - {back}
    assert gone not in set(ask(home, "SELECT eid FROM genotype_pcs UNION SELECT eid FROM relatives")["eid"])
