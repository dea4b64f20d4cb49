from fractions import Fraction
from math import comb, factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edp_assets.science.genetics.hardy_weinberg import hardy_weinberg_p

COUNTS = st.integers(0, 25)


def dosages(hom: int, het: int, other: int, missing: int = 0) -> np.ndarray:
    return np.repeat([0, 1, 2, np.nan], [hom, het, other, missing])[None, :]


def exact(hom: int, het: int, other: int) -> Fraction:
    """The definition in whole numbers: tables with the same alleles, each as often as chromosomes can be paired."""
    n, a = hom + het + other, 2 * other + het
    ways = {
        h: factorial(n) // (factorial((a - h) // 2) * factorial(h) * factorial(n - h - (a - h) // 2)) * 2**h
        for h in range(a % 2, min(a, 2 * n - a) + 1, 2)
    }
    assert sum(ways.values()) == comb(2 * n, a)
    return Fraction(sum(w for w in ways.values() if w <= ways[het]), comb(2 * n, a))


@given(COUNTS, COUNTS, COUNTS, st.integers(0, 3))
def test_hardy_weinberg_p__equals_the_definition(hom: int, het: int, other: int, missing: int):
    expected = float(exact(hom, het, other))
    assert hardy_weinberg_p(dosages(hom, het, other, missing))[0] == pytest.approx(expected, rel=1e-9)
    assert hardy_weinberg_p(2 - dosages(hom, het, other))[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("hom", "het", "other", "published"),
    [
        (109, 15, 33, 6.46362e-20),
        (93, 27, 43, 3.42353e-16),
        (92, 29, 30, 1.02087e-10),
        (174, 5, 2, 0.0028624),
        (153, 18, 1, 0.443377),
    ],
)
def test_hardy_weinberg_p__equals_plink2(hom: int, het: int, other: int, published: float):
    """Counts and P as PLINK v2.00a3.5 --hardy writes them, with six digits."""
    assert hardy_weinberg_p(dosages(hom, het, other))[0] == pytest.approx(published, rel=1e-5)


def test_hardy_weinberg_p__far_from_whole_numbers_is_not_called():
    block = np.array([[0.0] * 20 + [1.95] * 20 + [1.3] * 30, [0.0] * 20 + [2.0] * 20 + [np.nan] * 30], np.float32)
    found = hardy_weinberg_p(block)
    assert found[0] == found[1] < 1e-9


def test_hardy_weinberg_p__of_a_biobank_in_its_tail_and_without_calls():
    block = np.concatenate([dosages(30000, 15000, 714), dosages(0, 45714, 0), np.full((1, 45714), np.nan)])
    found = hardy_weinberg_p(block)
    assert 1e-200 < found[0] < 1e-100
    assert 0 <= found[1] < 1e-300
    assert found[2] == 1


def test_hardy_weinberg_p__is_uniform_at_most_in_equilibrium():
    G = np.random.default_rng(0).binomial(2, 0.3, size=(2000, 500))
    found = hardy_weinberg_p(G)
    for alpha in (0.5, 0.1, 0.01):
        assert 0.4 * alpha < (found <= alpha).mean() < 1.3 * alpha
