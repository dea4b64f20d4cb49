"""Intervals of predictions against their sampling distribution and scikit-learn; what is planted, and nulls."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import mean_absolute_error

from edp_assets.science.evidence.predictions import (
    bootstrap,
    leading_components,
    mean_prediction,
    paired_difference,
)


def test_bootstrap__measures_are_those_of_numpy_and_sklearn() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(60, 8, 400)
    predicted = true + rng.normal(0, 4, 400)
    found = bootstrap(predicted, true, resamples=200)
    assert found["pearson_r"].value == pytest.approx(np.corrcoef(predicted, true)[0, 1])
    error = mean_absolute_error(true, predicted)
    assert found["mean_absolute_error"].value == pytest.approx(error)
    assert found["mean_absolute_error_percent"].value == pytest.approx(100 * error / true.mean())
    assert all(each.low < each.value < each.high for each in found.values())


def test_bootstrap__the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    expected = 4 * np.sqrt(2 / np.pi)
    inside = []
    for _ in range(200):
        true = rng.normal(60, 8, 120)
        found = bootstrap(true + rng.normal(0, 4, 120), true, resamples=200)["mean_absolute_error"]
        inside.append(found.low <= expected <= found.high)
    assert 0.90 <= np.mean(inside) <= 0.99


def test_bootstrap__constant_predictions_correlate_with_nothing() -> None:
    found = bootstrap(np.full(50, 3.7), np.random.default_rng(0).normal(size=50), resamples=100)["pearson_r"]
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_bootstrap__bad_input_says_what_was_wanted() -> None:
    with pytest.raises(ValueError, match=r"wanted predicted and true values \(n,\), n at least 2; \(3,\) and \(4,\)"):
        bootstrap(np.zeros(3), np.zeros(4))


def test_paired_difference__is_clear_where_the_two_alone_are_not() -> None:
    rng = np.random.default_rng(2)
    hard = rng.gamma(2, 3, 300)  # people differ much more than the two predictions do
    others, errors = hard + 0.2, hard + rng.normal(0, 0.5, 300)
    found = paired_difference(errors, others, resamples=500)
    assert found.value == pytest.approx(0.2, abs=0.1)
    assert 0 < found.low < found.value < found.high
    half = 1.96 * (others - errors).std(ddof=1) / np.sqrt(300)  # the normal interval of a mean
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.012)
    same = paired_difference(hard, hard)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    with pytest.raises(ValueError, match="wanted errors of the same people"):
        paired_difference(hard, hard[1:])


def test_paired_difference__its_interval_is_of_95_per_cent() -> None:
    rng = np.random.default_rng(4)
    errors, others = rng.gamma(2, 3, (2, 400))
    found = paired_difference(errors, others, resamples=4000)
    wide = 2 * 1.96 * (others - errors).std(ddof=1) / np.sqrt(400)
    assert (found.high - found.low) / wide == pytest.approx(1, abs=0.06)  # of 90% it would be 0.84


def test_paired_difference__null_is_calibrated() -> None:
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(200):
        hard = rng.gamma(2, 3, 120)
        found = paired_difference(hard + rng.normal(0, 1, 120), hard + rng.normal(0, 1, 120), resamples=300)
        inside.append(found.low <= 0 <= found.high)
    assert 0.90 <= np.mean(inside) <= 0.98


def test_mean_prediction__is_the_mean_of_the_others() -> None:
    y = np.random.default_rng(0).normal(60, 8, 40)
    predicted = mean_prediction(y, folds=40, seed=0)
    assert predicted == pytest.approx((y.sum() - y) / 39)


def test_leading_components__are_those_of_sklearn_up_to_sign_and_leave_few_columns_alone() -> None:
    z = np.random.default_rng(0).normal(size=(60, 9)) * np.arange(1, 10) + 5
    found, wanted = leading_components(z, 4), PCA(4).fit_transform(z)
    assert np.abs(np.diag(found.T @ wanted)) == pytest.approx((wanted**2).sum(axis=0))
    assert leading_components(z, 9) == pytest.approx(z - z.mean(axis=0))
