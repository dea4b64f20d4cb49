"""How homogeneous clusterings are in the studied codes, against scikit-learn's measure of each code."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import homogeneity_score

from edp_assets.assets.evidence import ALTERNATIVES, clusterings
from edp_assets.assets.stage import REGISTRY, StageRun
from edp_assets.settings import Settings
from edp_assets.storage.lake import Lake, Stored, cell_of
from edp_assets.storage.schemas import conform
from edp_assets.storage.upstream import Partition, Partitions

ORGAN = cell_of({"organ": "liver"})
N = 90
EIDS = [f"{i:03d}" for i in range(N)]


def test_clusterings__are_scikit_learns_homogeneity_over_the_codes_that_vary(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    place = np.arange(N) % 3
    of_algorithm = {"leiden": place, "kmeans": np.random.default_rng(0).permutation(place)}
    codes = {"K76": (place == 1) & (np.arange(N) % 4 > 0), "E11": np.arange(N) % 7 == 0,
             "I10": np.ones(N, bool), "R99": np.zeros(N, bool)}  # fmt: skip
    for code, ill in codes.items():
        eids = [*np.array(EIDS)[ill], "not imaged"]
        frame = conform(pl.DataFrame({"icd10": code, "eid": eids}), "icd10_cases")
        lake.write(("icd10_cases",), cell_of({"icd10": code}), "icd10_cases", Stored(frame), "")
    parts = [
        pl.DataFrame({"encoder": "mae", "organ": "liver", "eid": EIDS, "algorithm": name, "cluster": labels,
                      "mean_rand_index": rand})
        for (name, labels), rand in zip(of_algorithm.items(), (0.9, None), strict=True)
    ]  # fmt: skip
    frame = conform(pl.concat(parts, how="diagonal_relaxed"), "cluster_alternatives")
    lake.write(("mae", "cluster_alternatives"), ORGAN, "cluster_alternatives", Stored(frame), "")
    run = StageRun(ORGAN, REGISTRY["evidence", "clusterings"].spec, SimpleNamespace(settings=Settings()))
    partitions = {name: Partition(lake, stage.spec.asset, ORGAN) for name, stage in ALTERNATIVES.items()}
    cases = Partitions(lake, ("icd10_cases",), lake.cells(("icd10_cases",)))
    found = conform(clusterings(run, cases, **partitions).frames, "clusterings")
    columns = ["encoder", "organ", "algorithm", "clusters", "mean_rand_index", "codes"]
    assert found.select(columns).rows() == [
        ("mae", "liver", "leiden", 3, 0.9, 2), ("mae", "liver", "kmeans", 3, None, 2)
    ]  # fmt: skip
    for row, labels in zip(found.iter_rows(named=True), of_algorithm.values(), strict=True):
        wanted = [homogeneity_score(codes[code], labels) for code in ("K76", "E11")]
        assert row["homogeneity"] == pytest.approx(np.mean(wanted))
    assert found["homogeneity"][0] > 0.3 > 0.1 > found["homogeneity_by_chance"].max()
