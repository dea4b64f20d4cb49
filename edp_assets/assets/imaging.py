"""From scans to crops and organ volumes."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import numpy as np
import polars as pl

from edp_assets.assets import cohort
from edp_assets.assets.stage import StageRun, stage
from edp_assets.storage.lake import Exclusion, Partition, Stored
from edp_assets.storage.schemas import empty

SCANS_A_FRAME = 64
"""Crops held in memory at once (a UK Biobank liver is about 2.4 MB)."""

SHOWN = 8


@stage(
    "masked_crops",
    group="imaging",
    dimensions=("organ",),
    table="masked_crops",
    inputs={"scans": cohort.scans},
    kinds={"nifti", "numpy", "parquet"},
)
def masked_crops(run: StageRun, scans: pl.DataFrame) -> Stored:
    """The organ cut out of each scan: zero outside the mask, tightest cuboid, RAS+, 8 bits a channel."""
    stored = Stored(())
    stored.frames = _crop_frames(run["organ"], scans, stored)
    return stored


def _crop_frames(organ: str, scans: pl.DataFrame, stored: Stored) -> Iterator[pl.DataFrame]:
    from edp_assets.figures.imaging import crop_montage
    from edp_assets.figures.render import to_markdown
    from edp_assets.science.imaging.batch import crop_scans
    from edp_assets.science.imaging.nifti import ImageError

    shown: list[np.ndarray] = []
    kept = 0
    every = max(1, scans.height // SHOWN)
    for chunk in scans.sort("eid").iter_slices(SCANS_A_FRAME):
        rows = []
        paths = list(chunk.select("images", "mask", "mask_label").iter_rows())
        for eid, crop in zip(chunk["eid"], crop_scans(paths), strict=True):
            if isinstance(crop, ImageError):
                stored.excluded.append(Exclusion(eid, organ, "masked_crops", crop.reason))
                continue
            if kept % every == 0 and len(shown) < SHOWN:
                shown.append(crop.voxels)
            kept += 1
            rows.append(
                {
                    "organ": organ,
                    "eid": eid,
                    "shape": list(crop.voxels.shape),
                    "voxels": crop.voxels.tobytes(),
                    "spacing_mm": list(crop.spacing_mm),
                    "mask_voxels": crop.mask_voxels,
                    "volume_ml": crop.volume_ml,
                    "mean_intensity": list(crop.mean_intensity),
                }
            )
        yield pl.DataFrame(rows, schema=empty("masked_crops").schema)
    if not scans.height:
        yield empty("masked_crops")
    stored.metadata.update(scans=scans.height, crops=kept)
    if shown:
        figure = crop_montage(shown, [""] * len(shown), f"{organ}: middle slices")
        stored.metadata["montage"] = dg.MetadataValue.md(to_markdown(figure))


@stage(
    "organ_volumes",
    group="imaging",
    dimensions=("organ",),
    table="organ_volumes",
    inputs={"masked_crops": masked_crops},
    streamed=("masked_crops",),
)
def organ_volumes(run: StageRun, masked_crops: Partition) -> Stored:
    """Organ volume: mask voxels times the voxel volume of the affine."""
    crops = masked_crops.columns("eid", "organ", "mask_voxels", "volume_ml").rename({"mask_voxels": "voxels"})
    middle = crops["volume_ml"].median()
    return Stored(crops, metadata={"median_volume_ml": middle} if middle is not None else {})
