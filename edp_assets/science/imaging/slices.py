"""From crops to the fixed-size axial slices that encoders read; intensities are left as the crop has them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def padded_resolution(resolution: int, patch: int) -> int:
    """Return the next multiple of the patch: an encoder pads its slices symmetrically to it (144 by 7: 147)."""
    return -(-resolution // patch) * patch


def axial_slices(voxels: NDArray[np.uint8], resolution: int) -> NDArray[np.uint8]:
    """Cut a crop into axial slices, centred and zero-padded to a square.

    Only a crop that is larger than the square is resampled, all its slices by one factor that keeps the aspect, so
    that size stays visible to the encoder wherever it can.

    Args:
        voxels: (n_channels, n_slices, n_rows, n_columns).
        resolution: edge of the square, pixels.

    Returns:
        (n_slices, n_channels, resolution, resolution).
    """
    if voxels.ndim != 4 or 0 in voxels.shape:
        raise ValueError(f"a crop wants shape (channels, slices, rows, columns), all above 0; found {voxels.shape}")
    longest = max(voxels.shape[2:])
    if longest > resolution:
        voxels = _shrink(voxels, resolution / longest)
    n_channels, n_slices, rows, columns = voxels.shape
    top, left = (resolution - rows) // 2, (resolution - columns) // 2
    out = np.zeros((n_slices, n_channels, resolution, resolution), dtype=np.uint8)
    out[:, :, top : top + rows, left : left + columns] = voxels.swapaxes(0, 1)
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
