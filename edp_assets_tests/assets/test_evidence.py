"""What embeddings hold, each row of whom it is of; how homogeneous clusterings are, by scikit-learn's measure."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import homogeneity_score

from edp_assets.assets.evidence import ALTERNATIVES, _rows, clusterings
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


def test_rows__are_of_who_has_the_target_and_only_embeddings_collapse() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, 6))
    age = [None if i < 30 else 60 + 5 * z[i, 0] for i in range(N)]
    people = pl.DataFrame({"eid": EIDS, "volume_ml": 1500 + 100 * z[:, 1], "age": age})
    flat = np.outer(z[:, 0], np.ones(6)) + 1e-3 * z
    features = {("mae", "embedding"): z, ("video_mae", "embedding"): flat, ("mae", "untrained encoder"): flat,
                (None, "organ volume"): people["volume_ml"].to_numpy()[:, None]}  # fmt: skip
    run = StageRun(ORGAN, REGISTRY["evidence", "encoder_quality"].spec, SimpleNamespace(settings=Settings()))
    rows = {(row["encoder"], row["features"], row["target"]): row for row in _rows(run, people, features)}
    assert len(rows) == 7  # volume is not predicted from volume
    assert {target: row["participants"] for (*_, target), row in rows.items()} == {"volume_ml": N, "age": N - 30}
    assert {key[:2] for key, row in rows.items() if row["collapsed"]} == {("video_mae", "embedding")}
    assert min(rows["mae", "embedding", target]["pearson_r"] for target in ("age", "volume_ml")) > 0.95
    assert (
        rows["video_mae", "embedding", "age"]["pearson_r"] > 0.95 > 0.5 > rows[None, "organ volume", "age"]["pearson_r"]
    )
    few = people.with_columns(age=pl.when(pl.int_range(N) < 19).then(pl.col("volume_ml")))
    (row,) = [row for row in _rows(run, few, {("mae", "embedding"): z}) if row["target"] == "age"]
    assert (row["participants"], row.get("pearson_r")) == (19, None)
