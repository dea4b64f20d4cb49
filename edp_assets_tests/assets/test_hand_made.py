"""Hand-made phenotypes: measured of every crop, associated like any other, what does not vary told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm

from edp_assets.assets.hand_made import NO_VALUE, hand_made_gwas, measure_columns, organ_measures
from edp_assets.assets.stage import REGISTRY, StageRun
from edp_assets.storage.lake import Stored, cell_of
from edp_assets.storage.schemas import conform, empty
from edp_assets.storage.upstream import Partition
from edp_assets_tests.tiny_gwas import AGE, EIDS, N, trouble, workspace, write_folder

ORGAN = cell_of({"organ": "liver"})


@pytest.fixture
def run(tmp_path: Path) -> StageRun:
    return StageRun(ORGAN, REGISTRY["hand_made", "gwas_summary_stats"].spec, workspace(write_folder(tmp_path)))


def measures(water: np.ndarray) -> pl.DataFrame:
    """Return measures of everybody: water differs, fat is the same for all, one person has no fat fraction."""
    fraction = [None, *(30 / (30 + water[1:]))]
    columns = {"eid": EIDS, "organ": "liver", "volume_ml": 1500.0, "surface_cm2": np.linspace(700, 900, N)}
    intensity = [[30.0, w] for w in water]
    return conform(pl.DataFrame({**columns, "mean_intensity": intensity, "fat_fraction": fraction}), "organ_measures")


def test_organ_measures__are_of_every_crop(run: StageRun) -> None:
    voxels = np.zeros((2, 7, 8, 9), np.uint8)
    voxels[:, 1:6, 1:7, 1:8] = 9
    crop = {"organ": "liver", "shape": [2, 7, 8, 9], "voxels": voxels.tobytes(), "spacing_mm": [2.0, 2.0, 3.0],
            "mask_voxels": 210, "volume_ml": 2.52, "mean_intensity": [40.0, 160.0]}  # fmt: skip
    crops = pl.concat(
        [empty("masked_crops"), pl.DataFrame([{**crop, "eid": eid} for eid in ("1", "2")])], how="diagonal_relaxed"
    )
    run.workspace.lake.write(("masked_crops",), ORGAN, "masked_crops", Stored(crops), "")
    stored = organ_measures(run, Partition(run.workspace.lake, ("masked_crops",), ORGAN))
    found = pl.concat(conform(frame, "organ_measures") for frame in stored.frames)
    assert found["eid"].to_list() == ["1", "2"]
    assert found["fat_fraction"].to_list() == [0.2, 0.2]
    # A box of 14 x 12 x 15 mm, its edges rounded by a blur of 3 mm.
    assert 0.6 * 11.16 < found["surface_cm2"][0] < 11.16


def test_measure_columns__what_nobody_has_is_no_phenotype() -> None:
    frame = measures(np.full(N, 100.0)).with_columns(fat_fraction=pl.lit(None, pl.Float64))
    assert measure_columns(frame, ("fat", "water")).columns == [
        "eid", "organ_surface", "mean_intensity_fat", "mean_intensity_water"
    ]  # fmt: skip


def test_hand_made_gwas__is_least_squares_of_each_in_the_people_that_have_all(run: StageRun) -> None:
    water = 150 + 20 * trouble(0)[0] + np.random.default_rng(0).normal(0, 5, N)
    people = (
        empty("participants")
        .clear(N)
        .with_columns(pl.Series("eid", EIDS), pl.Series("age", AGE), sex=pl.int_range(N) % 2.0)
    )
    enrolled = {"participants": people, "genotype_pcs": empty("genotype_pcs"), "relatives": empty("relatives")}
    stored = hand_made_gwas(run, measures(water), **enrolled)
    frames = [frame if isinstance(frame, pl.DataFrame) else pl.DataFrame(frame) for frame in stored.frames]
    found = pl.concat(conform(frame, "gwas_summary_stats") for frame in frames)
    assert stored.notes["methods"] == ["organ_surface", "mean_intensity_water", "fat_fraction"]
    assert stored.metadata["do_not_vary"] == "mean_intensity_fat"
    assert [(e.eid, e.reason) for e in stored.excluded] == [(EIDS[0], NO_VALUE)]
    assert set(found["method"]) == set(stored.notes["methods"])
    assert found.group_by("method").len()["len"].n_unique() == 1
    row = found.filter(method="mean_intensity_water", rsid="rs1_0").row(0, named=True)
    x = np.column_stack([trouble(0)[0], AGE, np.ones(N)])[1:]
    fit = sm.OLS(water[1:], x).fit()
    assert row["beta"] == pytest.approx(fit.params[0], rel=1e-4)
    assert row["standard_error"] == pytest.approx(fit.bse[0], rel=1e-4)
    assert row["n"] == N - 1
    assert row["neg_log_10_p_value"] > 7.3 > found.filter(method="organ_surface")["neg_log_10_p_value"].max()
