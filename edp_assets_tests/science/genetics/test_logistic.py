import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from scipy import special, stats

from edp_assets.science.genetics.covariates import covariate_basis
from edp_assets.science.genetics.genotypes import open_genotypes
from edp_assets.science.genetics.logistic import SeparationError, associate_binary, fit_null_model
from edp_assets.science.genetics.tails import neg_log_10_p_from_chi2, z_from_neg_log_10_p


def draw(seed: int, n: int, prevalence: float):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    y = (rng.random(n) < special.expit(special.logit(prevalence) + 0.5 * X[:, 0])).astype(float)
    return rng, X, y


def test_fit_null_model__equals_statsmodels():
    _, X, y = draw(0, 1000, 0.1)
    null = fit_null_model(y, covariate_basis([X]))
    fit = sm.Logit(y, sm.add_constant(X)).fit(disp=0, tol=1e-12)
    np.testing.assert_allclose(null.probability, fit.predict(), rtol=1e-6)
    assert (null.cases, null.controls, null.separated) == (int(y.sum()), 1000 - int(y.sum()), 0)


def test_associate_binary__score_test_equals_statsmodels():
    rng, X, y = draw(1, 800, 0.3)
    G = rng.binomial(2, 0.3, size=(10, 800)).astype(np.float64)
    G[2, :20] = np.nan
    found = associate_binary(G, fit_null_model(y, covariate_basis([X])), spa_above=np.inf)
    fit = sm.GLM(y, sm.add_constant(X), family=sm.families.Binomial()).fit(tol=1e-12)
    for v, g in enumerate(G):
        chi2, _ = fit.score_test(exog_extra=np.where(np.isnan(g), np.nanmean(g), g)[:, None])
        # Ours takes the degrees of freedom of the covariates into account, statsmodels' does not.
        chi2 = chi2 * (len(y) - 1 - X.shape[1] if X.ndim == 2 else len(y) - 2) / len(y)
        p = stats.chi2.sf(chi2, 1)
        np.testing.assert_allclose(found.association.neg_log_10_p_value[v], -np.log10(p).item(), rtol=1e-5)
        z = found.association.beta[v] / found.association.standard_error[v]
        np.testing.assert_allclose(z**2, chi2.item(), rtol=1e-5)
    assert not found.saddlepoint.any()


def test_associate_binary__a_trait_that_is_the_variant_itself_has_a_finite_p():
    rng, X, y = draw(1, 6000, 0.3)
    G = np.stack([2 * y, y, rng.binomial(2, 0.3, len(y)), 1 - y])
    for spa_above in (2.0, np.inf):
        found = associate_binary(G, fit_null_model(y, covariate_basis([X])), spa_above=spa_above).association
        assert np.isfinite(found.neg_log_10_p_value.astype(np.float32)).all()  # as it is stored
        assert found.neg_log_10_p_value[[0, 1, 3]].min() > 323.3  # p itself underflows


def test_associate_binary__common_variants_agree_with_likelihood_ratio():
    rng, X, _ = draw(2, 4000, 0.4)
    G = rng.binomial(2, 0.3, size=(6, 4000)).astype(np.float32)
    effects = np.array([0.0, 0.08, 0.12, 0.15, -0.2, -0.3])
    y = (rng.random(4000) < special.expit(effects @ (G - 0.6) - 0.4 + 0.5 * X[:, 0])).astype(float)
    found = associate_binary(G, fit_null_model(y, covariate_basis([X])))
    base = sm.Logit(y, sm.add_constant(X)).fit(disp=0)
    for v, g in enumerate(G):
        fit = sm.Logit(y, sm.add_constant(np.column_stack([X, g]))).fit(disp=0)
        expected = neg_log_10_p_from_chi2(max(2 * (fit.llf - base.llf), 0))
        np.testing.assert_allclose(found.association.neg_log_10_p_value[v], expected, rtol=0.02, atol=0.01)
        np.testing.assert_allclose(found.association.beta[v], fit.params[-1], rtol=0.05, atol=0.01)
        np.testing.assert_allclose(found.association.standard_error[v], fit.bse[-1], rtol=0.05)
    assert found.saddlepoint.sum() >= 3


def test_associate_binary__standard_error_agrees_with_p():
    rng, X, y = draw(3, 1500, 0.03)
    G = rng.binomial(2, 0.02, size=(300, 1500)).astype(np.float32)
    found = associate_binary(G, fit_null_model(y, covariate_basis([X])))
    a = found.association
    assert found.saddlepoint.sum() > 5
    z = z_from_neg_log_10_p(a.neg_log_10_p_value)
    np.testing.assert_allclose(np.abs(a.beta) / a.standard_error, z, rtol=1e-6)


def test_associate_binary__calibrated_where_the_normal_tail_is_not():
    # 2% prevalence, N = 2000, minor allele count 20 to 60: 12,000 null tests.
    spa, normal = [], []
    for seed in range(12):
        rng, X, y = draw(100 + seed, 2000, 0.02)
        null = fit_null_model(y, covariate_basis([X]))
        frequency = rng.integers(20, 61, size=(1000, 1)) / 4000
        G = rng.binomial(2, frequency, size=(1000, 2000)).astype(np.float32)
        spa.append(associate_binary(G, null).association.neg_log_10_p_value)
        normal.append(associate_binary(G, null, spa_above=np.inf).association.neg_log_10_p_value)
    for alpha in (0.01, 1e-3):
        low, high = stats.binom.interval(0.999, 12000, alpha)
        assert low <= (np.concatenate(spa) > -np.log10(alpha)).sum() <= high
        assert (np.concatenate(normal) > -np.log10(alpha)).sum() > high


def test_associate_binary__saddlepoint_equals_simulation():
    rng, X, y = draw(7, 2000, 0.02)
    null = fit_null_model(y, covariate_basis([X]))
    G = rng.binomial(2, 0.01, size=(400, 2000)).astype(np.float64)
    found = associate_binary(G, null)
    v = int(np.nanargmax(found.association.neg_log_10_p_value))
    g = G[v] - G[v].mean()
    adjusted = g - null.basis @ (null.basis.T @ (null.weight * g)) / null.weight
    drawn = [
        adjusted @ ((rng.random((2000, 2000)) < null.probability[:, None]) - null.probability[:, None])
        for _ in range(10)
    ]
    p = (np.abs(np.concatenate(drawn)) >= abs(adjusted @ null.residual) - 1e-9).mean()
    assert p > 5e-4  # some 10 of the 20,000 draws at least
    np.testing.assert_allclose(found.association.neg_log_10_p_value[v], -np.log10(p), atol=0.2)


def test_associate_binary__flipping_the_allele_flips_only_the_sign():
    rng, X, y = draw(8, 1000, 0.05)
    G = rng.binomial(2, 0.03, size=(100, 1000)).astype(np.float32)
    null = fit_null_model(y, covariate_basis([X]))
    one, other = associate_binary(G, null).association, associate_binary(2 - G, null).association
    np.testing.assert_allclose(one.beta, -other.beta, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(one.neg_log_10_p_value, other.neg_log_10_p_value, rtol=1e-3, atol=1e-4)


def test_associate_binary__strong_effects_do_not_underflow():
    rng = np.random.default_rng(9)
    n = 20000
    X, g = rng.normal(size=n), rng.binomial(2, 0.3, size=n)
    y = (rng.random(n) < np.array([0.05, 0.5, 0.95])[g]).astype(float)
    G = np.stack([g, 2 - g, np.ones(n)]).astype(np.float32)
    found = associate_binary(G, fit_null_model(y, covariate_basis([X]))).association
    assert 1000 < found.neg_log_10_p_value[0] < 1e5
    np.testing.assert_allclose(found.neg_log_10_p_value[0], found.neg_log_10_p_value[1], rtol=1e-4)
    assert np.isnan(found.neg_log_10_p_value[2])


def test_associate_binary__near_regenie_s_firth(regenie, regenie_tables):
    covariates = regenie_tables["covariates"]
    Q = covariate_basis([covariates[name].to_numpy() for name in ("V1", "V2", "V3")])
    published = pl.read_csv(regenie / "test_bin_out_firth_Y1.regenie", separator=" ")
    with open_genotypes(regenie / "example.bed") as file:
        G = file.read(0, file.n_variants)
    found = associate_binary(G, fit_null_model(regenie_tables["binary"]["Y1"].to_numpy(), Q)).association
    p = published["LOG10P"].to_numpy()
    assert np.corrcoef(found.neg_log_10_p_value, p)[0, 1] > 0.999
    np.testing.assert_allclose(found.neg_log_10_p_value[p < 1.3], p[p < 1.3], atol=0.05)
    # example.bed counts allele 1 and regenie's run allele 2.
    assert np.corrcoef(-found.beta, published["BETA"])[0, 1] > 0.998


def test_fit_null_model__complete_separation():
    _, X, _ = draw(4, 500, 0.1)
    with pytest.raises(SeparationError, match="separate the 250 cases from the 250 controls"):
        fit_null_model((X[:, 0] > np.median(X[:, 0])).astype(float), covariate_basis([X]))


def test_fit_null_model__stratum_without_cases_is_counted():
    rng, X, y = draw(5, 900, 0.2)
    centre = np.arange(900) < 100
    y[centre] = 0
    null = fit_null_model(y, covariate_basis([X, centre.astype(float)]))
    assert null.separated == 100
    G = rng.binomial(2, 0.2, size=(50, 900)).astype(np.float64)
    found = associate_binary(G, null).association
    without = associate_binary(G[:, ~centre], fit_null_model(y[~centre], covariate_basis([X[~centre]]))).association
    np.testing.assert_allclose(found.neg_log_10_p_value, without.neg_log_10_p_value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array([1.0, 2, 1, 2, 1, 2]), "0 or 1 without gaps; found 2 and 2 more"),
        (np.array([1.0, np.nan, 1, 0, 1, 0]), "0 or 1 without gaps; found nan and 0 more"),
        (np.zeros(6), "found 0 cases of 6 participants"),
        (np.zeros(5), "wanted one value for each of the 6 participants"),
    ],
)
def test_fit_null_model__bad_phenotypes(y, message):
    with pytest.raises(ValueError, match=message):
        fit_null_model(y, covariate_basis([], n_participants=6))


def test_associate_binary__other_participants():
    null = fit_null_model(np.array([0, 1, 0, 1, 0.0]), covariate_basis([], n_participants=5))
    with pytest.raises(ValueError, match="G has 4 participants and the null model 5"):
        associate_binary(np.zeros((1, 4)), null)


def test_fit_null_model__offset_equals_statsmodels():
    rng, X, y = draw(6, 1000, 0.2)
    offset = rng.normal(size=1000)
    null = fit_null_model(y, covariate_basis([X]), offset)
    fit = sm.GLM(y, sm.add_constant(X), family=sm.families.Binomial(), offset=offset).fit(tol=1e-12)
    np.testing.assert_allclose(null.probability, fit.predict(), rtol=1e-6)
    assert np.abs(null.probability - fit_null_model(y, covariate_basis([X])).probability).max() > 0.05
