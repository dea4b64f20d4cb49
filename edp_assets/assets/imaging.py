"""From scans to crops and organ volumes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import dagster as dg
import polars as pl

from edp_assets.assets import cohort
from edp_assets.assets.stage import StageRun, stage
from edp_assets.settings import OrganSettings
from edp_assets.storage.lake import Exclusion, Stored
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partition

SCANS_A_FRAME = 64
"""Crops held in memory at once (a UK Biobank liver is about 2.4 MB)."""


@stage(
    "masked_crops",
    group="imaging",
    dimensions=("organ",),
    table="masked_crops",
    inputs={"scans": cohort.scans},
    settings=("organ.channels", "organ.min_slices", "organ.may_touch", "organ.fat_fraction"),
    code_version="2",
    kinds={"nifti", "numpy", "parquet"},
)
def masked_crops(run: StageRun, scans: pl.DataFrame) -> Stored:
    """The organ cut out of each scan: zero outside the mask, tightest cuboid, RAS+, 8 bits a channel."""
    stored = Stored(())
    stored.frames = crop_frames(run["organ"], run.workspace.settings.organs[run["organ"]], scans, stored)
    return stored


def crop_frames(organ: str, settings: OrganSettings, scans: pl.DataFrame, stored: Stored) -> Iterator[pl.DataFrame]:
    """Crop scans as they are asked for, a frame of SCANS_A_FRAME at a time: memory is flat in their number.

    Args:
        organ: their organ.
        settings: its channels and limits.
        scans: the stored table of that name.
        stored: takes exclusions and metadata.
    """
    from edp_assets.figures.imaging import CropSample
    from edp_assets.figures.render import to_markdown
    from edp_assets.science.imaging.batch import crop_scans
    from edp_assets.science.imaging.nifti import ImageError

    shown = CropSample(seed=zlib.crc32(organ.encode()))
    for chunk in scans.sort("eid").iter_slices(SCANS_A_FRAME):
        rows = []
        paths = list(chunk.select("images", "mask", "mask_label").iter_rows())
        for eid, crop in zip(chunk["eid"], crop_scans(paths, organ, settings), strict=True):
            if isinstance(crop, ImageError):
                stored.excluded.append(Exclusion(eid, organ, "masked_crops", crop.reason))
                continue
            shown.add(crop.voxels, crop.spacing_mm, f"{crop.volume_ml:,.0f} ml")
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
    stored.metadata.update(scans=scans.height, crops=shown.seen)
    if shown.seen:
        figure = shown.montage(f"{organ}: random scans", settings.channels)
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
