"""LOCO offsets of the projection GWAS: exact against least squares, linear, out of fold, calibrated; their gain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy import stats

from edp_assets.science.genetics.calibration import lambda_gc
from edp_assets.science.genetics.covariates import covariate_basis
from edp_assets.science.genetics.loco_ridge import LocoRidge
from edp_assets.science.genetics.projection import Projector, score_coordinates, whitened_basis
from edp_assets.science.genetics.score_tests import ScoreTests

N, CHROMOSOMES, A_CHROMOSOME = 1500, ("1", "2", "3"), 100
M = len(CHROMOSOMES) * A_CHROMOSOME
CHROMOSOME = np.repeat(CHROMOSOMES, A_CHROMOSOME)


def draw_calls(rng: np.random.Generator, n: int, m: int) -> NDArray[np.int8]:
    """Draw independent variants (n_participants, n_variants), 2% of calls missing."""
    calls = rng.binomial(2, rng.uniform(0.1, 0.9, m), (n, m)).astype(np.int8)
    calls[rng.random(calls.shape) < 0.02] = -9
    return calls


def standardised(calls: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return mean-imputed genotypes of mean 0 and variance 1."""
    g = np.where(calls < 0, np.nan, calls.astype(float))
    g = np.nan_to_num(g - np.nanmean(g, axis=0))
    return g / g.std(axis=0)


def polygenic(rng: np.random.Generator, calls: NDArray[np.int8], h2: float, k: int) -> NDArray[np.float64]:
    """Draw phenotypes (n_participants, k) of unit variance, of which the variants explain h2 together."""
    genetic = standardised(calls) @ rng.normal(size=(calls.shape[1], k))
    genetic *= np.sqrt(h2) / genetic.std(axis=0)
    return genetic + rng.normal(size=genetic.shape) * np.sqrt(1 - h2)


@dataclass
class Simulated:
    """People with variants on three chromosomes and embeddings of a polygenic background."""

    calls: NDArray[np.int8]
    Z: NDArray[np.float64]
    Q: NDArray[np.float64]
    W: NDArray[np.float64]
    ridge: LocoRidge


@pytest.fixture(scope="module")
def simulated() -> Simulated:
    rng = np.random.default_rng(1)
    calls = draw_calls(rng, N, M)
    age, sex = rng.normal(60, 7, N), rng.integers(0, 2, N)
    Z = polygenic(rng, calls, 0.5, 6) + 0.1 * age[:, None]
    Q = covariate_basis([age, sex])
    W = whitened_basis(Z, Q)
    return Simulated(calls, Z, Q, W, LocoRidge(calls, CHROMOSOME, W, Q, heritability=0.5))


def test_loco__is_ordinary_least_squares_of_the_offset_phenotype(simulated: Simulated) -> None:
    """For every score and chromosome, products and yy of W - P_c W give what statsmodels gives of y - P_c y."""
    rng = np.random.default_rng(2)
    k = rng.normal(size=(simulated.Z.shape[1], 4))
    Y = simulated.Z @ k
    c, yy_plain, _ = score_coordinates(Y, simulated.W, simulated.Q)
    predicted = LocoRidge(simulated.calls, CHROMOSOME, Y, simulated.Q, heritability=0.5)
    tests = ScoreTests(c, yy_plain, N, simulated.Q.shape[1], np.ones(4))
    for number, chromosome in enumerate(CHROMOSOMES):
        offset = simulated.ridge.offset(simulated.W, chromosome)
        yy = np.square(offset.astype(np.float64) @ c).sum(axis=0)
        rows = np.flatnonzero(chromosome == CHROMOSOME)[:8]
        G = np.where(simulated.calls[:, rows] < 0, np.nan, simulated.calls[:, rows].astype(float)).T
        block = Projector(offset, simulated.Q).project(G.astype(np.float32))
        found = tests.block(block.gz, block.gg, np.full(8, number), np.arange(8), yy)
        imputed = np.where(np.isnan(G), np.nanmean(G, axis=1, keepdims=True), G)
        offset_y = Y - predicted.prediction(chromosome)
        for i, tested in enumerate(found):
            for j, g in enumerate(imputed):
                fit = sm.OLS(offset_y[:, i], np.column_stack([simulated.Q, g])).fit()
                t = tested.association
                assert t.beta[j] == pytest.approx(fit.params[-1], abs=1e-4 * fit.bse[-1])
                assert t.standard_error[j] == pytest.approx(fit.bse[-1], rel=1e-5)
                assert t.neg_log_10_p_value[j] == pytest.approx(-np.log10(fit.pvalues[-1]), abs=1e-3)


def test_loco__is_linear_in_the_phenotype(simulated: Simulated) -> None:
    a, b = simulated.W[:, 0], simulated.W[:, 1]
    Y = np.column_stack([a, b, 2 * a - 3 * b])
    ridge = LocoRidge(simulated.calls, CHROMOSOME, Y, simulated.Q)
    for chromosome in CHROMOSOMES:
        found = ridge.prediction(chromosome).astype(np.float64)
        scale = np.linalg.norm(found[:, 2])
        assert np.linalg.norm(found @ [2, -3, -1]) < 1e-5 * scale


def test_loco__is_the_ridge_regression_of_the_other_folds(simulated: Simulated) -> None:
    """Against the normal equations in float64: covariates unpenalised, the chromosome's terms left out."""
    ridge, y = LocoRidge(simulated.calls, CHROMOSOME, simulated.W, simulated.Q, heritability=0.3), simulated.W[:, 0]
    X = standardised(simulated.calls)
    X -= simulated.Q @ (simulated.Q.T @ X)
    others = CHROMOSOME != "2"
    found = ridge.prediction("2")[:, 0]
    for fold in range(5):
        train, test = ridge.fold != fold, ridge.fold == fold
        D = np.column_stack([X[train], simulated.Q[train]])
        penalty = np.append(np.full(M, M * 0.7 / 0.3), np.zeros(simulated.Q.shape[1]))
        b = np.linalg.solve(D.T @ D + np.diag(penalty), D.T @ y[train])[:M]
        wanted = X[test][:, others] @ b[others]
        assert np.linalg.norm(found[test] - wanted) < 1e-4 * np.linalg.norm(wanted)


def test_loco__nobodys_own_value_is_in_their_prediction(simulated: Simulated) -> None:
    """Not even through the covariates, which are taken out among all: the value changes before they are."""
    y = simulated.Z[:, :1].copy()
    changed = y.copy()
    changed[7] += 50 * y.std()
    phenotypes = np.hstack([each - simulated.Q @ (simulated.Q.T @ each) for each in (y, changed)])
    ridge = LocoRidge(simulated.calls, CHROMOSOME, phenotypes, simulated.Q)
    for chromosome in (*CHROMOSOMES, "X"):
        before, after = ridge.prediction(chromosome).T
        same_fold = ridge.fold == ridge.fold[7]
        np.testing.assert_allclose(before[same_fold], after[same_fold], atol=2e-5 * before.std())
        assert np.abs(before - after)[~same_fold].mean() > 0.01 * before.std()  # others learn from it


def test_loco__a_chromosomes_own_variants_are_not_in_its_prediction() -> None:
    """People of one fold may have any genotypes on the chromosome: their prediction stays."""
    rng = np.random.default_rng(3)
    calls, Q = draw_calls(rng, N, M), covariate_basis([], N)
    y = polygenic(rng, calls, 0.5, 1)
    y -= y.mean()
    ridge = LocoRidge(calls, CHROMOSOME, y, Q)
    fold = np.flatnonzero(ridge.fold == 0)
    moved = calls.copy()
    moved[np.ix_(fold, CHROMOSOME == "2")] = calls[np.ix_(rng.permutation(fold), CHROMOSOME == "2")]
    again = LocoRidge(moved, CHROMOSOME, y, Q)
    own, others = (np.abs(ridge.prediction(c) - again.prediction(c))[fold].mean() for c in ("2", "1"))
    assert own < 1e-5 * ridge.prediction("2").std()
    assert others > 0.1 * ridge.prediction("1").std()


def test_loco__a_trait_of_one_chromosome_is_predicted_by_it_alone() -> None:
    rng = np.random.default_rng(4)
    calls, Q = draw_calls(rng, 2000, M), covariate_basis([], 2000)
    y = polygenic(rng, calls[:, CHROMOSOME == "2"], 0.5, 1)
    ridge = LocoRidge(calls, CHROMOSOME, y - y.mean(), Q, heritability=0.5)
    r = {chromosome: np.corrcoef(ridge.prediction(chromosome)[:, 0], y[:, 0])[0, 1] for chromosome in CHROMOSOMES}
    assert abs(r["2"]) < 4 / np.sqrt(2000)
    assert min(r["1"], r["3"]) > 0.5


def gwas(
    ridge: LocoRidge | None, W: NDArray[np.float64], Q: NDArray[np.float64], c: NDArray[np.float64],
    G: NDArray[np.int8], chromosome: str,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """Return t and -log10 p (n_scores, n_variants) of a chromosome's variants (n_participants, n_variants)."""
    offset = W if ridge is None else ridge.offset(W, chromosome)
    yy = np.square(offset @ c).sum(axis=0)
    block = Projector(offset, Q).project(np.ascontiguousarray(G.T))
    tests = ScoreTests(c, np.ones(c.shape[1]), len(W), Q.shape[1], np.ones(c.shape[1]))
    numbers = np.arange(G.shape[1])
    found = [t.association for t in tests.block(block.gz, block.gg, numbers * 0, numbers, yy)]
    t = np.array([each.beta / each.standard_error for each in found])
    return t, np.array([each.neg_log_10_p_value for each in found])


def test_loco__nulls_of_a_polygenic_phenotype_are_calibrated() -> None:
    """Variants of no effect on a chromosome whose others have: type I error within its binomial interval."""
    rng = np.random.default_rng(5)
    n, m, nulls, k = 2000, 400, 3000, 8
    calls = draw_calls(rng, n, m)
    chromosome = np.repeat(["1", "2", "3", "4"], m // 4)
    Z, age = polygenic(rng, calls, 0.5, k), rng.normal(size=n)
    Q = covariate_basis([age])
    W = whitened_basis(Z, Q)
    ridge = LocoRidge(calls, chromosome, W, Q, heritability=0.5)
    for each in ("1", "4"):
        p = gwas(ridge, W, Q, np.eye(k), draw_calls(rng, n, nulls), each)[1]
        # The basis is orthonormal, so that its columns' tests are independent, variants too.
        for level in (0.05, 0.001):
            low, high = stats.binom.interval(0.999, p.size, level)
            assert low <= np.count_nonzero(p > -np.log10(level)) <= high
        # A median's standard error is 1 / (2 density sqrt(size)): 2.34 / sqrt(size) of that of a chi-square.
        assert lambda_gc(p.ravel()) == pytest.approx(1, abs=3.3 * 2.34 / np.sqrt(p.size))


def test_loco__a_polygenic_phenotype_gains_power() -> None:
    """Of h2 0.5 by 400 variants in 4,000 people: 1.4 times the non-centrality at causal variants, by theory.

    What is left of the variance is 1 - R2, R2 of out-of-fold prediction; so chi2 - 1 grows by 1 / (1 - R2).
    """
    rng = np.random.default_rng(6)
    n, m = 4000, 400
    calls = draw_calls(rng, n, m)
    chromosome = np.repeat(["1", "2", "3", "4"], m // 4)
    Z, Q = polygenic(rng, calls, 0.5, 4), covariate_basis([rng.normal(size=n)])
    W = whitened_basis(Z, Q)
    c = score_coordinates(Z, W, Q)[0]
    ridge = LocoRidge(calls, chromosome, W, Q, heritability=0.5)
    chi2 = np.zeros(2)
    for each in np.unique(chromosome):
        G = calls[:, chromosome == each]
        for i, used in enumerate((None, ridge)):
            chi2[i] += np.square(gwas(used, W, Q, c, G, each)[0]).mean() / 4
    gain = (chi2[1] - 1) / (chi2[0] - 1)
    print(f"mean chi2 at causal variants: {chi2[0]:.2f} without LOCO, {chi2[1]:.2f} with it; chi2 - 1 x {gain:.2f}")
    assert chi2[0] > 4
    assert 1.25 < gain < 1.6


@pytest.mark.parametrize(("h2", "low", "high"), [(0.0, 1.02, 1.1), (0.05, 0.97, 1.03), (0.2, 0.82, 0.93)])
def test_loco__takes_out_variance_where_heritability_is_not_overstated(h2: float, low: float, high: float) -> None:
    """Of 0.2 assumed; what is left of the variance is 1 - 2 s h2 + s^2 (h2 + M / n), s = 1 / (1 + lambda / n), n of the
    other folds. Above 1 an offset harms: where h2 is below 1 / (n / M + 2 (1 - 0.2) / 0.2), here 0.0625.
    """
    rng = np.random.default_rng(7)
    n, m = 4000, 400
    calls = draw_calls(rng, n, m)
    W = polygenic(rng, calls, h2, 20)
    W -= W.mean(axis=0)
    ridge = LocoRidge(calls, np.repeat(["1", "2"], m // 2), W, covariate_basis([], n))
    left = float(np.square(ridge.offset(W, "X")).sum() / np.square(W).sum())
    print(f"variance left beside the prediction, heritability {h2}, 0.2 assumed: {left:.3f}")
    assert low < left < high


def test_loco__refuses_what_cannot_be_fitted(simulated: Simulated) -> None:
    calls, W, Q = simulated.calls, simulated.W, simulated.Q
    with pytest.raises(ValueError, match="calls are of 1500 participants, W of 1499"):
        LocoRidge(calls, CHROMOSOME, W[1:], Q)
    with pytest.raises(ValueError, match="calls are of 300 variants, chromosome of 299"):
        LocoRidge(calls, CHROMOSOME[1:], W, Q)
    with pytest.raises(ValueError, match="calls are of 0 variants"):
        LocoRidge(calls[:, :0], [], W, Q)
    with pytest.raises(ValueError, match="1 folds of 1500 participants with 3 covariates: wanted 2 or more"):
        LocoRidge(calls, CHROMOSOME, W, Q, folds=1)
    with pytest.raises(ValueError, match=r"wanted between 0 and 1, found 1\.0"):
        LocoRidge(calls, CHROMOSOME, W, Q, heritability=1.0)
    flat = calls.copy()
    flat[:, 3] = 1
    with pytest.raises(ValueError, match="1 of 300 variants do not vary"):
        LocoRidge(flat, CHROMOSOME, W, Q)
