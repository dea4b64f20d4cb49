"""Smooth random fields and soft steps on a voxel grid: the building blocks of anatomy. Nothing here knows an organ."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


@lru_cache(maxsize=128)
def _weights(points: int, spacing: float) -> Field:
    """Cubic B-spline weights of `points` voxels on knots `spacing` voxels apart, (points, knots), each row of norm 1.

    Rows of norm 1 give a field of independent normal knots variance 1 at every voxel.
    """
    knots = max(int(np.ceil(points / spacing)), 1) + 3
    position = 1.0 + (np.arange(points) + 0.5) / points * (knots - 3)
    t = np.abs(position[:, None] - np.arange(knots))
    weights = np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.where(t < 2, (2 - t) ** 3 / 6, 0.0))
    return np.asarray(weights / np.linalg.norm(weights, axis=1, keepdims=True), dtype=np.float32)


def smooth_field(rng: np.random.Generator, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Field:
    """Draw a smooth Gaussian field of mean 0 and variance 1.

    Args:
        rng: Source of the knots.
        shape: Voxels along each axis.
        spacing: Voxels between knots along each axis; what is bright or dark is about twice as wide.
    """
    x, y, z = (_weights(n, s) for n, s in zip(shape, spacing, strict=True))
    knots = rng.standard_normal((x.shape[1], y.shape[1], z.shape[1]), dtype=np.float32)
    plane = x @ knots.reshape(x.shape[1], -1)
    plane = np.matmul(y, plane.reshape(shape[0], y.shape[1], z.shape[1]))
    return np.asarray(plane @ z.T)


def soft_step(value: Field, width: float) -> Field:
    """Rise from 0 to 1 where `value` passes 0, over about `width`: an edge with partial volume."""
    return np.asarray(0.5 + 0.5 * np.tanh(value * np.float32(1.0 / width)))


def rician(rng: np.random.Generator, signal: Field, deviation: float) -> Field:
    """Return the magnitude of a complex signal with Gaussian noise of `deviation` in both parts."""
    real = signal + np.float32(deviation) * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = np.float32(deviation) * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.sqrt(real * real + imaginary * imaginary)
