"""From scan and organ mask to the organ's crop, volume and mean intensity; files and slices belong elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edp_assets.science.imaging.labels import resolve_labels
from edp_assets.science.imaging.nifti import ImageError, Volume
from edp_assets.settings import FACES, Face

Box = tuple[slice, ...]

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
        touched: faces of the volume that the mask reaches, of FACES.
    """

    voxels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    mask_voxels: int
    volume_ml: float
    mean_intensity: tuple[float, ...]
    touched: tuple[Face, ...] = ()


def crop_scan(
    images: Iterable[Volume], mask: Volume, mask_label: int | str | None = None, organ: str | None = None
) -> Crop:
    """Cut an organ out of its scan: zero outside the mask, tightest cuboid, 8-bit intensities (paper, section 4).

    The mask is its voxels of `mask_label`; without one, of the labels that the file itself names as the organ; else its
    non-zero voxels (not-a-number counts as zero). Intensities are scaled per scan and channel between percentiles
    inside the mask, 0.5 and 99.5, since MR intensities have no unit; in a magnitude image the lower anchor is 0
    instead, so that ratios within the organ stay ratios.

    Nothing is done to a whole volume but to look where the mask is and whether the image has negative values.

    Args:
        images: one volume a channel, all on the mask's grid; taken one after another, so that a generator needs one
            in memory at a time.
        mask: the organ mask.
        mask_label: the organ's values in the mask, or their names, joined by `+` (see `labels.parse_label`).
        organ: the organ's name, for a mask that names its labels.

    Raises:
        ImageError: "mask on another grid", "empty mask", "not a number", "constant image"; those of
            `labels.resolve_labels`.
    """
    labels = resolve_labels(mask, mask_label, organ)
    found = _find_organ(mask, labels)
    if found is None:
        wanted = "non-zero voxels" if labels is None else f"voxels of label {' or '.join(map(str, labels))}"
        raise ImageError("empty mask", f"{mask.name}: wanted {wanted}, found none; segment it again or drop the scan")
    box, inside = found
    # Of the mask only the grid is needed now. Its voxels go before an image comes: what is held at once then stays
    # below the size at which the C allocator hands memory back after every scan, and pays page faults for it again.
    mask = replace(mask, data=np.broadcast_to(np.uint8(0), mask.data.shape))
    where = np.flatnonzero(inside)
    # map, not a loop: a loop's variable would keep one image in memory while the next is read.
    cut = list(map(lambda image: _cut_channel(image, mask, box, inside.shape, where), images))  # noqa: C417
    if not cut:
        raise ValueError("crop_scan wants at least one image, found none")

    x, y, z = np.linalg.norm(mask.affine[:3, :3], axis=0)
    return Crop(
        voxels=np.stack([channel for channel, _ in cut]),
        spacing_mm=(float(x), float(y), float(z)),
        mask_voxels=where.size,
        volume_ml=where.size * abs(float(np.linalg.det(mask.affine[:3, :3]))) / 1000,
        mean_intensity=tuple(mean for _, mean in cut),
        touched=_touched(box, mask.data.shape),
    )


def _cut_channel(
    image: Volume, mask: Volume, box: Box, shape: tuple[int, ...], where: NDArray[np.intp]
) -> tuple[NDArray[np.uint8], float]:
    """Return the image in the box, z, y, x, scaled to 8 bits at the voxels `where` and 0 elsewhere, and their mean."""
    _require_same_grid(image, mask)
    stored = np.ascontiguousarray(image.data[box].transpose(2, 1, 0)).reshape(-1)[where]
    levels, index = _levels(stored, image)
    channel = np.zeros(shape, dtype=np.uint8)
    channel.reshape(-1)[where] = _scale(levels, _is_magnitude(image), image.name)[index]
    return channel, levels.mean


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


def _find_organ(mask: Volume, labels: tuple[int, ...] | None) -> tuple[Box, NDArray[np.bool_]] | None:
    """Return the tightest box round the organ, x, y, z, and the mask in it, z, y, x; None where there is no voxel."""
    stored, axes, flips = _in_memory_order(mask.data)
    if (mask.slope, mask.intercept) != (1.0, 0.0):
        stored = mask.values(stored)
    if stored.dtype.kind not in "iub":
        stored = (stored != 0) & ~np.isnan(stored) if labels is None else np.isin(stored, labels)
        labels = None
    box = _bounding_box(stored)
    if box is None:
        return None
    inside = stored[box]
    if labels is None:
        inside = inside != 0
    else:
        chosen = inside == labels[0]
        for label in labels[1:]:
            chosen |= inside == label
        within = _bounding_box(chosen)
        if within is None:
            return None
        inside = chosen[within]
        box = tuple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(box, within, strict=True))
    turned = [slice(0)] * 3
    for axis, flipped, edge, n in zip(axes, flips, box, stored.shape, strict=True):
        turned[axis] = slice(n - edge.stop, n - edge.start) if flipped else edge
    inside = np.flip(inside, tuple(i for i, flipped in enumerate(flips) if flipped)).transpose(np.argsort(axes))
    return tuple(turned), np.ascontiguousarray(inside.transpose(2, 1, 0))


def _in_memory_order(data: NDArray[Any]) -> tuple[NDArray[Any], list[int], list[bool]]:
    """Return a view whose last axis is nearest in memory, its axes as axes of `data`, and which are turned round."""
    axes = sorted(range(data.ndim), key=lambda axis: -abs(data.strides[axis]))
    view = data.transpose(axes)
    flips = [stride < 0 for stride in view.strides]
    return view[tuple(slice(None, None, -1 if flipped else 1) for flipped in flips)], axes, flips


def _bounding_box(stored: NDArray[Any]) -> Box | None:
    """Return the tightest slices round the non-zero integers of a 3D array in memory order; None where all are 0.

    Whole rows are or-ed bit by bit, which runs at the speed of memory; the second pass reads the box's planes alone.
    """
    planes = np.bitwise_or.reduce(stored, axis=1)
    first, last = _range(planes.any(axis=1)), _range(planes.any(axis=0))
    if first is None or last is None:
        return None
    middle = _range(np.bitwise_or.reduce(stored[first], axis=0).any(axis=1))
    assert middle is not None  # noqa: S101  a voxel that two axes see, the third sees
    return first, middle, last


def _range(hit: NDArray[np.bool_]) -> slice | None:
    """Return the slice from the first to the last true value."""
    where = np.flatnonzero(hit)
    return slice(int(where[0]), int(where[-1]) + 1) if where.size else None


def _touched(box: Box, shape: tuple[int, ...]) -> tuple[Face, ...]:
    """Return the faces of the volume that a box reaches."""
    reached = (side for edge, n in zip(box, shape, strict=True) for side in (edge.start == 0, edge.stop == n))
    return tuple(face for face, at in zip(FACES, reached, strict=True) if at)


@dataclass(frozen=True)
class _Levels:
    """Intensities inside a mask: the different ones in rising order, how often each occurs, and their mean.

    `counts` is None where every value stands for itself, in any order.
    """

    values: NDArray[np.float64]
    counts: NDArray[np.int64] | None
    mean: float

    def percentiles(self, q: tuple[float, float]) -> tuple[float, float]:
        """Return linearly interpolated percentiles, those of `numpy.percentile` over all voxels."""
        if self.counts is None:
            lower, upper = np.percentile(self.values, q)
            return float(lower), float(upper)
        upto = np.cumsum(self.counts)
        ranks = (upto[-1] - 1) * (np.asarray(q) / 100)
        below = np.floor(ranks).astype(np.int64)
        a, b = (
            self.values[np.searchsorted(upto, np.minimum(k, upto[-1] - 1), side="right")] for k in (below, below + 1)
        )
        lower, upper = np.where(ranks - below < 0.5, a + (b - a) * (ranks - below), b - (b - a) * (1 - (ranks - below)))
        return float(lower), float(upper)


def _levels(stored: NDArray[Any], image: Volume) -> tuple[_Levels, NDArray[np.int64] | slice]:
    """Return the intensities of the voxels inside a mask, and which of them each voxel has.

    Integers of 16 bits are counted, not sorted: everything later happens to at most 65,536 values.
    """
    if stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2 and image.slope > 0:
        index = stored.astype(np.int64)
        least = int(index.min())
        index -= least
        counts = np.bincount(index)
        values = image.values(np.arange(least, least + counts.size))
        return _Levels(values, counts, float(counts @ values) / stored.size), index
    values = image.values(stored)
    if not (finite := np.isfinite(values)).all():
        count = np.count_nonzero(~finite)
        raise ImageError("not a number", f"{image.name}: wanted finite voxels in the mask, found {count} not finite")
    return _Levels(values, None, float(values.mean())), slice(None)


def _is_magnitude(image: Volume) -> bool:
    """Whether zero is the image's floor, judged on the whole image: CT and z-scored images dip far below it.

    Resampling a magnitude image with splines leaves small negative ripples in the air; under 1% of the positive
    intensity they do not change the answer, which then stays the same over a cohort.
    """
    stored, _, _ = _in_memory_order(image.data)
    floor = image.intercept >= 0 and image.slope > 0
    if floor and (stored.dtype.kind in "ub" or stored.min() >= 0):
        return True
    below = above = 0.0
    for plane in stored:  # one at a time: the whole volume as float64 would be four times its size
        values = image.values(plane)
        values = values[np.isfinite(values)]
        below -= values[values < 0].sum()
        above += values[values > 0].sum()
    return bool(below <= _NEGATIVE_MASS * above)


def _scale(levels: _Levels, magnitude: bool, name: str) -> NDArray[np.uint8]:
    """Map the intensities inside a mask to 1..255; 0 is kept for what lies outside."""
    lower, upper = levels.percentiles((LOWER_PERCENTILE, UPPER_PERCENTILE))
    if upper <= lower:
        raise ImageError(
            "constant image", f"{name}: wanted contrast inside the mask, found {lower:g} nearly everywhere; check it"
        )
    if magnitude:
        lower = 0.0
    return np.rint(1 + 254 * np.clip((levels.values - lower) / (upper - lower), 0, 1)).astype(np.uint8)
