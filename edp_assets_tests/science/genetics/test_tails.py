import mpmath
import numpy as np
import pytest
from scipy import stats

from edp_assets.science.genetics.tails import (
    neg_log_10_p_from_chi2,
    neg_log_10_p_from_t,
    neg_log_10_p_from_z,
    z_from_neg_log_10_p,
)


def exact_from_t(t: float, df: float) -> float:
    """-log10 I_x(df/2, 1/2) with 60 digits, by its hypergeometric series."""
    with mpmath.workdps(60):
        t, a, b = mpmath.mpf(t), mpmath.mpf(df) / 2, mpmath.mpf(1) / 2
        x = df / (df + t * t)
        if t < 1:
            return float(-mpmath.log10(1 - mpmath.betainc(b, a, 0, 1 - x, regularized=True)))
        log_p = a * mpmath.log(x) + b * mpmath.log(1 - x) - mpmath.log(a * mpmath.beta(a, b))
        return float(-(log_p + mpmath.log(mpmath.hyp2f1(a + b, 1, a + 1, x))) / mpmath.log(10))


@pytest.mark.parametrize("df", [1, 3, 25, 299, 300, 1000, 45697])
def test_neg_log_10_p_from_t__exact_far_into_the_tail(df):
    t = np.array([1e-4, 0.3, 1, 2.5, 10, 30, 37, 38, 39, 45, 60, 1e4])
    expected = [exact_from_t(value, df) for value in t]
    np.testing.assert_allclose(neg_log_10_p_from_t(t, df), expected, rtol=1e-7)
    np.testing.assert_allclose(neg_log_10_p_from_t(-t, df), expected, rtol=1e-7)


def test_neg_log_10_p_from_t__never_infinite():
    values = neg_log_10_p_from_t(np.array([0.0, 1e100, 1e200, np.nan]), np.array([10.0, 45697, 3, 10]))
    assert values[0] == 0
    assert not np.signbit(values[0])
    assert np.isfinite(values[:3]).all()
    assert np.isnan(values[3])


def test_neg_log_10_p_from_t__agrees_with_scipy_in_any_shape():
    t = np.random.default_rng(0).normal(size=(3, 4)) * 3
    df = np.array([5.0, 50, 500, 5000])
    np.testing.assert_allclose(neg_log_10_p_from_t(t, df), -np.log10(2 * stats.t.sf(np.abs(t), df)), rtol=1e-9)
    assert neg_log_10_p_from_t(np.zeros((2, 0)), 9).shape == (2, 0)


def test_neg_log_10_p_from_chi2__exact_far_into_the_tail():
    chi2 = np.array([1e-10, 0.1, 1, 30, 1400, 1e5])
    with mpmath.workdps(60):
        expected = [float(-mpmath.log10(mpmath.erfc(mpmath.sqrt(mpmath.mpf(c) / 2)))) for c in chi2]
    np.testing.assert_allclose(neg_log_10_p_from_chi2(chi2), expected, rtol=1e-9)
    assert neg_log_10_p_from_chi2(0.0) == 0


def test_neg_log_10_p_from_chi2__is_regenie_s(regenie):
    import polars as pl

    published = pl.read_csv(regenie / "test_lin_out_Y1.regenie", separator=" ")
    np.testing.assert_allclose(neg_log_10_p_from_chi2(published["CHISQ"]), published["LOG10P"], rtol=1e-5, atol=1e-6)


def test_z_from_neg_log_10_p__inverts():
    z = np.array([0.0, 1e-6, 0.5, 2, 6, 38, 200])
    np.testing.assert_allclose(z_from_neg_log_10_p(neg_log_10_p_from_z(z)), z, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("df", [2, 3, 7, 40])
def test_neg_log_10_p_from_chi2__of_more_degrees_equals_mpmath(df):
    chi2 = np.array([0.0, 1e-3, 1.0, 30.0, 600.0, 2000.0, 1e5])
    with mpmath.workdps(60):
        half = mpmath.mpf(df) / 2
        tails = [mpmath.gammainc(half, mpmath.mpf(c) / 2, mpmath.inf, regularized=True) for c in chi2]
        expected = [float(-mpmath.log10(tail)) for tail in tails]
    np.testing.assert_allclose(neg_log_10_p_from_chi2(chi2, df), expected, rtol=1e-9, atol=1e-12)
