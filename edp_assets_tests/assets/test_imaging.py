"""The crops' stage: what is stored, what is left out and why, in order and frame by frame."""

from pathlib import Path

import nibabel as nib
import numpy as np
import polars as pl

from edp_assets.assets.imaging import SCANS_A_FRAME, crop_frames
from edp_assets.settings import ORGANS
from edp_assets.storage.lake import Stored
from edp_assets.storage.schemas import SCHEMAS


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
    return {"eid": eid, "images": [paths["fat"], paths["water"]], "mask": paths["mask"], "mask_label": "4"}


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
    frame = pl.concat(list(crop_frames("liver", ORGANS["liver"], scans, stored)))
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
    assert len(stored.metadata["montage"].md_str) < 100_000


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
