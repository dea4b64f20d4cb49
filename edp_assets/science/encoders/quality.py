"""How good embeddings are: what they predict, how many dimensions they use, and the pixel control they must beat."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edp_assets.science.encoders.packs import Items

RIDGE_ALPHAS = np.logspace(-2, 5, 15)
_GRAM_COLUMNS = 16384
PIXEL_SLICES = 16
"""Central slices of each scan whose pixels are the linear control."""


@dataclass(frozen=True)
class Prediction:
    """How well a linear model predicts a trait out of sample (paper, Tables 3 and 4).

    Attributes:
        r: Pearson correlation of predicted and true values; 0 where the prediction is constant.
        mae: mean absolute error, in the trait's unit.
        mae_percent: `mae` in percent of the mean absolute true value.
    """

    r: float
    mae: float
    mae_percent: float


def ridge_prediction(z: NDArray[np.floating], y: NDArray[np.floating], folds: int = 10, seed: int = 0) -> Prediction:
    """Predict y from z by ridge regression, each value from a model that never saw it: see `out_of_fold`."""
    y = np.asarray(y, dtype=np.float64)
    predicted = out_of_fold(z, y, folds, seed)
    mae = float(np.abs(predicted - y).mean())
    constant = np.ptp(predicted) == 0 or np.ptp(y) == 0
    r = 0.0 if constant else float(np.corrcoef(predicted, y)[0, 1])
    scale = float(np.abs(y).mean())
    return Prediction(r, mae, 100 * mae / scale if scale else float("nan"))


def out_of_fold(
    z: NDArray[np.floating], y: NDArray[np.floating], folds: int = 10, seed: int = 0
) -> NDArray[np.float64]:
    """Return predictions (n_participants,) of y from z by ridge regression, each by a model that never saw the person.

    On standardised features; the penalty is chosen within each fold's training part, by leave-one-out error
    (scikit-learn's RidgeCV).

    Args:
        z: (n_participants, n_dims).
        y: (n_participants,).
        folds: parts of the cross-validation.
        seed: of the split.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    z, y = np.asarray(z, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if z.ndim != 2 or y.shape != (len(z),) or len(z) < 2 * folds:
        raise ValueError(f"wanted z (n, dims), y (n,) and n at least {2 * folds}; found {z.shape} and {y.shape}")
    if not (np.isfinite(z).all() and np.isfinite(y).all()):
        raise ValueError("wanted finite embeddings and trait, found missing or infinite values; leave those people out")
    model = make_pipeline(StandardScaler(), RidgeCV(alphas=RIDGE_ALPHAS))
    return np.asarray(cross_val_predict(model, z, y, cv=KFold(folds, shuffle=True, random_state=seed)))


def effective_rank(z: NDArray[np.floating]) -> float:
    """Return how many dimensions z (n_participants, n_dims) uses: exp of the entropy of its singular values.

    The singular values are those of the centred matrix, as shares of their sum (Roy and Vetterli 2007). 0 where all
    rows are the same: an encoder that has collapsed.
    """
    singular = np.linalg.svd(z - z.mean(axis=0), compute_uv=False)
    singular = singular[singular > 1e-6 * max(1e-30, float(np.abs(z).max()))]
    if not len(singular):
        return 0.0
    share = singular / singular.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


@dataclass(frozen=True)
class Spread:
    """How much embeddings tell scans apart.

    Attributes:
        participants: rows.
        dimensions: columns.
        not_finite: values that are no number.
        constant: dimensions that are the same in all rows.
        effective_rank: as `effective_rank`; 0 where all rows are the same, or fewer than two.
        cosine_similarity: mean over all pairs of rows; 1 where all point the same way, 0 where there is no pair.
    """

    participants: int
    dimensions: int
    not_finite: int
    constant: int
    effective_rank: float
    cosine_similarity: float


def spread(batches: Iterable[NDArray[np.floating]]) -> Spread:
    """Measure embeddings (n_participants, n_dims), given in batches, in one pass: memory is n_dims x n_dims.

    Sums are about the first row, in float64, so that a spread of 1e-6 of the mean is still told.
    """
    n = dims = not_finite = 0
    origin = total = outer = units = low = high = np.empty(0)
    for batch in batches:
        z = np.asarray(batch, dtype=np.float64)
        not_finite += int((~np.isfinite(z)).sum())
        if not len(z) or not_finite:
            n, dims = n + len(z), z.shape[1] if len(z) else dims
            continue
        if not len(origin):
            dims, origin = z.shape[1], z[0].copy()
            total, units, low, high = np.zeros(dims), np.zeros(dims), z[0].copy(), z[0].copy()
            outer = np.zeros((dims, dims))
        n += len(z)
        units += (z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-300)).sum(axis=0)
        low, high = np.minimum(low, z.min(axis=0)), np.maximum(high, z.max(axis=0))
        centred = z - origin
        total += centred.sum(axis=0)
        outer += centred.T @ centred
    if not_finite or n < 2:
        return Spread(n, dims, not_finite, 0, 0.0, 0.0)
    variance = np.linalg.eigvalsh(outer - np.outer(total, total) / n)
    singular = np.sqrt(np.clip(variance, 0, None))
    singular = singular[singular > 1e-6 * max(1e-30, float(np.abs([low, high]).max()))]
    share = singular / singular.sum() if len(singular) else singular
    rank = float(np.exp(-(share * np.log(share)).sum())) if len(singular) else 0.0
    cosine = (float(units @ units) - n) / (n * (n - 1))
    return Spread(n, dims, 0, int((low == high).sum()), rank, cosine)


def central_slices(slices: NDArray[np.uint8], n: int) -> NDArray[np.uint8]:
    """Return a scan's n central slices of (n_slices, ...), zero-padded at both ends where it has fewer."""
    skip = max(0, (len(slices) - n) // 2)
    central = slices[skip : skip + n]
    first = (n - len(central)) // 2
    out = np.zeros((n, *slices.shape[1:]), dtype=np.uint8)
    out[first : first + len(central)] = central
    return out


def pixel_pca(pixels: NDArray[np.uint8], n_components: int) -> NDArray[np.float64]:
    """Return the first principal components of the pixels: what plain linear algebra gets out of the same scans.

    The components come exactly from the rows' inner products, so that memory is the 8-bit pixels and
    n_scans x n_scans; beyond some 10,000 scans take a sample.

    Args:
        pixels: (n_scans, ...), such as each scan's `central_slices`.
        n_components: at most n_scans - 1; further components carry no variance.

    Returns:
        (n_scans, n_components), largest variance first, centred.
    """
    from scipy.linalg import eigh

    n = len(pixels)
    if not 1 <= n_components < n:
        raise ValueError(f"wanted 1 to n_scans - 1 = {n - 1} components, found {n_components}")
    flat = pixels.reshape(n, -1)
    gram = np.zeros((n, n))
    for first in range(0, flat.shape[1], _GRAM_COLUMNS):
        block = flat[:, first : first + _GRAM_COLUMNS].astype(np.float32)
        block -= block.mean(axis=0)
        gram += block @ block.T
    variance, vectors = eigh(gram, subset_by_index=[n - n_components, n - 1])
    return vectors[:, ::-1] * np.sqrt(np.clip(variance[::-1], 0, None))


def nearest(z: NDArray[np.floating], queries: NDArray[np.integer], k: int) -> NDArray[np.int64]:
    """Return for each query row of z (n_participants, n_dims) the k rows most alike, itself left out.

    Alike is cosine similarity about the mean, as directions from the average organ.
    """
    centred = z - z.mean(axis=0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    similarity = unit[queries] @ unit.T
    similarity[np.arange(len(queries)), queries] = -np.inf
    return np.argsort(-similarity, axis=1, kind="stable")[:, :k]


def show_reconstructions(
    encoder: Any, items: Items, n: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return random items as they are, as the encoder saw them (NaN where hidden) and as it rebuilt them.

    Each (n, n_channels, n_rows, n_columns), 0..1; of a subvolume its middle slice.
    """
    import torch

    rows = np.sort(np.random.default_rng(seed).choice(len(items), min(n, len(items)), replace=False))
    chosen = torch.from_numpy(items.read(rows))
    filled, hidden = encoder.reconstruct(chosen, torch.Generator().manual_seed(seed))
    shown = (chosen.float() / 255, torch.where(hidden > 0, torch.nan, chosen.float() / 255), filled)
    middle = [a if a.ndim == 4 else a[:, :, a.shape[2] // 2] for a in shown]
    return middle[0].numpy(), middle[1].numpy(), middle[2].float().numpy()
