"""Each kind of trait against statsmodels' fit of the same model, one pair after another."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.miscmodels.ordinal_model import OrderedModel

from edp_assets.science.phenome.logistic import fit_logistic
from edp_assets.science.phenome.multinomial import fit_multinomial
from edp_assets.science.phenome.scan import PhenomeScan

N, EDPS = 1500, 4
RNG = np.random.default_rng(5)
PHENOTYPES = RNG.normal(size=(N, 3)) @ RNG.normal(size=(3, EDPS)) + [3.0, 0, -20, 1]
AGE, SEX = RNG.normal(60, 8, N), RNG.integers(0, 2, N).astype(float)
CENTRE = (RNG.integers(0, 3, N)[:, None] == [1, 2]).astype(float)
X = (PHENOTYPES - PHENOTYPES.mean(axis=0)) / PHENOTYPES.std(axis=0, ddof=1)
LIABILITY = 0.25 * X[:, 0] + 0.03 * (AGE - 60) + 0.4 * SEX
MISSING = RNG.random(N) < 0.1


@pytest.fixture(scope="module")
def scan() -> PhenomeScan:
    return PhenomeScan(PHENOTYPES, [AGE, SEX, CENTRE])


def draws() -> np.random.Generator:
    """Draw the same for a test whichever ran before it."""
    return np.random.default_rng(6)


def with_gaps(values: np.ndarray) -> np.ndarray:
    return np.where(MISSING, np.nan, values)


def design(edp: int | None, intercept: bool = True) -> np.ndarray:
    """Return covariates (at unit scale, which other programs' iterations need) and an EDP of who has the trait."""
    columns = [(AGE - 60) / 8, SEX, CENTRE, *([] if edp is None else [X[:, edp]])]
    matrix = np.column_stack([*([np.ones(N)] if intercept else []), *columns])
    return matrix[~MISSING]


def assert_equal(beta, error, neg_log_10_p, expected_beta, expected_error, expected_p) -> None:
    """The issue's tolerances: coefficients to 1e-6, p to 1e-4 of itself."""
    np.testing.assert_allclose(beta, expected_beta, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(error, expected_error, rtol=1e-5)
    np.testing.assert_allclose(10.0**-neg_log_10_p, expected_p, rtol=1e-4)


def test_linear__equals_statsmodels(scan: PhenomeScan) -> None:
    y = with_gaps(np.exp(LIABILITY + draws().normal(size=N)))
    found = scan.test(y, "continuous")
    normal = stats.norm.ppf((stats.rankdata(y[~MISSING]) - 0.5) / (~MISSING).sum())
    assert (found.model, found.n, found.cases) == ("linear", (~MISSING).sum(), None)
    for edp in range(EDPS):
        fit = sm.OLS(normal, design(edp)).fit()
        got = found.beta[edp], found.standard_error[edp], found.neg_log_10_p[edp]
        assert_equal(*got, fit.params[-1], fit.bse[-1], fit.pvalues[-1])


@pytest.mark.parametrize("rarity", [1.0, 4.0])
def test_logistic__equals_statsmodels(scan: PhenomeScan, rarity: float) -> None:
    y = with_gaps((LIABILITY + draws().logistic(size=N) > rarity).astype(float))
    found = scan.test(y, "binary")
    assert (found.model, found.n, found.cases) == ("logistic", (~MISSING).sum(), np.nansum(y))
    for edp in range(EDPS):
        fit = sm.Logit(y[~MISSING], design(edp)).fit(disp=0, tol=1e-12)
        got = found.beta[edp], found.standard_error[edp], found.neg_log_10_p[edp]
        assert_equal(*got, fit.params[-1], fit.bse[-1], fit.pvalues[-1])


def test_ordinal__equals_statsmodels_with_its_sign(scan: PhenomeScan) -> None:
    y = with_gaps(np.digitize(LIABILITY + draws().logistic(size=N), [-1.0, 0.5, 2.0]).astype(float))
    found = scan.test(y, "ordinal")
    assert found.model == "ordinal"
    assert found.beta[0] > 0  # more of the EDP, more of the trait
    for edp in range(EDPS):
        exog = design(edp, intercept=False)
        fit = OrderedModel(y[~MISSING], exog, distr="logit").fit(method="newton", disp=0)
        last = exog.shape[1] - 1
        got = found.beta[edp], found.standard_error[edp], found.neg_log_10_p[edp]
        # Its standard errors are of a numerical second derivative.
        np.testing.assert_allclose(got[0], fit.params[last], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(got[1], fit.bse[last], rtol=1e-4)
        np.testing.assert_allclose(10.0 ** -got[2], fit.pvalues[last], rtol=1e-4)


def test_multinomial__equals_statsmodels(scan: PhenomeScan) -> None:
    utilities = np.array([0.0, 1.0, -0.5, 2.0])[:, None] * LIABILITY + np.array([0.0, 0.3, 0.1, -1])[:, None]
    y = with_gaps((utilities + draws().gumbel(size=(4, N))).argmax(axis=0).astype(float))
    found = scan.test(y, "categorical")
    counts = np.bincount(y[~MISSING].astype(int))
    assert found.levels[0] == counts.argmax()
    assert np.isnan(found.beta).all()
    codes = np.array([found.levels.index(value) for value in y[~MISSING]])
    null = sm.MNLogit(codes, design(None)).fit(disp=0, method="newton", tol=1e-12, maxiter=100)
    for edp in range(EDPS):
        fit = sm.MNLogit(codes, design(edp)).fit(disp=0, method="newton", tol=1e-12, maxiter=100)
        np.testing.assert_allclose(found.level_beta[edp], fit.params[-1], rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(found.level_standard_error[edp], fit.bse[-1], rtol=1e-5)
        expected = stats.chi2.sf(2 * (fit.llf - null.llf), 3)
        np.testing.assert_allclose(10.0 ** -found.neg_log_10_p[edp], expected, rtol=1e-4)


def test_multinomial__of_two_categories_is_logistic() -> None:
    y = (LIABILITY + draws().logistic(size=N) > 1).astype(int)
    covariates, exposures = np.column_stack([np.ones(N), (AGE - 60) / 8]), np.ascontiguousarray(X.T)
    one, other = fit_multinomial(y, covariates, exposures), fit_logistic(y.astype(float), covariates, exposures)
    np.testing.assert_allclose(one.beta[:, 0], other.parameters[:, -1], rtol=1e-8)
    np.testing.assert_allclose(one.standard_error[:, 0], other.standard_errors[:, -1], rtol=1e-6)


def test_ordinal__rare_last_category_equals_statsmodels(scan: PhenomeScan) -> None:
    y = np.digitize(2 * LIABILITY + draws().logistic(size=N), [0.0, 5.2]).astype(float)
    assert 10 <= (y == 2).sum() < 40
    found = scan.test(y, "ordinal")
    exog = np.column_stack([(AGE - 60) / 8, SEX, CENTRE, X[:, 0]])
    fit = OrderedModel(y, exog, distr="logit").fit(method="newton", disp=0)
    np.testing.assert_allclose(found.beta[0], fit.params[exog.shape[1] - 1], rtol=1e-6)


def test_phenotypes__strong_effects_do_not_underflow() -> None:
    n = 20_000
    rng = np.random.default_rng(1)
    x = rng.normal(size=n)
    found = PhenomeScan(x[:, None], []).test((2.5 * x + rng.logistic(size=n) > 0).astype(float), "binary")
    z = found.beta[0] / found.standard_error[0]
    assert found.neg_log_10_p[0] > 320
    np.testing.assert_allclose(found.neg_log_10_p[0], -(stats.norm.logsf(z) + np.log(2)) / np.log(10), rtol=1e-9)
