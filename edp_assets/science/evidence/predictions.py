"""What features of scans predict of age and volume, out of sample, with intervals over people (Tables 3 and 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
_RESAMPLES_AT_ONCE = 25
"""Of 10,000 people 25 resamples are 2 MB an array."""


@dataclass(frozen=True)
class Measure:
    """An estimate with its 95% interval."""

    value: float
    low: float
    high: float


def bootstrap(
    predicted: NDArray[np.float64],
    true: NDArray[np.float64],
    seed: int = 0,
    resamples: int = RESAMPLES,
    mean: NDArray[np.float64] | float = 0.0,
) -> dict[str, Measure]:
    """Measure predictions (n_participants,) of people whom their models had not seen, with percentile intervals.

    People are resampled, predictions are not made anew: the interval tells what other people of the same kind would
    give, not what other training samples would.

    Args:
        predicted: (n_participants,).
        true: likewise.
        seed: of the resampling.
        resamples: how many.
        mean: of the true values in each one's training sample (`mean_prediction`), which correlations leave out: it is
            low where those left out of the sample are high, so that what predicts nothing would correlate inversely.

    Returns:
        `pearson_r` (0 where the predictions are constant), `mean_absolute_error` (in the target's unit) and
        `mean_absolute_error_percent` (of the mean absolute true value).
    """
    from scipy.stats import bootstrap as resample

    if predicted.shape != true.shape or predicted.ndim != 1 or len(true) < 2:
        raise ValueError(f"wanted predicted and true values (n,), n at least 2; {predicted.shape} and {true.shape}")
    found = {}
    for name, statistic in (("pearson_r", _pearson_r), ("mean_absolute_error", _error), (PERCENT, _error_percent)):
        known = predicted - mean if name == "pearson_r" else predicted
        interval = resample(
            (known, true), statistic, paired=True, vectorized=True, n_resamples=resamples, method="percentile",
            batch=_RESAMPLES_AT_ONCE, rng=np.random.default_rng(seed),
        ).confidence_interval  # fmt: skip
        value = float(statistic(known, true, axis=-1))
        found[name] = Measure(value, float(interval.low), float(interval.high))
    return found


def paired_difference(
    errors: NDArray[np.float64], others: NDArray[np.float64], seed: int = 0, resamples: int = RESAMPLES
) -> Measure:
    """Measure by how much errors (n_participants,) are below others of the same people, with a percentile interval.

    The mean of the differences, people resampled: what makes a person hard for both cancels, so that it can be clear
    where the two intervals of their means overlap.
    """
    from scipy.stats import bootstrap as resample

    if errors.shape != others.shape or errors.ndim != 1 or len(errors) < 2:
        raise ValueError(f"wanted errors of the same people (n,), n at least 2; found {errors.shape}, {others.shape}")
    below = others - errors
    if not below.any():
        return Measure(0.0, 0.0, 0.0)
    interval = resample(
        (below,), np.mean, vectorized=True, n_resamples=resamples, method="percentile", batch=_RESAMPLES_AT_ONCE,
        rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return Measure(float(below.mean()), float(interval.low), float(interval.high))


PERCENT = "mean_absolute_error_percent"


def _pearson_r(a: NDArray[np.float64], b: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    a, b = (values - values.mean(axis=axis, keepdims=True) for values in (a, b))
    scale = np.sqrt((a * a).sum(axis=axis) * (b * b).sum(axis=axis))
    # Rounding leaves a constant's differences from its mean at some 1e-16 of it.
    return np.where(scale > 1e-12, (a * b).sum(axis=axis) / np.maximum(scale, 1e-12), 0.0)


def _error(predicted: NDArray[np.float64], true: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return np.abs(predicted - true).mean(axis=axis)


def _error_percent(predicted: NDArray[np.float64], true: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return 100 * _error(predicted, true, axis) / np.abs(true).mean(axis=axis)


def mean_prediction(y: NDArray[np.floating], folds: int, seed: int) -> NDArray[np.float64]:
    """Predict everyone by the mean of the other folds: what knowing nothing reaches, (n_participants,)."""
    from sklearn.dummy import DummyRegressor
    from sklearn.model_selection import KFold, cross_val_predict

    split = KFold(folds, shuffle=True, random_state=seed)
    return np.asarray(cross_val_predict(DummyRegressor(), np.zeros((len(y), 1)), y, cv=split))


def leading_components(z: NDArray[np.floating], n_components: int) -> NDArray[np.float64]:
    """Return z (n_participants, n_dims), or its first principal components where it has more dimensions than wanted.

    Organs are combined side by side: ten of 768 dimensions each would be more columns than a ridge of all people takes.
    """
    centred = np.asarray(z, dtype=np.float64) - np.mean(z, axis=0, dtype=np.float64)
    if centred.shape[1] <= n_components:
        return centred
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return centred @ vectors[:, : -n_components - 1 : -1]
