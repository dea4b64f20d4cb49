"""What the checks of a cell cost: seconds, and memory that does not grow with its rows (`pytest -s` prints both)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from edp_assets.science.genetics.tails import neg_log_10_p_from_z
from edp_assets.storage.lake import Lake, Stored, cell_of
from edp_assets.storage.schemas import empty

ASSET, CELL, TABLE = ("mae", "gwas_summary_stats"), cell_of({"icd10": "K76", "organ": "liver"}), "gwas_summary_stats"

CODE = """
import re, sys, time
from pathlib import Path
import polars as pl
from edp_assets.science.genetics.statistics_checks import check_statistics
from edp_assets.science.genetics.statistics_summary import COLUMNS, summarise
from edp_assets.settings import ChecksSettings
from edp_assets.storage.lake import Lake
from edp_assets.storage.upstream import Partitions

asset, cell = ("mae", "gwas_summary_stats"), (("icd10", "K76"), ("organ", "liver"))
statistics = Partitions(Lake(Path(sys.argv[1])), asset, [cell]).partition(cell)
reference = pl.read_parquet(sys.argv[2])
started = time.monotonic()
(found,) = summarise(statistics.stream(COLUMNS), reference, 3.0)
findings = check_statistics(found, ChecksSettings(), reference.height)
seconds = time.monotonic() - started
assert found.frequencies.compared == reference.height, found
assert all(finding.passed for finding in findings), findings
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])  # ru_maxrss has the parent's
print(found.variants, f"{seconds:.3f}", peak // 1024)
"""


def frames(rows: int, seed: int = 0) -> pl.DataFrame:
    """Null statistics of 40,000 people at `rows` variants of 22 chromosomes."""
    rng, n = np.random.default_rng(seed), 40_000
    f, z, each = rng.uniform(0.01, 0.5, rows), rng.normal(size=rows), rows // 22 + 1
    error = 1 / np.sqrt(2 * n * f * (1 - f))
    place = np.arange(rows)
    label = {"encoder": "mae", "organ": "liver", "icd10": "K76", "method": "classifier", "cluster": None, "n": n}
    return pl.DataFrame(
        {
            "chromosome": (1 + place // each).astype(str),
            "base_pair_location": 1 + (place % each) * (200_000_000 // each),
            "effect_allele": rng.choice(["A", "T"], rows),
            "other_allele": rng.choice(["C", "G"], rows),
            "effect_allele_frequency": f,
            "beta": z * error,
            "standard_error": error,
            "neg_log_10_p_value": neg_log_10_p_from_z(z),
            "rsid": place.astype(str),
        }
    ).with_columns(**{name: pl.lit(value) for name, value in label.items()})


@pytest.mark.slow
def test_checks__one_pass_in_flat_memory(tmp_path: Path) -> None:
    megabytes = {}
    for rows in (10_300, 1_000_000, 4_000_000):
        lake, frame = Lake(tmp_path / str(rows)), frames(rows)
        lake.write(ASSET, CELL, TABLE, Stored(frame.select(empty(TABLE).columns).iter_slices(8192)), "")
        frame.sample(2000, seed=1).select(
            "chromosome", "base_pair_location", "effect_allele", "other_allele", frequency="effect_allele_frequency"
        ).write_parquet(tmp_path / "reference.parquet")
        del frame
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(lake.root), str(tmp_path / "reference.parquet")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        _, seconds, megabytes[rows] = done.stdout.split()
        print(f"\nchecks of {rows:,} rows: {seconds} s, {megabytes[rows]} MB")
    assert int(megabytes[4_000_000]) < int(megabytes[1_000_000]) + 60
