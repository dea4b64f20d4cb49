"""From scans to crops and organ volumes."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from edp_assets.assets import cohort
from edp_assets.assets.album import scan_picture
from edp_assets.assets.stage import StageRun, stage
from edp_assets.settings import OrganSettings
from edp_assets.storage.lake import Exclusion, Stored
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partition
from edp_assets.storage.workspace import Fingerprints

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from edp_assets.science.imaging.crops import Crop

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
    organ = run["organ"]
    recipe = Fingerprints(run.workspace, run.spec).of(run.cell, without=("scans",))
    stored = Stored((), notes={"recipe": recipe})
    earlier = EarlierCrops.read(Partition(run.workspace.lake, run.spec.asset, run.cell), recipe)

    def show(figure: Figure) -> None:
        stored.metadata["montage"] = scan_picture(run, "montage", figure)

    stored.frames = crop_frames(organ, run.workspace.settings.organs[organ], scans, stored, earlier, show)
    return stored


def crop_frames(
    organ: str,
    settings: OrganSettings,
    scans: pl.DataFrame,
    stored: Stored,
    earlier: EarlierCrops | None = None,
    show: Callable[[Figure], None] | None = None,
) -> Iterator[pl.DataFrame]:
    """Crop scans as they are asked for, a frame of SCANS_A_FRAME at a time: memory is flat in their number.

    Rows of scans that are as they were are taken from the earlier crops; the frames are the same as without these.

    Args:
        organ: their organ.
        settings: its channels and limits.
        scans: the stored table of that name.
        stored: takes exclusions, metadata, and the table `crop_sources`.
        earlier: crops of the same recipe that some may be taken from.
        show: takes a figure of random crops.
    """
    from edp_assets.figures.imaging import CropSample
    from edp_assets.science.imaging.batch import crop_scans
    from edp_assets.science.imaging.nifti import ImageError

    shown = CropSample(seed=zlib.crc32(organ.encode()))
    sources: list[dict[str, Any]] = []
    reused = 0
    for chunk in scans.sort("eid").iter_slices(SCANS_A_FRAME):
        source_of = dict(zip(chunk["eid"], scan_sources(chunk), strict=True))
        taken = earlier.of(source_of) if earlier is not None else {}
        new = chunk.filter(~pl.col("eid").is_in(list(taken)))
        reused += len(taken)
        paths = list(new.select("images", "mask", "mask_label").iter_rows())
        made = dict(zip(new["eid"], crop_scans(paths, organ, settings), strict=True))
        rows = []
        for eid, source in source_of.items():
            found: dict[str, Any] | str | Crop | ImageError = taken[eid] if eid in taken else made[eid]
            if isinstance(found, ImageError):
                found = found.reason
            reason = found if isinstance(found, str) else None
            sources.append({"organ": organ, "eid": eid, "source": source, "reason": reason})
            if isinstance(found, str):
                stored.excluded.append(Exclusion(eid, organ, "masked_crops", found))
                continue
            row = found if isinstance(found, dict) else _row(organ, eid, found)
            voxels = np.frombuffer(row["voxels"], np.uint8).reshape(row["shape"])
            shown.add(voxels, tuple(row["spacing_mm"]), f"{row['volume_ml']:,.0f} ml")
            rows.append(row)
        yield pl.DataFrame(rows, schema=empty("masked_crops").schema)
    if not scans.height:
        yield empty("masked_crops")
    stored.beside["crop_sources"] = pl.DataFrame(sources, schema=empty("crop_sources").schema)
    stored.metadata.update(scans=scans.height, crops=shown.seen, reused=reused, cropped=scans.height - reused)
    if shown.seen and show is not None:
        show(shown.montage(f"{organ}: random scans", settings.channels))


def _row(organ: str, eid: str, crop: Crop) -> dict[str, Any]:
    return {
        "organ": organ,
        "eid": eid,
        "shape": list(crop.voxels.shape),
        "voxels": crop.voxels.tobytes(),
        "spacing_mm": list(crop.spacing_mm),
        "mask_voxels": crop.mask_voxels,
        "volume_ml": crop.volume_ml,
        "mean_intensity": list(crop.mean_intensity),
    }


def scan_sources(scans: pl.DataFrame) -> list[str]:
    """Return the hash of each scan's row: what it is cropped from, unread."""
    rows = scans.select("images", "mask", "mask_label", "signature").iter_rows()
    return [hashlib.sha256(json.dumps(row).encode()).hexdigest()[:32] for row in rows]


class EarlierCrops:
    """The crops that are stored already, read once from front to back: what of them may be taken over."""

    def __init__(self, crops: Partition, sources: pl.DataFrame) -> None:
        self._sources = {eid: (source, reason) for eid, source, reason in sources.iter_rows()}
        self._rows = (row for frame in crops.batches(SCANS_A_FRAME) for row in frame.iter_rows(named=True))
        self._next: dict[str, Any] | None = next(self._rows, None)

    @classmethod
    def read(cls, crops: Partition, recipe: str) -> EarlierCrops | None:
        """Return the stored crops; None where there are none, or of another recipe, or of unknown sources."""
        if crops.version is None or crops.notes.get("recipe") != recipe:
            return None
        sources = crops.beside("crop_sources")
        return None if sources is None else cls(crops, sources.select("eid", "source", "reason"))

    def of(self, source_of: Mapping[str, str]) -> dict[str, dict[str, Any] | str]:
        """Return those whose source is the same: their row, or why they were left out; asked in the order of eids."""
        same = {eid for eid, source in source_of.items() if self._sources.get(eid, ("",))[0] == source}
        taken: dict[str, dict[str, Any] | str] = {eid: r for eid in same if (r := self._sources[eid][1]) is not None}
        last = max(source_of, default="")
        while self._next is not None and self._next["eid"] <= last:
            if self._next["eid"] in same:
                taken[self._next["eid"]] = self._next
            self._next = next(self._rows, None)
        return taken


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
