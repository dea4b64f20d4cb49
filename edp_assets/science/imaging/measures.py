"""Hand-made measures of an organ, which need no encoder: what embedding-derived phenotypes are held against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_REACH = 4
"""Standard deviations of the blur at which its tail is cut off."""


def surface_cm2(mask: NDArray[np.bool_], spacing_mm: Sequence[float]) -> float:
    """Return the area of a mask's surface, cm2.

    The integral of the blurred mask's gradient, which by the coarea formula is the mean area of its level surfaces:
    unlike counted voxel faces (half too much of a sphere) it does not depend on how the surface lies to the grid. The
    blur's standard deviation is the longest voxel edge: details finer than that are smoothed away.

    Args:
        mask: (n_z, n_y, n_x).
        spacing_mm: voxel edges along x, y, z.
    """
    from scipy.ndimage import gaussian_filter

    edges = np.asarray(spacing_mm, dtype=float)[::-1]
    if mask.ndim != 3 or len(edges) != 3 or not (edges > 0).all():
        raise ValueError(f"wanted a mask (n_z, n_y, n_x) and three voxel edges above 0; {mask.shape} and {spacing_mm}")
    sigma = edges.max() / edges
    pad = [(int(np.ceil(_REACH * s)) + 1,) * 2 for s in sigma]
    blurred = gaussian_filter(np.pad(mask, pad).astype(np.float32), sigma, truncate=_REACH, mode="constant")
    squares = sum(np.square(g) for g in np.gradient(blurred, *edges.tolist()))
    return float(np.sqrt(squares).sum(dtype=np.float64) * edges.prod() / 100)


def fat_fraction(mean_intensity: Sequence[float], channels: Sequence[str]) -> float | None:
    """Return the share of fat in the signal of fat and water, from each channel's mean inside the mask.

    Args:
        mean_intensity: one a channel.
        channels: their names.

    Returns:
        Mean fat / (mean fat + mean water); None where the organ lacks one of the channels, or their sum is not above 0.
    """
    means = dict(zip(channels, mean_intensity, strict=True))
    total = means.get("fat", 0.0) + means.get("water", 0.0)
    return means["fat"] / total if {"fat", "water"} <= set(means) and total > 0 else None
