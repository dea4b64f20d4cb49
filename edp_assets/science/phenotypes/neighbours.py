"""Exact nearest neighbours by cosine distance, in the form that scanpy takes (`scanpy.pp.neighbors(transformer=)`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

_GROUP = 64  # columns of which the nearest alone is looked at first
_SPARE = 4  # further candidates, since float32 may order near ties otherwise than float64
_BLOCK_VALUES = 2**24  # similarities held at once: 64 MiB


def cosine_neighbours(z: NDArray, n_neighbors: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find each participant's nearest others, exactly: candidates by blocked float32 products, distances in float64.

    The nearest k of a row lie in the k groups of columns whose own nearest are the nearest, so only those are sorted.

    Args:
        z: (n_participants, n_dims), no row of norm zero.
        n_neighbors: others of each participant, fewer than there are.

    Returns:
        Participants (n_participants, n_neighbors), nearest first, and their cosine distances of the same shape.
    """
    unit = np.asarray(z, np.float64)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    n = len(unit)
    candidates = min(n - 1, n_neighbors + _SPARE)
    groups = max(candidates, -(-n // _GROUP))
    width = -(-n // groups)
    columns = np.zeros((groups * width, unit.shape[1]), np.float32)
    columns[:n] = unit
    indices = np.empty((n, n_neighbors), np.int64)
    distances = np.empty((n, n_neighbors))
    step = max(1, _BLOCK_VALUES // len(columns))
    for start in range(0, n, step):
        rows = np.arange(start, min(n, start + step))
        similarity = columns[rows] @ columns.T
        similarity[:, n:] = -np.inf
        similarity[np.arange(len(rows)), rows] = -np.inf
        # Group g is the columns g, g + groups, ...: its maximum is one element-wise pass.
        nearest = similarity.reshape(len(rows), width, groups).max(axis=1)
        chosen = np.argpartition(nearest, groups - candidates, axis=1)[:, groups - candidates :]
        pool = (chosen[:, :, None] + groups * np.arange(width)).reshape(len(rows), -1)
        within = np.take_along_axis(similarity, pool, axis=1)
        at = np.argpartition(within, within.shape[1] - candidates, axis=1)[:, within.shape[1] - candidates :]
        found = np.sort(np.take_along_axis(pool, at, axis=1), axis=1)
        distance = np.clip(1 - np.einsum("id,ikd->ik", unit[rows], unit[found]), 0, 2)
        order = np.argsort(distance, axis=1, kind="stable")[:, :n_neighbors]
        indices[rows] = np.take_along_axis(found, order, axis=1)
        distances[rows] = np.take_along_axis(distance, order, axis=1)
    return indices, distances


class CosineNeighbours:
    """`cosine_neighbours` as scikit-learn's KNeighborsTransformer gives them: each participant first among its own."""

    def __init__(self, n_neighbors: int) -> None:
        """Keep the number of neighbours of each participant."""
        self.n_neighbors = n_neighbors

    def get_params(self, *, deep: bool = True) -> dict[str, Any]:
        """Return what scanpy reads: the number of neighbours."""
        return {"n_neighbors": self.n_neighbors}

    def fit_transform(self, z: NDArray, y: None = None) -> csr_matrix:
        """Return the distances to the nearest, (n_participants, n_participants), `n_neighbors` + 1 stored a row."""
        n, k = len(z), self.n_neighbors
        indices, distances = cosine_neighbours(z, k)
        everyone = np.arange(n)[:, None]
        stored = np.concatenate([np.zeros((n, 1)), distances], axis=1)
        return csr_matrix(
            (stored.ravel(), np.concatenate([everyone, indices], axis=1).ravel(), np.arange(n + 1) * (k + 1)), (n, n)
        )
