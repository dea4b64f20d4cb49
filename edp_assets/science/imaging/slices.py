"""From crops to the fixed-size slices and subvolumes that encoders read; intensities are left as the crop has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PIXEL_TOLERANCE = 0.005
"""Largest relative difference of a scan's pixel size from the encoder's that is not resampled."""


def padded_resolution(resolution: int, patch: int) -> int:
    """Return the next multiple of the patch: an encoder pads its slices symmetrically to it (144 by 7: 147)."""
    return -(-resolution // patch) * patch


def cut(
    voxels: NDArray[np.uint8], item_shape: tuple[int, ...], scale: tuple[float, float] = (1.0, 1.0)
) -> NDArray[np.uint8]:
    """Cut a crop into the items that an encoder reads.

    Args:
        voxels: (n_channels, n_slices, n_rows, n_columns).
        item_shape: (n_channels, resolution, resolution) for axial slices, (n_channels, frames, resolution, resolution)
            for subvolumes of consecutive slices.
        scale: of rows and columns, see `pixel_scale`.

    Returns:
        uint8 (n_items, *item_shape).

    Raises:
        ValueError: no crop, or one of another number of channels.
    """
    fitted = fit(voxels, item_shape[-1], scale)
    if len(fitted) != item_shape[0]:
        raise ValueError(f"wanted a crop of {item_shape[0]} channels, found {len(fitted)}")
    slices = centred(fitted.swapaxes(0, 1), item_shape[-1])
    if len(item_shape) == 3:
        return slices
    spans = subvolume_spans(len(slices), item_shape[1])
    out = np.zeros((len(spans), *item_shape), dtype=np.uint8)
    for item, (first, last, at) in zip(out, spans, strict=True):
        item[:, at : at + last - first] = slices[first:last].swapaxes(0, 1)
    return out


def axial_slices(voxels: NDArray[np.uint8], resolution: int) -> NDArray[np.uint8]:
    """Cut a crop (n_channels, n_slices, n_rows, n_columns) into slices (n_slices, n_channels, resolution, resolution).

    They are centred and zero-padded to a square; only a crop larger than the square is resampled (`fit`).
    """
    return cut(voxels, (len(voxels), resolution, resolution))


def subvolume_spans(n_slices: int, frames: int) -> list[tuple[int, int, int]]:
    """Return (first slice, last slice + 1, frame that the first one takes) of a crop's subvolumes.

    Consecutive, without overlap, the crop centred in their common depth. Padding only the last one's end would leave
    the last of 17 slices alone among 15 empty frames, with as much say in the scan's mean as the other 16 together;
    centred, no end is less than about half full (9 and 8), and the middle of every organ falls at the same frame.
    """
    count = -(-n_slices // frames)
    before = (count * frames - n_slices) // 2
    starts = [k * frames - before for k in range(count)]
    return [(max(0, start), min(n_slices, start + frames), max(0, -start)) for start in starts]


def pixel_scale(spacing_mm: Sequence[float], pixel_mm: float) -> tuple[float, float]:
    """Return the factors of rows and columns that bring a scan's pixels (x, y, z spacing, mm) to the encoder's size.

    An encoder sees pixels, not millimetres: a scan of finer voxels would look like a larger organ. A difference below
    0.5%, under 1% of an area, is left alone rather than interpolated.
    """
    x, y = (spacing / pixel_mm for spacing in spacing_mm[:2])
    return (1.0, 1.0) if max(abs(x - 1), abs(y - 1)) < PIXEL_TOLERANCE else (y, x)


def common_pixel(spacing_mm: NDArray[np.floating]) -> float:
    """Return the pixel size that one encoder's scans are brought to: the median in plane, three digits, mm.

    Args:
        spacing_mm: (n_scans, 3), x, y, z.
    """
    return float(f"{np.median(spacing_mm[:, :2]):.3g}")


def fit(voxels: NDArray[np.uint8], resolution: int, scale: tuple[float, float] = (1.0, 1.0)) -> NDArray[np.uint8]:
    """Return the crop at the encoder's pixel size, shrunk where it is then larger than the square.

    All slices are shrunk by one factor that keeps the aspect; a smaller crop is never enlarged to fill the square, so
    that size stays visible to the encoder wherever it can.
    """
    if voxels.ndim != 4 or 0 in voxels.shape:
        raise ValueError(f"a crop wants shape (channels, slices, rows, columns), all above 0; found {voxels.shape}")
    rows, columns = (n * factor for n, factor in zip(voxels.shape[2:], scale, strict=True))
    down = min(1.0, resolution / max(rows, columns))
    shape = max(1, round(rows * down)), max(1, round(columns * down))
    return voxels if shape == voxels.shape[2:] and down == 1 and scale == (1.0, 1.0) else _resample(voxels, shape)


def centred(images: NDArray[np.uint8], resolution: int) -> NDArray[np.uint8]:
    """Zero-pad images (..., n_rows, n_columns) on all sides to (..., resolution, resolution)."""
    rows, columns = images.shape[-2:]
    top, left = (resolution - rows) // 2, (resolution - columns) // 2
    out = np.zeros((*images.shape[:-2], resolution, resolution), dtype=np.uint8)
    out[..., top : top + rows, left : left + columns] = images
    return out


def _resample(voxels: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Resample rows and columns linearly, without aliasing."""
    down, across = (_triangle_weights(n, m) for n, m in zip(voxels.shape[2:], shape, strict=True))
    out = down @ voxels.astype(np.float32) @ across.T
    return np.rint(np.clip(out, 0, 255)).astype(np.uint8)


def _triangle_weights(n_in: int, n_out: int) -> NDArray[np.float32]:
    """Return the (n_out, n_in) weights of linear resampling whose filter widens with the step, as Pillow's does.

    `scipy.ndimage.zoom` only interpolates between neighbours: shrunk by more than 2 it drops rows and aliases.
    """
    step = n_in / n_out
    centres = (np.arange(n_out) + 0.5) * step - 0.5
    distance = np.abs(np.arange(n_in)[None, :] - centres[:, None]) / max(step, 1.0)
    weights = np.clip(1 - distance, 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
