"""Removing known factors from embeddings (paper, section 4.3): z - v b. No covariates of the association itself.

What factors do is fitted (`fit_adjustment`) and taken away (`remove_effects`) in two steps, so that it can be kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EMBEDDING_FACTOR = re.compile(r"embedding_pc([1-9]\d*)")
"""Names of factors that are made from the embeddings themselves: embedding_pc1, embedding_pc2, ..."""


@dataclass(frozen=True)
class Effect:
    """What one unit of a continuous factor, or one level of a categorical one, adds to an embedding.

    Attributes:
        factor: its name.
        level: the category; None where the factor is continuous.
        mean: the factor's mean; of a level, the share of participants who have it.
        coefficients: (n_dims,) change of z for one unit, or against the first level in sorted order, whose own are 0.
    """

    factor: str
    level: str | None
    mean: float
    coefficients: NDArray[np.float64]


@dataclass(frozen=True)
class Adjustment:
    """Factors' effects on embeddings, fitted all at once.

    Attributes:
        effects: one a continuous factor, and one a level of each categorical factor, its first level too.
        variance_explained: per factor, the share of the embeddings' total variance that it explains by itself.
        variance_removed: the share that all factors explain together, which is what `remove_effects` takes away.
        n: participants that it was fitted on.
    """

    effects: tuple[Effect, ...]
    variance_explained: dict[str, float]
    variance_removed: float
    n: int


@dataclass(frozen=True)
class Adjusted:
    """Embeddings without their factors' linear part.

    Attributes:
        z: (n_participants, n_dims) adjusted embeddings; each dimension keeps its mean.
        coefficients: per factor (n_columns, n_dims): change of z for one unit of a continuous factor (one column), or
            for each level of a categorical one against its first level, in sorted order.
        variance_explained: as in `Adjustment`.
        variance_removed: as in `Adjustment`.
    """

    z: NDArray[np.float64]
    coefficients: dict[str, NDArray[np.float64]]
    variance_explained: dict[str, float]
    variance_removed: float


def adjust_embeddings(z: NDArray, factors: Mapping[str, NDArray]) -> Adjusted:
    """Regress factors out of embeddings: `fit_adjustment`, then `remove_effects`, on the same participants."""
    fitted = fit_adjustment(z, factors)
    coefficients: dict[str, NDArray[np.float64]] = {}
    for name in factors:
        rows = [effect.coefficients for effect in fitted.effects if effect.factor == name]
        continuous = any(effect.factor == name and effect.level is None for effect in fitted.effects)
        coefficients[name] = np.stack(rows if continuous else rows[1:])
    z = remove_effects(z, factors, fitted.effects)
    return Adjusted(z, coefficients, fitted.variance_explained, fitted.variance_removed)


def fit_adjustment(z: NDArray, factors: Mapping[str, NDArray]) -> Adjustment:
    """Estimate what factors add to embeddings, all at once by least squares with an intercept (paper, section 4.3).

    Their order does not matter; collinear ones share their effect (the solution of smallest norm, with every column at
    unit variance).

    Args:
        z: (n_participants, n_dims).
        factors: name -> (n_participants,); numbers and booleans are continuous, strings are categories.

    Raises:
        ValueError: a factor is missing for somebody, constant, of the wrong length or type, or there are too many.
    """
    z = _checked(z)
    if not factors:
        return Adjustment((), {}, 0.0, len(z))
    columns = {name: _factor_columns(name, values, len(z)) for name, values in factors.items()}
    design = np.concatenate([c.centred for c in columns.values()], axis=1)
    if design.shape[1] >= len(z) - 1:
        sizes = ", ".join(f"{name}: {c.centred.shape[1]}" for name, c in columns.items())
        raise ValueError(
            f"{design.shape[1]} factor columns cannot be adjusted for with {len(z)} participants: "
            f"use fewer factors or levels ({sizes})"
        )
    centred = z - z.mean(axis=0)
    total = float((centred**2).sum())
    alone = {name: _share(_least_squares(c.centred, centred)[1], total) for name, c in columns.items()}
    coefficients, fitted = _least_squares(design, centred)
    effects: list[Effect] = []
    for name, c in columns.items():
        own, coefficients = np.split(coefficients, [c.centred.shape[1]])
        if c.levels:
            first = Effect(name, c.levels[0], float(1 - c.means.sum()), np.zeros(z.shape[1]))
            effects.append(first)
        names: list[str | None] = [*c.levels[1:]] if c.levels else [None]
        effects += [Effect(name, *each) for each in zip(names, c.means.tolist(), own, strict=True)]
    return Adjustment(tuple(effects), alone, _share(fitted, total), len(z))


def remove_effects(z: NDArray, factors: Mapping[str, NDArray], effects: Iterable[Effect]) -> NDArray[np.float64]:
    """Return embeddings (n_participants, n_dims) less their factors' effects: z - (v - mean v) b.

    Subtracted about the factors' means, so that each dimension keeps its mean among those who were fitted.

    Args:
        z: (n_participants, n_dims).
        factors: name -> (n_participants,), as `fit_adjustment` took them.
        effects: of `fit_adjustment`.

    Raises:
        ValueError: an effect is of a factor that is not given, or somebody has a level that was not fitted.
    """
    effects = list(effects)
    z = _checked(z).copy()
    if not effects:
        return z
    levels: dict[str, set[str]] = {}
    columns = []
    for effect in effects:
        if effect.factor not in factors:
            raise ValueError(f"no values of the factor {effect.factor}; given: {', '.join(factors) or 'none'}")
        values = np.asarray(factors[effect.factor])
        if effect.level is not None:
            levels.setdefault(effect.factor, set()).add(effect.level)
            values = values.astype(str) == effect.level
        columns.append(values.astype(np.float64) - effect.mean)
    for name, known in levels.items():
        if unknown := sorted(set(np.asarray(factors[name]).astype(str).tolist()) - known):
            fitted = ", ".join(sorted(known))
            raise ValueError(f"factor {name}: no effect of the level {unknown[0]!r} was fitted, only of {fitted}")
    return np.asarray(z - np.column_stack(columns) @ np.stack([effect.coefficients for effect in effects]))


def embedding_components(z: NDArray, k: int) -> NDArray[np.float64]:
    """Return the first `k` principal component scores (n_participants, k) of the embeddings, each of unit variance.

    A component's sign is set so that its largest loading is positive.

    Raises:
        ValueError: `k` is not between 1 and the rank of the centred embeddings.
    """
    z = _checked(z)
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


@dataclass(frozen=True)
class _Columns:
    """A factor as columns of the design: itself, or one indicator for each of its levels but the first."""

    centred: NDArray[np.float64]
    means: NDArray[np.float64]
    levels: tuple[str, ...] = ()


def _checked(z: NDArray) -> NDArray[np.float64]:
    z = np.asarray(z, dtype=np.float64)
    if z.ndim != 2 or not np.isfinite(z).all():
        raise ValueError(f"embeddings must be (n_participants, n_dims) without NaN or infinity, found shape {z.shape}")
    return z


def _factor_columns(name: str, values: NDArray, n_participants: int) -> _Columns:
    values = np.asarray(values)
    levels: tuple[str, ...] = ()
    if values.shape != (n_participants,):
        raise ValueError(
            f"factor {name}: one value a participant ({n_participants}) wanted, found shape {values.shape}"
        )
    if values.dtype.kind in "OUT":
        missing = sum(v is None or v != v for v in values.tolist())
        if not missing:
            names, codes = np.unique(values.astype(str), return_inverse=True)
            levels = tuple(names.tolist())
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
    if columns.shape[1] == 0 or np.ptp(columns) == 0:
        raise ValueError(f"factor {name}: the same for all {n_participants} participants; take it off adjust_for")
    means = columns.mean(axis=0)
    return _Columns(columns - means, means, levels)


def _least_squares(x: NDArray, y: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coefficients and fitted values; collinear columns share their effect (smallest norm)."""
    scale = x.std(axis=0)  # factors come in years, kg/m2, indicators: unit variance keeps the rank decision fair
    # Of a tall x, its small triangle has the same singular values and solutions, at a fraction of the time.
    orthonormal, triangle = np.linalg.qr(x / scale)
    coefficients = np.linalg.lstsq(triangle, orthonormal.T @ y, rcond=1e-10)[0]
    return coefficients / scale[:, None], (x / scale) @ coefficients


def _share(fitted: NDArray, total: float) -> float:
    return float((fitted**2).sum()) / total if total > 0 else 0.0
