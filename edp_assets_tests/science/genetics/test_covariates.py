import logging

import numpy as np
import pytest

from edp_assets.science.genetics.covariates import covariate_basis, indicator_columns, residualise


def test_covariate_basis__spans_intercept_and_covariates():
    rng = np.random.default_rng(0)
    age = rng.uniform(45, 80, 200)
    X = rng.normal(size=(200, 3))
    Q = covariate_basis([age, age**2, X])
    assert Q.shape == (200, 6)
    np.testing.assert_allclose(Q.T @ Q, np.eye(6), atol=1e-12)
    design = np.column_stack([np.ones(200), age, age**2, X])
    np.testing.assert_allclose(residualise(design, Q) / np.linalg.norm(design, axis=0), 0, atol=1e-13)


def test_covariate_basis__drops_and_counts_collinear_and_constant(caplog):
    rng = np.random.default_rng(0)
    sex = rng.integers(0, 2, 100)
    with caplog.at_level(logging.INFO):
        Q = covariate_basis([sex, 1 - sex, np.full(100, 1e6 + 0.1), np.zeros(100), np.column_stack([sex * 3.0 + 7])])
    assert Q.shape == (100, 2)
    assert "dropped 4 constant or collinear of 5 covariate columns" in caplog.text


def test_covariate_basis__no_covariates_is_the_intercept():
    np.testing.assert_allclose(covariate_basis([], n_participants=4), np.full((4, 1), 0.5))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([np.array([1.0, np.nan, 2.0, 3.0])], "covariate 0: 1 of 4 participants have no finite value"),
        ([np.zeros(4), np.zeros(5)], r"found columns of \[4, 5\] values"),
        ([np.eye(5)], "leave nothing to test in 5 participants"),
    ],
)
def test_covariate_basis__bad_input(columns, message):
    with pytest.raises(ValueError, match=message):
        covariate_basis(columns)


def test_indicator_columns__leaves_the_most_common_level_out():
    np.testing.assert_array_equal(indicator_columns(["b", "a", "b", "c"]), [[0, 0], [1, 0], [0, 0], [0, 1]])
    assert indicator_columns(["x", "x"]).shape == (2, 0)


def test_residualise__equals_least_squares():
    rng = np.random.default_rng(1)
    X, Y = rng.normal(size=(50, 3)), rng.normal(size=(50, 2))
    design = np.column_stack([np.ones(50), X])
    expected = Y - design @ np.linalg.lstsq(design, Y)[0]
    Q = covariate_basis([X])
    np.testing.assert_allclose(residualise(Y, Q), expected, atol=1e-12)
    np.testing.assert_allclose(residualise(Y[:, 0], Q), expected[:, 0], atol=1e-12)
