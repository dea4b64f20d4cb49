"""From scan and organ mask to the organ's crop, volume and mean intensity; files and slices belong elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edp_assets.science.imaging.nifti import ImageError, Volume

GRID_TOLERANCE = 1e-3
"""Largest difference between two affines of one grid, mm."""

LOWER_PERCENTILE, UPPER_PERCENTILE = 0.5, 99.5
"""Anchors of the intensity scale, percent of the voxels inside the mask."""

_NEGATIVE_MASS = 0.01


@dataclass(frozen=True)
class Crop:
    """The tightest cuboid round an organ.

    Attributes:
        voxels: uint8 (n_channels, n_slices, n_rows, n_columns), that is channel, z, y, x; 0 outside the mask and
            1 to 255 inside it.
        spacing_mm: voxel edges along x, y, z.
        mask_voxels: voxels of the mask.
        volume_ml: voxels x voxel volume, from the affine.
        mean_intensity: mean of each channel inside the mask, in the image's own units.
    """

    voxels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    mask_voxels: int
    volume_ml: float
    mean_intensity: tuple[float, ...]


def crop_scan(images: Sequence[Volume], mask: Volume, mask_label: int | None = None) -> Crop:
    """Cut an organ out of its scan: zero outside the mask, tightest cuboid, 8-bit intensities (paper, section 4).

    The mask is its voxels equal to `mask_label`, or its non-zero ones (not-a-number counts as zero). Intensities are
    scaled per scan and channel between percentiles inside the mask, 0.5 and 99.5, since MR intensities have no unit;
    in a magnitude image the lower anchor is 0 instead, so that ratios within the organ stay ratios.

    Args:
        images: one volume a channel, all on the mask's grid.
        mask: the organ mask.
        mask_label: the organ's value in the mask; None takes every non-zero voxel.

    Raises:
        ImageError: "mask on another grid", "empty mask", "not a number", "constant image".
    """
    if not images:
        raise ValueError("crop_scan wants at least one image, found none")
    for image in images:
        _require_same_grid(image, mask)
    inside = np.nan_to_num(mask.data) != 0 if mask_label is None else mask.data == mask_label
    mask_voxels = int(np.count_nonzero(inside))
    if mask_voxels == 0:
        wanted = "non-zero voxels" if mask_label is None else f"voxels of label {mask_label}"
        raise ImageError("empty mask", f"{mask.name}: wanted {wanted}, found none; segment it again or drop the scan")

    box = _bounding_box(inside)
    inside = inside[box]
    channels, means = [], []
    for image in images:
        values = image.data[box][inside].astype(np.float64)
        if not np.isfinite(values).all():
            count = np.count_nonzero(~np.isfinite(values))
            raise ImageError(
                "not a number", f"{image.name}: wanted finite voxels in the mask, found {count} not finite"
            )
        means.append(float(values.mean()))
        channel = np.zeros(inside.shape, dtype=np.uint8)
        channel[inside] = _scale(values, _is_magnitude(image.data), image.name)
        channels.append(channel.transpose(2, 1, 0))

    x, y, z = np.linalg.norm(mask.affine[:3, :3], axis=0)
    return Crop(
        voxels=np.ascontiguousarray(np.stack(channels)),
        spacing_mm=(float(x), float(y), float(z)),
        mask_voxels=mask_voxels,
        volume_ml=mask_voxels * abs(float(np.linalg.det(mask.affine[:3, :3]))) / 1000,
        mean_intensity=tuple(means),
    )


def _require_same_grid(image: Volume, mask: Volume) -> None:
    if image.data.shape != mask.data.shape:
        found = f"shapes {image.data.shape} and {mask.data.shape}"
    elif (difference := float(np.abs(image.affine - mask.affine).max())) > GRID_TOLERANCE:
        found = f"affines that differ by up to {difference:.3g} mm"
    else:
        return
    raise ImageError(
        "mask on another grid",
        f"{mask.name}: wanted the grid of {image.name}, found {found}; resample the mask onto the image",
    )


def _bounding_box(inside: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the tightest slices round the true voxels, one an axis."""
    box = []
    for axis in range(inside.ndim):
        others = tuple(a for a in range(inside.ndim) if a != axis)
        hit = np.flatnonzero(inside.any(axis=others))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(box)


def _is_magnitude(data: NDArray[Any]) -> bool:
    """Whether zero is the image's floor, judged on the whole image: CT and z-scored images dip far below it.

    Resampling a magnitude image with splines leaves small negative ripples in the air; under 1% of the positive
    intensity they do not change the answer, which then stays the same over a cohort.
    """
    if np.issubdtype(data.dtype, np.unsignedinteger) or not (data < 0).any():
        return True
    finite = data[np.isfinite(data)].astype(np.float64)
    return bool(-finite[finite < 0].sum() <= _NEGATIVE_MASS * finite[finite > 0].sum())


def _scale(values: NDArray[np.float64], magnitude: bool, name: str) -> NDArray[np.uint8]:
    """Map the values inside a mask to 1..255; 0 is kept for what lies outside."""
    lower, upper = np.percentile(values, [LOWER_PERCENTILE, UPPER_PERCENTILE])
    if upper <= lower:
        raise ImageError(
            "constant image", f"{name}: wanted contrast inside the mask, found {lower:g} nearly everywhere; check it"
        )
    if magnitude:
        lower = 0.0
    return np.rint(1 + 254 * np.clip((values - lower) / (upper - lower), 0, 1)).astype(np.uint8)
