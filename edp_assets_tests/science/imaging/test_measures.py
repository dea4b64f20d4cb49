"""Surface area against closed forms, whatever the voxels and however it lies; fat fraction."""

from __future__ import annotations

import numpy as np
import pytest

from edp_assets.science.imaging.measures import fat_fraction, surface_cm2


def grid(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> tuple[np.ndarray, ...]:
    """Return z, y, x of voxel centres about the middle, mm."""
    axes = [(np.arange(n) - (n - 1) / 2) * edge for n, edge in zip(shape, spacing[::-1], strict=True)]
    return tuple(np.meshgrid(*axes, indexing="ij"))


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (2.23, 2.23, 3.0), (1.0, 1.5, 3.0)])
def test_surface__of_a_sphere(spacing: tuple[float, float, float]) -> None:
    radius = 40.0
    z, y, x = grid((60, 80, 90), spacing)
    mask = x**2 + y**2 + z**2 <= radius**2
    assert surface_cm2(mask, spacing) == pytest.approx(4 * np.pi * radius**2 / 100, rel=0.02)


def box(half: tuple[float, float, float], angle: float, edge: float) -> float:
    """Return the measured surface of a box of these half edges, turned about z, in voxels of this edge."""
    z, y, x = grid((48, 80, 80), (edge, edge, edge))
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    u, v = cosine * x + sine * y, cosine * y - sine * x
    return surface_cm2((abs(u) < half[0]) & (abs(v) < half[1]) & (abs(z) < half[2]), (edge, edge, edge))


@pytest.mark.parametrize("angle", [20, 45])
def test_surface__does_not_depend_on_how_the_organ_lies(angle: float) -> None:
    # Counted voxel faces would be 1.41 times as many on the turned sides.
    assert box((24, 20, 16), angle, 1.0) == pytest.approx(box((24, 20, 16), 0, 1.0), rel=0.01)


def test_surface__what_the_blur_takes_of_edges_halves_with_the_voxels() -> None:
    true = 8 * (24 * 20 + 24 * 16 + 20 * 16) / 100
    coarse, fine = (1 - box((24, 20, 16), 0, edge) / true for edge in (2.0, 1.0))
    assert 0 < fine < 0.05
    assert coarse == pytest.approx(2 * fine, rel=0.15)


def test_surface__of_two_organs_is_the_sum_and_that_of_a_tight_crop_the_same() -> None:
    z, y, x = grid((31, 31, 31), (2.0, 2.0, 2.0))
    ball = x**2 + y**2 + z**2 <= 30**2
    one = surface_cm2(ball, (2.0, 2.0, 2.0))
    apart = np.concatenate([ball, np.zeros((12, 31, 31), bool), ball])
    assert surface_cm2(apart, (2.0, 2.0, 2.0)) == pytest.approx(2 * one, rel=1e-5)
    assert surface_cm2(np.pad(ball, 9), (2.0, 2.0, 2.0)) == pytest.approx(one, rel=1e-5)


def test_surface__bad_input_says_what_was_wanted() -> None:
    with pytest.raises(ValueError, match="three voxel edges above 0"):
        surface_cm2(np.ones((3, 3, 3), bool), (1.0, 0.0, 1.0))


def test_fat_fraction__needs_both_channels_and_some_signal() -> None:
    assert fat_fraction([30.0, 170.0], ["fat", "water"]) == pytest.approx(0.15)
    assert fat_fraction([170.0, 30.0], ["water", "fat"]) == pytest.approx(0.15)
    assert fat_fraction([170.0], ["t1"]) is None
    assert fat_fraction([0.0, 0.0], ["fat", "water"]) is None
