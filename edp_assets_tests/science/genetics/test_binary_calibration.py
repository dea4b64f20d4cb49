"""Error rates of the test of rare binary traits under the null, beside those of the plain score test."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from edp_assets.science.genetics.covariates import covariate_basis
from edp_assets.science.genetics.logistic import associate_binary, fit_null_model
from edp_assets.science.genetics.saddlepoint import log_two_sided_p
from edp_assets.science.genetics.variant_qc import centre

MINOR_ALLELE_COUNTS = (20, 40, 100)
TESTS = 72_000
"""Variants of each minor allele count."""
A_BLOCK = 1500
ALPHA = 1e-3


def rare_variants(rng: np.random.Generator, mac: int, n: int) -> NDArray[np.float32]:
    """Return (A_BLOCK, n) dosages, each variant's minor alleles thrown among the people at random."""
    G = np.zeros((A_BLOCK, n), np.float32)
    np.add.at(G, (np.repeat(np.arange(A_BLOCK), mac), rng.integers(0, n, A_BLOCK * mac)), 1)
    return np.minimum(G, 2)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "cases"), [(4000, 80), (10_000, 50)], ids=["2 per cent", "0.5 per cent"])
def test_associate_binary__type_i_error_of_rare_variants_and_few_cases(n: int, cases: int):
    rng = np.random.default_rng(n)
    rejected, normal, normal_tests = {}, 0, 0
    for mac in MINOR_ALLELE_COUNTS:
        count = 0
        for block in range(TESTS // A_BLOCK):
            X = rng.normal(size=(n, 2))
            risk = special.logit(cases / n) - 0.125 + 0.5 * X[:, 0]
            y = (rng.random(n) < special.expit(risk)).astype(float)
            null = fit_null_model(y, covariate_basis([X]))
            G = rare_variants(rng, mac, n)
            count += int((associate_binary(G, null).association.neg_log_10_p_value > -np.log10(ALPHA)).sum())
            if block < 5:
                plain = associate_binary(G, null, spa_above=np.inf).association.neg_log_10_p_value
                normal, normal_tests = normal + int((plain > -np.log10(ALPHA)).sum()), normal_tests + A_BLOCK
        rejected[mac] = count
    total = TESTS * len(rejected)
    assert total >= 200_000
    told = ", ".join(f"minor allele count {mac} {count / TESTS / ALPHA:.2f}" for mac, count in rejected.items())
    print(f"\n{cases} cases of {n}: type I error at {ALPHA} over nominal {sum(rejected.values()) / total / ALPHA:.2f} "
          f"({told}); normal test {normal / normal_tests / ALPHA:.1f}")  # fmt: skip
    low, high = stats.binom.interval(0.99, total, ALPHA)
    assert low <= sum(rejected.values()) <= high
    assert normal > 3 * stats.binom.interval(0.99, normal_tests, ALPHA)[1]
    # One count's rate swings about the nominal one, as its scores are discrete: see the next test.
    assert all(0.4 < count / TESTS / ALPHA < 1.8 for count in rejected.values())


def p_values_of_counts(expected: float, largest: int) -> tuple[NDArray, NDArray]:
    """Return the p-value of 0, 1 ... `largest` cases among carriers, and the probability of each, without covariates.

    Args:
        expected: cases expected among the 400 carriers of 100,000 people.
        largest: most cases looked at.
    """
    n, carriers = 100_000, 400
    y = np.zeros(n)
    y[: round(expected * n / carriers)] = 1
    null = fit_null_model(y, covariate_basis([], n_participants=n))
    g = np.zeros((1, n))
    g[0, -carriers:] = 1
    centred, _ = centre(g)
    on_basis = (centred * null.weight) @ null.basis
    variance = np.square(centred * null.weight).sum(axis=1) - np.square(on_basis).sum(axis=1)
    k = np.arange(largest + 1)
    rows = np.zeros(len(k), dtype=int)
    share = float(null.probability[0])
    log_p = log_two_sided_p(g[rows], centred[rows], on_basis[rows], k - carriers * share, variance[rows], null)
    return np.exp(log_p), stats.binom.pmf(k, carriers, share)


@pytest.mark.parametrize("expected", [0.1, 0.5, 2.2, 5.2])
def test_log_two_sided_p__error_rate_is_nominal_averaged_over_thresholds(expected: float):
    p, probability = p_values_of_counts(expected, 40)
    solved = np.isfinite(p)
    p, probability = p[solved], probability[solved]
    thresholds = np.logspace(-2, -8, 1000)
    rate = np.array([probability[p <= alpha].sum() / alpha for alpha in thresholds])
    assert 0.85 < rate.mean() < 1.15
    assert rate.max() < 5
    far = np.abs(np.arange(41)[solved] - expected)
    exact = np.array([probability[far >= d - 1e-9].sum() for d in far])
    conservative = np.array([probability[exact <= alpha].sum() / alpha for alpha in thresholds])
    assert conservative.max() <= 1 + 1e-6
    assert conservative.mean() < 0.65  # what a test pays that is valid at every threshold
