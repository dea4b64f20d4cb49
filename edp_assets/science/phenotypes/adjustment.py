"""Removing known factors from embeddings (paper, section 4.3): z - v b. No covariates of the association itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EMBEDDING_FACTOR = re.compile(r"embedding_pc([1-9]\d*)")
"""Names of factors that are made from the embeddings themselves: embedding_pc1, embedding_pc2, ..."""


@dataclass(frozen=True)
class Adjusted:
    """Embeddings without their factors' linear part.

    Attributes:
        z: (n_participants, n_dims) adjusted embeddings; each dimension keeps its mean.
        coefficients: per factor (n_columns, n_dims): change of z for one unit of a continuous factor (one column), or
            for each level of a categorical one against its first level, in sorted order.
        variance_explained: per factor, the share of the embeddings' total variance that it explains by itself.
        variance_removed: the share that all factors explain together, which is what was subtracted.
    """

    z: NDArray[np.float64]
    coefficients: dict[str, NDArray[np.float64]]
    variance_explained: dict[str, float]
    variance_removed: float


def adjust_embeddings(z: NDArray, factors: Mapping[str, NDArray]) -> Adjusted:
    """Regress factors out of embeddings, all at once by least squares (paper, section 4.3).

    The model has an intercept, which stays: only the centred factors' part is subtracted.

    Args:
        z: (n_participants, n_dims).
        factors: name -> (n_participants,); numbers and booleans are continuous, strings are categories.

    Raises:
        ValueError: a factor is missing for somebody, constant, of the wrong length or type, or there are too many.
    """
    z = np.array(z, dtype=np.float64)
    if z.ndim != 2 or not np.isfinite(z).all():
        raise ValueError(f"embeddings must be (n_participants, n_dims) without NaN or infinity, found shape {z.shape}")
    if not factors:
        return Adjusted(z, {}, {}, 0.0)
    columns = {name: _factor_columns(name, values, len(z)) for name, values in factors.items()}
    design = np.concatenate(list(columns.values()), axis=1)
    if design.shape[1] >= len(z) - 1:
        raise ValueError(
            f"{design.shape[1]} factor columns cannot be adjusted for with {len(z)} participants: "
            f"use fewer factors or levels ({', '.join(f'{k}: {v.shape[1]}' for k, v in columns.items())})"
        )
    centred = z - z.mean(axis=0)
    coefficients, fitted = _least_squares(design, centred)
    total = float((centred**2).sum())
    alone = {name: _share(_least_squares(x, centred)[1], total) for name, x in columns.items()}
    ends = np.cumsum([x.shape[1] for x in columns.values()])[:-1]
    parts = dict(zip(columns, np.split(coefficients, ends), strict=True))
    return Adjusted(z - fitted, parts, alone, _share(fitted, total))


def embedding_components(z: NDArray, k: int) -> NDArray[np.float64]:
    """Return the first `k` principal component scores (n_participants, k) of the embeddings, each of unit variance.

    A component's sign is set so that its largest loading is positive.

    Raises:
        ValueError: `k` is not between 1 and the rank of the centred embeddings.
    """
    z = np.asarray(z, dtype=np.float64)
    if z.ndim != 2 or not np.isfinite(z).all():
        raise ValueError(f"embeddings must be (n_participants, n_dims) without NaN or infinity, found shape {z.shape}")
    centred = z - z.mean(axis=0)
    # The d x d scatter has the same components as z and stays small however many participants there are.
    values, vectors = np.linalg.eigh(centred.T @ centred)
    rank = int((values > max(values[-1], 0.0) * 1e-10).sum())
    if not 1 <= k <= rank:
        raise ValueError(f"the embeddings have {rank} principal components, component {k} was wanted")
    vectors = vectors[:, ::-1][:, :k]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(k)])
    scores = centred @ vectors
    return scores / scores.std(axis=0)


def embedding_factors(z: NDArray, names: Iterable[str]) -> dict[str, NDArray[np.float64]]:
    """Return those factors (n_participants,) among `names` that are embedding_pc<k>, ready for `adjust_embeddings`."""
    wanted = {name: int(match[1]) for name in names if (match := EMBEDDING_FACTOR.fullmatch(name))}
    if not wanted:
        return {}
    components = embedding_components(z, max(wanted.values()))
    return {name: components[:, k - 1] for name, k in wanted.items()}


def _factor_columns(name: str, values: NDArray, n_participants: int) -> NDArray[np.float64]:
    """Return a factor's centred columns: itself, or one indicator for each level but the first."""
    values = np.asarray(values)
    if values.shape != (n_participants,):
        raise ValueError(
            f"factor {name}: one value a participant ({n_participants}) wanted, found shape {values.shape}"
        )
    if values.dtype.kind in "OUT":
        missing = sum(v is None or v != v for v in values.tolist())
        if not missing:
            levels, codes = np.unique(values.astype(str), return_inverse=True)
            columns = np.eye(len(levels))[codes][:, 1:]
    elif values.dtype.kind in "biuf":
        columns = values.astype(np.float64)[:, None]
        missing = int((~np.isfinite(columns)).sum())
    else:
        raise ValueError(f"factor {name}: numbers or strings wanted, found {values.dtype}")
    if missing:
        raise ValueError(
            f"factor {name}: missing for {missing} of {n_participants} participants; leave these participants out first"
        )
    if columns.shape[1] == 0 or (values.dtype.kind in "biuf" and np.ptp(columns) == 0):
        raise ValueError(f"factor {name}: the same for all {n_participants} participants; take it off adjust_for")
    return columns - columns.mean(axis=0)


def _least_squares(x: NDArray, y: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coefficients and fitted values; collinear columns share their effect (smallest norm)."""
    scale = x.std(axis=0)  # factors come in years, kg/m2, indicators: unit variance keeps the rank decision fair
    coefficients = np.linalg.lstsq(x / scale, y, rcond=1e-10)[0]
    return coefficients / scale[:, None], (x / scale) @ coefficients


def _share(fitted: NDArray, total: float) -> float:
    return float((fitted**2).sum()) / total if total > 0 else 0.0
