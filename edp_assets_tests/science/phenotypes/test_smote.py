"""SMOTE's moments and neighbours against scikit-learn, imbalanced-learn and its own average."""

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE
from sklearn.neighbors import NearestNeighbors

from edp_assets.science.phenotypes.discriminant import Moments
from edp_assets.science.phenotypes.smote import Neighbours, sampled_rows


@pytest.fixture(scope="module")
def small():
    return np.random.default_rng(0).normal(size=(300, 6))


@pytest.mark.parametrize("kept_share", [1.0, 0.6, 0.1, 0.02])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nearest__equal_sklearn_in_any_subset(small, kept_share, dtype):
    """At a tenth most rows' lists run out, so both ways of finding neighbours are tried."""
    rows = small.astype(dtype)
    kept = np.random.default_rng(1).random(300) < kept_share
    k = min(5, kept.sum() - 1)
    nearest = Neighbours(rows, 5).nearest(kept)
    theirs = NearestNeighbors(n_neighbors=k).fit(rows[kept]).kneighbors(return_distance=False)
    np.testing.assert_array_equal(nearest, np.flatnonzero(kept)[theirs])


def test_nearest__a_single_row_has_none(small):
    assert Neighbours(small[:1], 5).nearest(np.array([True])).shape == (1, 0)
    kept = np.arange(300) == 7
    assert Neighbours(small, 5).nearest(kept).shape == (1, 0)


def test_sampled_rows__equal_imblearn_on_both_classes(small):
    z = np.concatenate([small, small[:40] + 1])
    cases = np.arange(340) >= 300
    resampled, labels = SMOTE(k_neighbors=4, random_state=3).fit_resample(z, cases)
    np.testing.assert_array_equal(sampled_rows(z[cases], 300, 4, 3), resampled[labels])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_expected_moments__are_the_average_over_draws(small, dtype):
    kept = np.arange(300) < 50
    expected = Neighbours(small.astype(dtype), 5).expected_moments(kept, 450)
    draws = [Moments.of(sampled_rows(small[kept], 450, 5, seed)) for seed in range(100)]
    assert expected.count == draws[0].count == 450
    for name in ("total", "outer"):
        drawn = np.array([getattr(m, name) for m in draws])
        error = drawn.std(axis=0) / np.sqrt(len(draws))
        assert (np.abs(getattr(expected, name) - drawn.mean(axis=0)) < 5 * error).all()


@pytest.mark.parametrize("n_kept", [1, 2, 40])
def test_expected_moments__of_few_rows_and_of_enough_rows(small, n_kept):
    kept = np.arange(300) < n_kept
    neighbours = Neighbours(small, 5)
    assert neighbours.expected_moments(kept, 100).count == 100
    as_they_are = neighbours.expected_moments(kept, n_kept)
    np.testing.assert_allclose(as_they_are.outer, Moments.of(small[kept]).outer)
    one = neighbours.expected_moments(np.arange(300) == 3, 10)
    np.testing.assert_allclose(one.scatter, 0, atol=1e-9)
    assert len(sampled_rows(small[:1], 10, 5, 0)) == 10
