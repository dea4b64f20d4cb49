"""The crops' stage: what is stored, what is left out and why, in order and frame by frame."""

from pathlib import Path

import nibabel as nib
import numpy as np
import polars as pl
import pytest

from edp_assets.assets.imaging import SCANS_A_FRAME, EarlierCrops, crop_frames
from edp_assets.settings import ORGANS
from edp_assets.storage.lake import Lake, Stored, cell_of
from edp_assets.storage.schemas import SCHEMAS
from edp_assets.storage.upstream import Partition


def write_scan(folder, eid, *, fat=50.0, water=200.0, reach=8, slices=6):
    """A watery box in a scan of two channels; returns its row of the scans table."""
    rng = np.random.default_rng(int(eid))
    mask = np.zeros((12, 10, 9), np.uint8)
    mask[3:reach, 2:8, 1 : 1 + slices] = 4
    paths = {}
    for name, data in (
        ("mask", mask),
        ("fat", rng.normal(fat, 5, mask.shape)),
        ("water", rng.normal(water, 9, mask.shape)),
    ):
        paths[name] = str(folder / f"{eid}_{name}.nii.gz")
        nib.save(
            nib.Nifti1Image(np.rint(data).astype(mask.dtype if name == "mask" else np.int16), np.eye(4)), paths[name]
        )
    images = [paths["fat"], paths["water"]]
    return {"eid": eid, "images": images, "mask": paths["mask"], "mask_label": "4", "signature": "1:1 1:1 1:1"}


def test_crop_frames__counts_every_scan_that_it_leaves_out(tmp_path: Path):
    rows = [
        write_scan(tmp_path, "5"),
        write_scan(tmp_path, "1"),
        write_scan(tmp_path, "2", fat=200, water=20),
        write_scan(tmp_path, "3", reach=12),
        write_scan(tmp_path, "4", slices=2),
        write_scan(tmp_path, "6") | {"mask_label": "3"},
        write_scan(tmp_path, "7") | {"mask": "nowhere.nii.gz"},
        write_scan(tmp_path, "8") | {"mask_label": "livre"},
    ]
    scans = pl.DataFrame(rows)
    stored = Stored(())
    shown = []
    frame = pl.concat(list(crop_frames("liver", ORGANS["liver"], scans, stored, show=shown.append)))
    assert frame["eid"].to_list() == ["1", "5"]
    assert frame.columns == list(SCHEMAS["masked_crops"])
    voxels = np.frombuffer(frame["voxels"][0], np.uint8).reshape(frame["shape"][0].to_list())
    assert voxels.shape == (2, 6, 6, 5)
    assert (voxels > 0).all()
    assert {(e.eid, e.reason) for e in stored.excluded} == {
        ("2", "fat-water swap suspected"),
        ("3", "mask touches the volume's edge"),
        ("4", "too few slices"),
        ("6", "empty mask"),
        ("7", "missing file"),
        ("8", "unknown label name"),
    }
    assert {(e.organ, e.stage) for e in stored.excluded} == {("liver", "masked_crops")}
    assert (stored.metadata["scans"], stored.metadata["crops"]) == (8, 2)
    assert len(shown) == 1
    sources = stored.beside["crop_sources"]
    assert sources.filter(pl.col("reason").is_null())["eid"].to_list() == ["1", "5"]
    assert sources["source"].n_unique() == 8


def test_crop_frames__reads_no_further_than_it_is_asked(tmp_path: Path):
    row = write_scan(tmp_path, "1")
    last = 3 * SCANS_A_FRAME
    rows = [row | {"eid": f"{i:04d}"} for i in range(last)] + [row | {"eid": f"{last:04d}", "mask": "nowhere.nii.gz"}]
    stored = Stored(())
    frames = crop_frames("liver", ORGANS["liver"], pl.DataFrame(rows), stored)
    assert next(frames).height == SCANS_A_FRAME
    assert stored.excluded == []
    assert sum(frame.height for frame in frames) == 2 * SCANS_A_FRAME
    assert [e.eid for e in stored.excluded] == [f"{last:04d}"]


ASSET, CELL, RECIPE = ("masked_crops",), cell_of({"organ": "liver"}), "recipe"


def store_crops(lake: Lake, scans: pl.DataFrame, *, recipe: str = RECIPE) -> Stored:
    stored = Stored((), notes={"recipe": recipe})
    earlier = EarlierCrops.read(Partition(lake, ASSET, CELL), recipe)
    stored.frames = crop_frames("liver", ORGANS["liver"], scans, stored, earlier)
    lake.write(ASSET, CELL, "masked_crops", stored, "inputs")
    return stored


@pytest.fixture
def many_scans(tmp_path: Path) -> pl.DataFrame:
    """Scans of 100 people, more than a frame of them; every tenth is too thin to be used."""
    good, thin = write_scan(tmp_path, "1"), write_scan(tmp_path, "2", slices=2)
    return pl.DataFrame([(thin if i % 10 == 0 else good) | {"eid": f"{i:04d}"} for i in range(100)])


def test_masked_crops__those_of_unchanged_scans_are_taken_over_unread(tmp_path: Path, many_scans: pl.DataFrame):
    store_crops(Lake(tmp_path / "lake"), many_scans)
    replaced = write_scan(tmp_path, "3", slices=5) | {"eid": "0050"}
    now = pl.concat(
        [
            many_scans.filter(~pl.col("eid").is_in(["0003", "0050"])),
            pl.DataFrame([replaced, write_scan(tmp_path, "4") | {"eid": "0042b"}]),
            pl.DataFrame([write_scan(tmp_path, "5", fat=200, water=20) | {"eid": "0000a"}]),
        ]
    )
    anew = store_crops(Lake(tmp_path / "anew"), now)
    for path in tmp_path.glob("[12]_*.nii.gz"):
        path.unlink()  # whoever reads these again fails
    again = store_crops(Lake(tmp_path / "lake"), now)
    assert (again.metadata["reused"], again.metadata["cropped"]) == (98, 3)
    assert (anew.metadata["reused"], anew.metadata["cropped"]) == (0, 101)
    assert again.provenance == anew.provenance
    assert again.excluded == anew.excluded
    assert len(again.excluded) == 10  # nine thin ones (0050 was the tenth), and the swapped one
    assert again.beside["crop_sources"].equals(anew.beside["crop_sources"])


def test_masked_crops__a_changed_recipe_or_other_crops_than_the_sources_name_are_not_taken_over(
    tmp_path: Path, many_scans: pl.DataFrame
):
    lake, scans = Lake(tmp_path / "lake"), many_scans.head(3)
    store_crops(lake, scans)
    assert store_crops(lake, scans).metadata["reused"] == 3
    assert store_crops(lake, scans, recipe="another").metadata["reused"] == 0
    version = Partition(lake, ASSET, CELL).version
    sources = lake.read_beside(ASSET, CELL, "crop_sources", version)
    lake.write_beside(ASSET, CELL, "crop_sources", sources, "of a killed run")
    assert store_crops(lake, scans, recipe="another").metadata["reused"] == 0
