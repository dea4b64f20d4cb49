"""Quality measures against scikit-learn, closed forms and nulls."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from edp_assets.science.encoders.quality import central_slices, effective_rank, nearest, pixel_pca, ridge_prediction


def test_ridge_prediction__finds_a_planted_signal():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 12))
    y = 1500 + 100 * z[:, 0] + rng.normal(scale=50, size=300)
    found = ridge_prediction(z, y)
    assert found.r == pytest.approx(np.sqrt(0.8), abs=0.03)
    assert found.mae == pytest.approx(50 * np.sqrt(2 / np.pi), rel=0.12)
    assert found.mae_percent == pytest.approx(100 * found.mae / np.abs(y).mean())


def test_ridge_prediction__is_out_of_sample_under_the_null():
    rng = np.random.default_rng(0)
    r = [ridge_prediction(rng.normal(size=(120, 100)), rng.normal(size=120), seed=s).r for s in range(4)]
    assert np.max(r) < 0.25


def test_ridge_prediction__does_not_depend_on_units_and_is_reproducible():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(100, 5))
    y = z[:, 0] + rng.normal(size=100)
    assert ridge_prediction(z * 1e4 + 7, y, seed=1).r == pytest.approx(ridge_prediction(z, y, seed=1).r)
    assert ridge_prediction(z, y, seed=1) == ridge_prediction(z, y, seed=1)


def test_ridge_prediction__constant_dims_and_trait():
    z = np.zeros((40, 3))
    assert ridge_prediction(z, np.full(40, 2.0)).r == 0
    assert ridge_prediction(z, np.full(40, 2.0)).mae == pytest.approx(0)


def test_ridge_prediction__bad_input():
    with pytest.raises(ValueError, match="n at least 20"):
        ridge_prediction(np.zeros((10, 3)), np.zeros(10))
    with pytest.raises(ValueError, match="leave those people out"):
        ridge_prediction(np.zeros((30, 3)), np.full(30, np.nan))


def test_effective_rank__closed_forms():
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(200, 8)) - rng.normal(size=(200, 8)).mean(axis=0))
    basis, _ = np.linalg.qr(basis - basis.mean(axis=0))
    assert effective_rank(basis) == pytest.approx(8)
    assert effective_rank(basis @ np.ones((8, 30)) + 4) == pytest.approx(1)
    assert effective_rank(np.ones((50, 5))) == 0
    shares = np.array([0.5, 0.25, 0.25])
    assert effective_rank(basis[:, :3] * shares) == pytest.approx(np.exp(1.5 * np.log(2)))


def test_pixel_pca__equals_scikit_learn_on_the_padded_central_slices():
    rng = np.random.default_rng(0)
    scans = [rng.integers(0, 256, (n, 2, 6, 6)).astype(np.uint8) for n in (2, 4, 5, 9, 4, 3, 4)]
    grid = np.zeros((7, 4, 2, 6, 6))
    grid[0, 1:3] = scans[0]
    grid[1], grid[2], grid[3] = scans[1], scans[2][:4], scans[3][2:6]
    grid[4], grid[5, :3], grid[6] = scans[4], scans[5], scans[6]
    wanted = PCA(3).fit_transform(grid.reshape(7, -1))
    found = pixel_pca(np.stack([central_slices(scan, 4) for scan in scans]), 3)
    assert found.shape == (7, 3)
    signs = np.sign((found * wanted).sum(axis=0))
    np.testing.assert_allclose(found * signs, wanted, rtol=1e-3, atol=1e-2)


def test_pixel_pca__wanted_components_are_few_enough():
    with pytest.raises(ValueError, match="n_scans - 1 = 2 components, found 3"):
        pixel_pca(np.zeros((3, 1, 2, 2), dtype=np.uint8), 3)


def test_nearest__equals_scikit_learn_about_the_mean():
    from sklearn.neighbors import NearestNeighbors

    z = np.random.default_rng(0).normal(size=(60, 8)) + 5
    found = nearest(z, np.array([3, 17]), 4)
    wanted = NearestNeighbors(n_neighbors=5, metric="cosine").fit(z - z.mean(axis=0))
    assert found.tolist() == wanted.kneighbors((z - z.mean(axis=0))[[3, 17]])[1][:, 1:].tolist()


def test_nearest__a_copy_is_nearest_and_oneself_is_left_out():
    z = np.random.default_rng(0).normal(size=(20, 4))
    z[11] = z[5]
    assert nearest(z, np.array([5]), 3)[0, 0] == 11
    assert 5 not in nearest(z, np.array([5]), 19)
