"""How each organ looks inside its outline: signal of fat and water, moved by the latent traits.

Every organ holds references that survive scaling by a percentile within the mask (blood or cortex bright in water, a
rim, fissure or sinus of fat bright in fat), so that a trait shows in the scaled pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edp_assets.cohort.synthetic.fields import Field, smooth_field, soft_step

Axes = tuple[Field, Field, Field]


@dataclass(frozen=True)
class Outline:
    """An organ's place in the grid.

    `radius` is 1 on the surface, less inside, (nx, ny, nz); `axes` are x (right), y (anterior), z (superior) in units
    of the organ's half-widths; `half_width` is the mean half-width in plane, mm; `pixel` the voxel's edge in plane, mm.
    Kidneys have two of each radius: `axes` are those of the nearer kidney, x towards the midline.
    """

    radius: Field
    axes: Axes
    half_width: float
    pixel: float


@dataclass(frozen=True)
class OrganShape:
    """Field of view and size of an organ at the demo's coarse sampling.

    Voxels are coarser than a Dixon scan's (2.2 x 2.2 x 3 mm) so that slices stay below 48 pixels while volumes in ml
    are as in life.
    """

    field_of_view: tuple[int, int, int]
    voxel: tuple[float, float, float]
    half_widths: tuple[float, float, float]
    """mm along x, y, z; of one kidney for the kidneys."""


SHAPES = {
    "liver": OrganShape((50, 46, 16), (5.0, 5.0, 12.5), (88.0, 72.0, 68.0)),
    "kidneys": OrganShape((50, 30, 16), (3.4, 3.4, 10.0), (25.0, 28.0, 55.0)),
    "heart": OrganShape((48, 46, 16), (3.5, 3.5, 9.5), (56.0, 52.0, 52.0)),
}
KIDNEY_OFFSET = 1.62
"""Distance of a kidney's centre from the midline, in its half-widths along x."""


def _sigmoid(value: float) -> float:
    return float(1.0 / (1.0 + np.exp(-value)))


def outline_organ(organ: str, axes: Axes, wobble: Field, half_width: float, pixel: float) -> Outline:
    """Return the outline of one organ from scaled coordinates.

    Args:
        organ: liver, kidneys or heart.
        axes: Coordinates in half-widths about the organ's centre (the midline between the kidneys).
        wobble: Smooth field of variance 1 that deforms the surface.
        half_width: Mean half-width in plane, mm.
        pixel: Voxel edge in plane, mm.
    """
    x, y, z = axes
    if organ == "liver":  # a wedge: thick on the right, thin on the left
        taper = np.clip(0.82 + 0.24 * x, 0.4, 1.1)
        radius = np.sqrt(x * x + (y / taper) ** 2 + (z / np.clip(0.9 + 0.14 * x, 0.5, 1.1)) ** 2)
    elif organ == "kidneys":
        side = np.where(x > 0, np.float32(1), np.float32(-1))
        x = side * np.float32(KIDNEY_OFFSET) - x
        x = x * side  # towards the midline
        notch = 0.45 * np.exp(-((x - 1.1) ** 2 + y * y) / 0.12)
        radius = np.sqrt(x * x + y * y + z * z) + notch
        axes = (x, y, z)
    else:
        # The apex points to the left and front: blunt at the back, narrower there.
        taper = np.clip(0.95 + 0.12 * x - 0.08 * y, 0.6, 1.2)
        radius = np.sqrt(x * x + y * y + (z / taper) ** 2)
    deformed = radius * (1.0 + 0.045 * np.clip(wobble, -1.5, 1.5))
    return Outline(np.asarray(deformed, dtype=np.float32), axes, half_width, pixel)


def _lowest(field: Field, share: float, inside: NDArray[np.bool_], width: float) -> Field:
    """Soft membership of the lowest `share` of a field inside the organ: a structure of the same volume in everyone."""
    cut = np.quantile(field[inside], share)
    return soft_step(np.float32(cut) - field, width * float(cut) + 1e-6)


def draw_liver(rng: np.random.Generator, outline: Outline, traits: Mapping[str, float]) -> tuple[Field, Field]:
    """Liver: parenchyma of some fat fraction and nodularity, vessels bright in water, fissure and rim of fat."""
    shape = outline.radius.shape
    inside = outline.radius < 1.0
    fraction = 0.04 + 0.31 * _sigmoid(1.1 * traits["fat_fraction"] - 0.5)
    contrast = 0.34 * _sigmoid(1.5 * traits["nodularity"] - 0.3)
    blobs = np.tanh(3.0 * (smooth_field(rng, shape, (2.6, 2.6, 1.6)) - 0.35))
    blobs -= blobs[inside].mean()
    fat = fraction * (1.0 - 0.9 * contrast * blobs)
    water = 0.8 * (1.0 - fraction) * (1.0 + contrast * blobs)

    course = smooth_field(rng, shape, (9.0, 9.0, 6.0)), smooth_field(rng, shape, (9.0, 9.0, 6.0))
    vessels = _lowest(course[0] ** 2 + course[1] ** 2, 0.06, inside, 0.5)
    fat *= 1.0 - vessels
    water = water * (1.0 - vessels) + 1.05 * vessels

    sheet = np.abs(outline.axes[0] + 0.25 + 0.12 * smooth_field(rng, shape, (16.0, 16.0, 8.0)))
    fissure = _lowest(sheet + 0.7 * (outline.axes[1] > 0.1), 0.035, inside, 0.5)
    rim = soft_step(outline.radius - 0.95, 0.05) * soft_step(smooth_field(rng, shape, (9.0, 9.0, 6.0)), 0.6)
    visceral = np.maximum(fissure, 0.85 * rim)
    return fat * (1.0 - visceral) + 0.9 * visceral, water * (1.0 - visceral) + 0.1 * visceral


def draw_kidneys(rng: np.random.Generator, outline: Outline, traits: Mapping[str, float]) -> tuple[Field, Field]:
    """Kidneys: cortex of some thickness bright in water, darker medulla, sinus fat about the hilum."""
    shape = outline.radius.shape
    thickness = 7.6 * np.exp(0.28 * np.clip(traits["cortex_thickness"], -2.8, 2.8))
    depth = (1.0 - outline.radius) * outline.half_width
    cortex = soft_step(thickness - depth, 0.5 * outline.pixel)
    medulla = 0.5 * (1.0 + 0.08 * smooth_field(rng, shape, (2.6, 2.6, 1.6)))
    x, y, z = outline.axes
    centre = np.sqrt((x - 0.3) ** 2 + y * y + (0.8 * z) ** 2)
    sinus = soft_step(0.33 + 0.02 * smooth_field(rng, shape, (6.0, 6.0, 4.0)) - centre, 0.08)
    water = (cortex + medulla * (1.0 - cortex)) * (1.0 - sinus) + 0.12 * sinus
    return 0.05 * (1.0 - sinus) + 0.9 * sinus, water


def draw_heart(rng: np.random.Generator, outline: Outline, traits: Mapping[str, float]) -> tuple[Field, Field]:
    """Heart: blood bright in water, a left ventricle whose darker wall has some thickness, fat on the surface."""
    shape = outline.radius.shape
    thickness = 10.0 * np.exp(0.26 * np.clip(traits["wall_thickness"], -2.8, 2.8))
    x, y, z = outline.axes
    outer = 0.66
    ventricle = np.sqrt((x + 0.2) ** 2 + (y - 0.02) ** 2 + (0.78 * z) ** 2)
    ventricle *= 1.0 + 0.03 * np.clip(smooth_field(rng, shape, (16.0, 16.0, 8.0)), -1.5, 1.5)
    depth = (outer - ventricle) * outline.half_width
    wall = soft_step(depth, 0.4 * outline.pixel) * soft_step(thickness - depth, 0.4 * outline.pixel)
    # The thin walls of the other chambers.
    shell = soft_step(0.07 - np.abs(outline.radius - 0.86), 0.03)
    muscle = np.maximum(wall, shell * (1.0 - soft_step(depth, 0.4 * outline.pixel)))
    tone = 0.45 * (1.0 + 0.06 * smooth_field(rng, shape, (3.0, 3.0, 2.0)))
    water = 1.0 - muscle * (1.0 - tone)
    patches = soft_step(smooth_field(rng, shape, (9.0, 9.0, 6.0)) + 0.3, 0.6)
    rim = soft_step(outline.radius - 0.93, 0.03) * patches
    return 0.03 * (1.0 - rim) + 0.9 * rim, water * (1.0 - rim) + 0.1 * rim


DRAW = {"liver": draw_liver, "kidneys": draw_kidneys, "heart": draw_heart}
