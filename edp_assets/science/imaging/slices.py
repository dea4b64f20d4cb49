"""From crops to the fixed-size slices and subvolumes that encoders read; intensities are left as the crop has them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def padded_resolution(resolution: int, patch: int) -> int:
    """Return the next multiple of the patch: an encoder pads its slices symmetrically to it (144 by 7: 147)."""
    return -(-resolution // patch) * patch


def cut(voxels: NDArray[np.uint8], item_shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Cut a crop into the items that an encoder reads.

    Args:
        voxels: (n_channels, n_slices, n_rows, n_columns).
        item_shape: (n_channels, resolution, resolution) for axial slices, (n_channels, frames, resolution, resolution)
            for subvolumes of consecutive slices.

    Returns:
        uint8 (n_items, *item_shape).

    Raises:
        ValueError: no crop, or one of another number of channels.
    """
    fitted = fit(voxels, item_shape[-1])
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


def fit(voxels: NDArray[np.uint8], resolution: int) -> NDArray[np.uint8]:
    """Return the crop, shrunk where it is larger than the square: all slices by one factor that keeps the aspect.

    A smaller crop is left alone, so that size stays visible to the encoder wherever it can.
    """
    if voxels.ndim != 4 or 0 in voxels.shape:
        raise ValueError(f"a crop wants shape (channels, slices, rows, columns), all above 0; found {voxels.shape}")
    longest = max(voxels.shape[2:])
    return _shrink(voxels, resolution / longest) if longest > resolution else voxels


def centred(images: NDArray[np.uint8], resolution: int) -> NDArray[np.uint8]:
    """Zero-pad images (..., n_rows, n_columns) on all sides to (..., resolution, resolution)."""
    rows, columns = images.shape[-2:]
    top, left = (resolution - rows) // 2, (resolution - columns) // 2
    out = np.zeros((*images.shape[:-2], resolution, resolution), dtype=np.uint8)
    out[..., top : top + rows, left : left + columns] = images
    return out


def _shrink(voxels: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Resample rows and columns by one factor below 1, without aliasing."""
    rows, columns = (max(1, round(n * factor)) for n in voxels.shape[2:])
    down = _triangle_weights(voxels.shape[2], rows)
    across = _triangle_weights(voxels.shape[3], columns)
    shrunk = down @ voxels.astype(np.float32) @ across.T
    return np.rint(np.clip(shrunk, 0, 255)).astype(np.uint8)


def _triangle_weights(n_in: int, n_out: int) -> NDArray[np.float32]:
    """Return the (n_out, n_in) weights of linear resampling whose filter widens with the step, as Pillow's does.

    `scipy.ndimage.zoom` only interpolates between neighbours: shrunk by more than 2 it drops rows and aliases.
    """
    step = n_in / n_out
    centres = (np.arange(n_out) + 0.5) * step - 0.5
    distance = np.abs(np.arange(n_in)[None, :] - centres[:, None]) / max(step, 1.0)
    weights = np.clip(1 - distance, 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
