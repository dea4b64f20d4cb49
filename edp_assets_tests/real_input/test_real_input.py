"""The whole graph on real scans and real genotypes that have nothing to do with each other.

A positive control for images (volumes, what the embedding knows of them) and a negative one for genetics.
"""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import polars as pl
import pytest

from edp_assets.storage import warehouse
from edp_assets_tests.end_to_end.conftest import run_edp
from edp_assets_tests.real_input import cohort
from edp_assets_tests.real_input.figures import genetics, image_quality

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not cohort.DATA.exists(), reason="the public data (shared/data beside the project) is absent"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = cohort.build(tmp_path_factory.mktemp("real") / "cohort", epochs=8, video_epochs=8)
    home = folder.parent / "home"
    done = run_edp(home, "run", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    return home


def test_run__volumes_are_the_masks_voxels_at_one_cubic_millimetre(home: Path) -> None:
    volumes = warehouse.query(home / "warehouse.duckdb", "SELECT eid, voxels, volume_ml FROM organ_volumes")
    scans = pl.read_csv(home.parent / "cohort/scans.csv", schema_overrides={"eid": pl.String})
    assert volumes.height == scans.height == 100
    counted = {
        eid: int(np.count_nonzero(np.asanyarray(nibabel.load(mask).dataobj)))
        for eid, mask in scans.select("eid", "mask").iter_rows()
    }
    for eid, voxels, volume in volumes.iter_rows():
        assert voxels == counted[eid]
        assert volume == pytest.approx(counted[eid] / 1000, rel=1e-6)


def test_run__the_embedding_knows_the_volume_it_was_never_told(home: Path) -> None:
    quality = image_quality(home, seeds=1)
    assert quality["mae"] > 0.5, json.dumps(quality)


def test_run__no_gene_of_unrelated_people(home: Path) -> None:
    # At 95% one run in twenty would fail by chance; the figures' command prints that interval.
    found = genetics(home, level=0.99)
    assert found["hits"] == 0
    for method, low, middle, high in found["lambdas"]:
        assert low < middle < high, method
