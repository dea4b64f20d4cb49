import numpy as np
import pytest

from edp_assets.science.genetics.covariates import covariate_basis, residualise
from edp_assets.science.genetics.projection import (
    LARGEST_OUTSIDE,
    Projector,
    associate,
    project_block,
    score_coordinates,
    whitened_basis,
)
from edp_assets.science.genetics.regression import associate_directly

N, DIMS = 3000, 48


@pytest.fixture(scope="module")
def cohort():
    """Genotypes, covariate basis, and independent directions that carry variants of growing effect."""
    rng = np.random.default_rng(3)
    Q = covariate_basis([rng.normal(size=(N, 3)), np.arange(N) % 2])
    G = rng.binomial(2, rng.uniform(0.01, 0.5, size=(80, 1)), size=(80, N)).astype(np.float32)
    G[rng.random(G.shape) < 0.01] = np.nan
    factors = rng.normal(size=(N, DIMS))
    for k, share in enumerate((0.01, 0.05, 0.2, 0.4)):
        g = np.nan_to_num(G[k] - np.nanmean(G[k])).astype(np.float64)
        factors[:, k] = factors[:, k] * np.sqrt(1 - share) + g / np.linalg.norm(g) * np.sqrt(N * share)
    return rng, G, Q, factors


def embeddings(cohort, condition: float):
    """[z, z/|z|, volume] of embeddings of a condition number."""
    rng, _, _, factors = cohort
    rotation = np.linalg.qr(rng.normal(size=(DIMS, DIMS)))[0]
    z = factors @ (np.logspace(0, -np.log10(condition), DIMS)[:, None] * rotation)
    z = z / z.std() + 3
    return np.column_stack([z, z / np.linalg.norm(z, axis=1, keepdims=True), rng.normal(1500, 200, N)])


@pytest.mark.parametrize("condition", [1, 1e3, 2e5, 1e7])
def test_associate__projection_equals_direct_regression(cohort, condition):
    rng, G, Q, factors = cohort
    Z = embeddings(cohort, condition)
    if condition > 1e5:
        assert np.linalg.cond(residualise(Z[:, :DIMS], Q)) > 1e5
    # Scores of both kinds, the volume, and the factors themselves, which live in the smallest directions too.
    weights = np.linalg.lstsq(Z[:, :DIMS] - Z[:, :DIMS].mean(axis=0), factors, rcond=1e-14)[0]
    Y = np.column_stack([Z[:, :DIMS] @ weights, 1 - Z[:, DIMS : 2 * DIMS] @ rng.normal(size=(DIMS, 5)), 3 * Z[:, -1]])
    W = whitened_basis(Z, Q)
    c, yy, outside = score_coordinates(Y, W, Q)
    assert outside.max() < LARGEST_OUTSIDE
    block = project_block(G, W.astype(np.float32), Q)
    assert block.gz.dtype == np.float32
    assert block.gz.shape == (80, W.shape[1])
    projected = associate(block.gz, block.gg, c, yy, block.n, Q.shape[1])
    direct, stats = associate_directly(G.astype(np.float64), Y, Q)
    assert direct.neg_log_10_p_value.max() > 300
    np.testing.assert_allclose(projected.neg_log_10_p_value, direct.neg_log_10_p_value, atol=1e-3)
    np.testing.assert_allclose(projected.beta / direct.standard_error, direct.beta / direct.standard_error, atol=1e-4)
    np.testing.assert_allclose(projected.standard_error, direct.standard_error, rtol=1e-4)
    np.testing.assert_allclose(block.effect_allele_frequency, stats.effect_allele_frequency, rtol=1e-6)
    np.testing.assert_array_equal(block.missing, stats.missing)


def test_whitened_basis__is_orthonormal_and_free_of_covariates(cohort):
    _, _, Q, _ = cohort
    W = whitened_basis(embeddings(cohort, 1e7), Q)
    np.testing.assert_allclose(W.T @ W, np.eye(W.shape[1]), atol=1e-13)
    np.testing.assert_allclose(W.T @ Q, 0, atol=1e-13)


def test_whitened_basis__drops_what_adds_nothing(cohort):
    _, _, Q, factors = cohort
    Z = np.column_stack([factors, factors[:, :5] * 1e6, factors @ np.ones(DIMS), np.full(N, 7.0), Q[:, 1] * 3 + 2])
    assert whitened_basis(Z, Q).shape == (N, DIMS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda Z: np.where(np.arange(N)[:, None] == 4, np.nan, Z), f"1 of {N} participants have no finite embedding"),
        (lambda Z: Z[:10], "Z has 10 participants and Q 3000"),
        (lambda Z: np.ones((N, 3)), "all 3 columns of Z are constant or explained"),
    ],
)
def test_whitened_basis__bad_input(cohort, change, message):
    _, _, Q, factors = cohort
    with pytest.raises(ValueError, match=message):
        whitened_basis(change(factors), Q)


def test_score_coordinates__tells_what_is_outside(cohort):
    rng, _, Q, factors = cohort
    W = whitened_basis(factors, Q)
    inside, noise = W[:, 0], rng.normal(size=N)
    _, _, outside = score_coordinates(inside, W, Q)
    assert outside < 1e-13
    noise = residualise(noise - W @ (W.T @ noise), Q)
    _, yy, outside = score_coordinates(inside + noise / np.linalg.norm(noise), W, Q)
    np.testing.assert_allclose(outside, 0.5)
    np.testing.assert_allclose(yy, 2)
    assert score_coordinates(np.tanh(factors[:, 0]), W, Q)[2] > LARGEST_OUTSIDE


def test_associate__one_score_and_shapes(cohort):
    _, G, Q, factors = cohort
    W = whitened_basis(factors, Q)
    block = project_block(G, W, Q)
    c, yy, _ = score_coordinates(factors[:, 0], W, Q)
    one = associate(block.gz, block.gg, c, yy, block.n, Q.shape[1])
    assert one.beta.shape == (80,)
    with pytest.raises(ValueError, match=r"gz is \(80, 48\): wanted \(80, 47\)"):
        associate(block.gz, block.gg, c[1:], yy, block.n, Q.shape[1])
    with pytest.raises(ValueError, match="wanted the same, in one order"):
        project_block(G[:, 1:], W, Q)


def test_project_block__untestable_variants(cohort):
    _, _, Q, factors = cohort
    W = whitened_basis(factors, Q)
    G = np.stack([np.ones(N), 2.0 * (np.arange(N) % 2), np.full(N, np.nan)]).astype(np.float32)
    block = project_block(G, W, Q)
    np.testing.assert_array_equal(block.gg, 0)
    c, yy, _ = score_coordinates(factors[:, 0], W, Q)
    assert np.isnan(associate(block.gz, block.gg, c, yy, block.n, Q.shape[1]).neg_log_10_p_value).all()


def test_projector__hard_calls_give_what_dosages_give(cohort):
    _, G, Q, factors = cohort
    W = whitened_basis(factors, Q)
    G = np.vstack([G, np.full((1, N), 2.0), np.full((1, N), np.nan)]).astype(np.float32)
    calls = np.where(np.isnan(G), -9, G).astype(np.int8)
    projector, dosages = Projector(W, Q), project_block(G, W, Q)
    # Twice, and a smaller block between: the room that is kept holds nothing of the block before.
    for rows in (slice(None), slice(3, 7), slice(None)):
        found = projector.project(calls[rows])
        np.testing.assert_allclose(found.gg, dosages.gg[rows], rtol=1e-6)
        np.testing.assert_allclose(found.gz / np.sqrt(N), dosages.gz[rows] / np.sqrt(N), atol=2e-6)
        for name in ("effect_allele_frequency", "missing", "minor_allele_count", "constant"):
            np.testing.assert_allclose(getattr(found.stats, name), getattr(dosages.stats, name)[rows], rtol=1e-9)
    assert found.gg[-2:].tolist() == [0, 0]
    with pytest.raises(ValueError, match="the block has 2999 participants"):
        projector.project(calls[:, 1:])
