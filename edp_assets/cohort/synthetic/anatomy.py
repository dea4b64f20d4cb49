"""One scan of one organ: outline, content, scanner, and the storage orientation; and its NIfTI bytes.

What an organ holds is in `organs.py`; who has which trait in `traits.py`.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edp_assets.cohort.synthetic.fields import Field, rician, smooth_field, soft_step
from edp_assets.cohort.synthetic.organs import DRAW, KIDNEY_OFFSET, SHAPES, outline_organ

ORIENTATIONS = ("LAS", "RAS", "LPS", "RPI", "ASR", "SLA")
"""Storage orders that scanners and converters leave behind, the first three far the commonest."""
ORIENTATION_SHARES = (0.45, 0.2, 0.2, 0.05, 0.05, 0.05)
MAX_SPAN = 46
"""Most pixels an organ spans in plane: slices of 48 then hold it without resampling."""
SIGNAL = 180.0
NOISE = 0.028
"""Deviation of the noise, as a share of the brightest tissue."""


@dataclass(frozen=True)
class Scan:
    """A Dixon scan: `fat` and `water` int16, `mask` uint8 (1 inside), one shape, and the (4, 4) affine to RAS mm."""

    fat: NDArray[np.int16]
    water: NDArray[np.int16]
    mask: NDArray[np.uint8]
    affine: NDArray[np.float64]


def _place(
    rng: np.random.Generator, organ: str, size: float
) -> tuple[tuple[Field, Field, Field], NDArray[np.float64], float]:
    """Draw voxel size, half-widths, position and rotation.

    Returns coordinates in half-widths, (nx, ny, nz) each, the voxel's edges in mm, the mean half-width in plane in mm.
    """
    shape = SHAPES[organ]
    counts = np.array(shape.field_of_view)
    in_plane = rng.uniform(0.92, 1.08)
    voxel = np.array(shape.voxel) * (in_plane, in_plane, rng.uniform(0.9, 1.1))
    widths = np.array(shape.half_widths) * np.exp(0.07 * np.clip(size, -2.5, 2.5) + rng.normal(0.0, 0.03, size=3))
    # What the organ and its deformation span has to fit a slice, and the field of view with its rotation.
    reach = np.array([1.0 + KIDNEY_OFFSET if organ == "kidneys" else 1.0, 1.0, 1.0]) * 1.06
    room = np.minimum(counts - 3, (MAX_SPAN - 1, MAX_SPAN - 1, 13)) / 2
    widths = np.minimum(widths, room * voxel / reach)
    slack = np.maximum((counts - 3) / 2 - widths * reach / voxel, 0.0)
    centre = (counts - 1) / 2 + rng.uniform(-1.0, 1.0, size=3) * slack * 0.8
    turn, tilt = rng.normal(0.0, (0.07, 0.04)).clip((-0.14, -0.08), (0.14, 0.08))
    x, y, z = (
        ((np.arange(n) - c) * v).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
        for axis, (n, c, v) in enumerate(zip(counts, centre, voxel, strict=True))
    )
    x, y = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    y, z = np.cos(tilt) * y + np.sin(tilt) * z, np.cos(tilt) * z - np.sin(tilt) * y
    grid = tuple(int(n) for n in counts)
    scaled = [
        np.broadcast_to(np.asarray(a / w, dtype=np.float32), grid) for a, w in zip((x, y, z), widths, strict=True)
    ]
    return (scaled[0], scaled[1], scaled[2]), voxel, float(np.sqrt(widths[0] * widths[1]))


def _surroundings(rng: np.random.Generator, organ: str, shape: tuple[int, int, int]) -> tuple[Field, Field]:
    """Draw the tissue around an organ: muscle and fat; about the heart also dark lung."""
    fraction = soft_step(smooth_field(rng, shape, (7.0, 7.0, 5.0)) + (0.5 if organ == "kidneys" else 0.0), 0.5)
    density = 0.45 + 0.5 * soft_step(smooth_field(rng, shape, (9.0, 9.0, 6.0)), 0.5)
    if organ == "heart":
        density = density * (0.15 + 0.85 * soft_step(smooth_field(rng, shape, (12.0, 12.0, 8.0)), 0.4))
    return density * (0.05 + 0.85 * fraction), density * (0.9 - 0.8 * fraction)


def draw_scan(rng: np.random.Generator, organ: str, traits: Mapping[str, float], size: float) -> Scan:
    """Draw one scan, stored R, A, S.

    Args:
        rng: Source of all but the traits.
        organ: liver, kidneys or heart.
        traits: Latent traits by name, standard deviations from the mean; those of the organ are used.
        size: Log size of the organ, standard deviations from the mean.
    """
    axes, voxel, half_width = _place(rng, organ, size)
    grid = SHAPES[organ].field_of_view
    wobble = smooth_field(rng, grid, (16.0, 16.0, 8.0))
    outline = outline_organ(organ, axes, wobble, half_width, float(voxel[0]))
    content = DRAW[organ](rng, outline, traits)
    around = _surroundings(rng, organ, grid)
    # At the surface a voxel holds both: half a pixel of partial volume.
    within = soft_step((1.0 - outline.radius) * np.float32(half_width), 0.5 * float(voxel[0]))
    bias = np.exp(0.06 * smooth_field(rng, grid, (25.0, 25.0, 12.0)))
    gain = SIGNAL * rng.uniform(0.7, 1.4)
    channels = []
    for organ_signal, other_signal in zip(content, around, strict=True):
        signal = (organ_signal * within + other_signal * (1.0 - within)) * bias
        channels.append(np.rint(gain * rician(rng, signal, NOISE)).astype(np.int16))
    affine = np.diag([*np.round(voxel, 4), 1.0])
    affine[:3, 3] = np.round(rng.normal(0.0, 30.0, size=3), 3)
    return Scan(channels[0], channels[1], (outline.radius < 1.0).astype(np.uint8), affine)


def store_as(scan: Scan, orientation: str) -> Scan:
    """Store a scan that lies R, A, S under another orientation, such as LPS: the same anatomy in the same mm.

    Args:
        scan: With a diagonal, positive affine.
        orientation: One letter an array axis, R or L, A or P, S or I: where its index increases to.

    Raises:
        ValueError: When `orientation` does not name each of the three directions once.
    """
    wanted = [next((i for i, pair in enumerate(("RL", "AP", "SI")) if letter in pair), -1) for letter in orientation]
    if sorted(wanted) != [0, 1, 2]:
        raise ValueError(f"orientation has one of R/L, A/P and S/I each; found {orientation!r}")
    affine = scan.affine.copy()
    flips = tuple(axis for axis, letter in enumerate(orientation) if letter in "LPI")
    for axis, source in enumerate(wanted):
        sign = -1.0 if axis in flips else 1.0
        affine[:, axis] = sign * scan.affine[:, source]
        if axis in flips:
            affine[:, 3] += scan.affine[:, source] * (scan.mask.shape[source] - 1)
    fat, water, mask = (np.flip(np.transpose(volume, wanted), flips) for volume in (scan.fat, scan.water, scan.mask))
    return replace(scan, fat=fat, water=water, mask=mask, affine=affine)


def nifti_bytes(volume: NDArray[np.int16] | NDArray[np.uint8], affine: NDArray[np.float64]) -> bytes:
    """Return a NIfTI-1 file, gzipped with no time in it so that equal volumes are equal bytes."""
    import nibabel as nib

    image = nib.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)
