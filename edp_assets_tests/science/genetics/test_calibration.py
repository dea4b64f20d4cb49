import numpy as np
import pytest
from scipy import special, stats

from edp_assets.science.genetics.calibration import effective_number, lambda_gc, lambda_interval
from edp_assets.science.genetics.covariates import covariate_basis
from edp_assets.science.genetics.regression import associate_directly
from edp_assets.science.genetics.tails import neg_log_10_p_from_chi2


def genotypes(rng: np.random.Generator, n: int, m: int, correlation: float) -> np.ndarray:
    """Genotypes (m, n) of haplotypes whose neighbours correlate."""
    haplotypes = rng.normal(size=(2, m, n))
    for i in range(1, m):
        haplotypes[:, i] = correlation * haplotypes[:, i - 1] + np.sqrt(1 - correlation**2) * haplotypes[:, i]
    return (haplotypes < special.ndtri(rng.uniform(0.05, 0.5, size=(1, m, 1)))).sum(axis=0).astype(np.float64)


def test_lambda_gc__is_the_median_ratio():
    chi2 = stats.chi2(1).rvs(1001, random_state=0) * 1.3
    expected = np.median(chi2) / stats.chi2(1).median()
    np.testing.assert_allclose(lambda_gc(neg_log_10_p_from_chi2(chi2)), expected, rtol=1e-9)
    np.testing.assert_allclose(lambda_gc(np.append(neg_log_10_p_from_chi2(chi2), np.nan)), expected, rtol=1e-9)
    assert np.isnan(lambda_gc([np.nan]))


def test_lambda_interval__of_independent_statistics():
    low, high = lambda_interval(201, 0.9)
    lambdas = np.median(stats.chi2(1).rvs((4000, 201), random_state=1), axis=1) / stats.chi2(1).median()
    np.testing.assert_allclose([low, high], np.quantile(lambdas, [0.05, 0.95]), atol=0.02)
    assert lambda_interval(1e6)[0] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("correlation", [0.0, 0.9, 0.97])
def test_lambda_interval__covers_null_phenotypes_on_correlated_variants(correlation):
    rng = np.random.default_rng(5)
    G = genotypes(rng, 400, 500, correlation)
    Q = covariate_basis([rng.normal(size=400)])
    low, high = lambda_interval(effective_number([G], Q), 0.95)
    found, _ = associate_directly(G, rng.normal(size=(400, 1500)), Q)
    lambdas = np.array([lambda_gc(p) for p in found.neg_log_10_p_value])
    covered = ((low <= lambdas) & (lambdas <= high)).mean()
    assert 0.92 < covered < 0.975


def test_effective_number__limits():
    rng = np.random.default_rng(6)
    independent = genotypes(rng, 2000, 200, 0.0)
    assert effective_number([independent]) == pytest.approx(200, rel=0.03)
    copies = np.repeat(independent[:20], 10, axis=0)
    assert effective_number([copies]) == pytest.approx(20, rel=0.05)
    copies[0, 5] = np.nan  # one missing call changes next to nothing
    assert effective_number([copies, np.ones((3, 2000))]) == pytest.approx(20, rel=0.05)


def test_effective_number__chromosomes_add_up():
    rng = np.random.default_rng(7)
    G = genotypes(rng, 1000, 300, 0.8)
    one = effective_number([G])
    assert effective_number([G, G]) == pytest.approx(2 * one)  # two chromosomes are independent by definition


def test_effective_number__from_a_random_part():
    rng = np.random.default_rng(8)
    G = genotypes(rng, 1000, 1500, 0.95)
    part = G[np.sort(rng.choice(1500, 700, replace=False))]
    assert effective_number([part], n_variants=[1500]) == pytest.approx(effective_number([G]), rel=0.1)


def test_calibration__bad_input():
    with pytest.raises(ValueError, match="no variant varies"):
        effective_number([np.ones((3, 10))])
    with pytest.raises(ValueError, match="wanted 1 variant or more"):
        lambda_interval(0.5)
