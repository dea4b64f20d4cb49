"""SMOTE (Chawla et al. 2002) of one class: sampled rows, or the moments that they have on average. No folds, no model.

A synthetic row is x_i + u (x_j - x_i), i uniform in the class, j uniform among i's k nearest in the class, u uniform on
(0, 1). So its mean is that of (x_i + x_j) / 2 and its second moment that of (x_i x_i' + x_j x_j') / 3 +
(x_i x_j' + x_j x_i') / 6: with real rows X and A = I + weight / 3 * diag(degree) + weight / 6 * (N + N'), N the
neighbour graph, the class and its synthetic rows have together the second moment X'AX.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from edp_assets.science.phenotypes.discriminant import Moments

BUFFER = 64
"""Nearest kept a row: enough that a subset's few nearest are nearly always among them."""

DISTANCES = 4_000_000
"""Distances held at once by one thread (32 MB)."""

Map = Callable[[Callable, Iterable], Iterable]
"""A map over pieces of work: `map`, or a thread pool's."""


class Neighbours:
    """One class's rows, and who is nearest to whom, for any subset of them.

    Neighbours are Euclidean, distances in the rows' precision. A subset's are read from each row's sorted list of its
    `BUFFER` nearest in the whole class, and searched afresh for a row whose list has too few of the subset.

    Args:
        rows: (n_rows, n_dims) float32 or float64, of origin near their mean.
        k: neighbours a row that SMOTE draws from; fewer where a subset is smaller.
        pieces: how pieces of the distance matrix are mapped.
    """

    def __init__(self, rows: NDArray, k: int, pieces: Map = map) -> None:
        self.rows, self.k = rows, k
        self._squares = np.einsum("ij,ij->i", rows, rows)
        self._buffer = min(len(rows) - 1, max(BUFFER, 4 * k))
        height = max(1, min(512, DISTANCES // len(rows)))
        blocks = [np.arange(start, min(start + height, len(rows))) for start in range(0, len(rows), height)]
        everyone = np.arange(len(rows))
        self._sorted = np.concatenate(list(pieces(lambda block: self._search(block, everyone, self._buffer), blocks)))

    def nearest(self, kept: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Return the nearest rows (n_kept, min(k, n_kept - 1)), as indices of `rows`, of each row of a subset in it."""
        subset = np.flatnonzero(kept)
        k = min(self.k, len(subset) - 1)
        if k == 0:
            return np.empty((len(subset), 0), dtype=np.intp)
        lists = self._sorted[subset]
        inside = kept[lists]
        rank = np.cumsum(inside, axis=1, dtype=np.int32)
        short = rank[:, -1] < k
        found = np.empty((len(subset), k), dtype=np.intp)
        found[~short] = lists[~short][(inside & (rank <= k))[~short]].reshape(-1, k)
        if short.any():
            found[short] = self._search(subset[short], subset, k)
        return found

    def expected_moments(self, kept: NDArray[np.bool_], target: int) -> Moments:
        """Return the moments of a subset and its synthetic rows, `target` rows in all, averaged over SMOTE's draws.

        Args:
            kept: (n_rows,) the subset; at least one row.
            target: rows after SMOTE; where the subset has as many, none are added.
        """
        from scipy.sparse import csr_array

        small = self.rows[kept]
        n_small, extra = len(small), target - len(small)
        if extra <= 0:
            return Moments.of(small)
        if n_small == 1:  # nobody to draw towards: the one row, repeated
            one = Moments.of(small)
            return Moments(target, target * one.total, target * one.outer)
        nearest = self.nearest(kept)
        k = nearest.shape[1]
        weight = extra / (n_small * k)
        degree = k + np.bincount(nearest.ravel(), minlength=len(kept))[kept]
        starts = np.arange(0, nearest.size + 1, k)
        graph = csr_array(
            (np.full(nearest.size, weight / 3, self.rows.dtype), nearest.ravel(), starts),
            shape=(n_small, len(self.rows)),
        )
        weighted = graph @ self.rows
        weighted += (1 + weight / 3 * degree).astype(small.dtype)[:, None] * small
        outer = (small.T @ weighted).astype(np.float64)
        total = (1 + weight / 2 * degree).astype(small.dtype) @ small
        return Moments(target, total.astype(np.float64), (outer + outer.T) / 2)

    def _search(self, queries: NDArray[np.intp], candidates: NDArray[np.intp], k: int) -> NDArray[np.intp]:
        """Return the k nearest candidates of each query, nearest first, itself left out; both are indices of rows."""
        all_rows = len(candidates) == len(self.rows)
        others = self.rows if all_rows else self.rows[candidates]
        distance = self.rows[queries] @ others.T
        distance *= -2
        distance += self._squares[candidates]
        position = queries if all_rows else np.searchsorted(candidates, queries)
        distance[np.arange(len(queries)), position] = np.inf
        nearest = np.argpartition(distance, min(k, len(candidates) - 1), axis=1)[:, :k]
        order = np.argsort(np.take_along_axis(distance, nearest, axis=1), axis=1, kind="stable")
        return candidates[np.take_along_axis(nearest, order, axis=1)]


def sampled_rows(small: NDArray[np.float64], target: int, neighbours: int, seed: int) -> NDArray[np.float64]:
    """Return a class (n_small, n_dims) and imbalanced-learn's synthetic rows after it, `target` rows in all."""
    from imblearn.over_sampling import SMOTE

    if target <= len(small):
        return small
    if len(small) == 1:  # nobody to draw towards: the one row, repeated
        return np.repeat(small, target, axis=0)
    sampler = SMOTE(
        sampling_strategy={1: target}, k_neighbors=min(neighbours, len(small) - 1), random_state=seed
    )  # SMOTE reads the smaller class only; one row stands for the other, which need not be copied
    rows = np.concatenate([small, small[:1]])
    labels = np.r_[np.ones(len(small), dtype=int), 0]
    resampled, resampled_labels = sampler.fit_resample(rows, labels)
    return resampled[resampled_labels == 1]
