"""What a trait is tested as: PHESANT's rules, each at its bound."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from edp_assets.science.phenome.traits import Rules, prepare, rank_normal

RULES, N = Rules(), 600
RNG = np.random.default_rng(0)


def of(*counts: int) -> np.ndarray:
    """Return values 0, 1, ... that so many people have."""
    return np.repeat(np.arange(len(counts), dtype=float), counts)


def test_prepare__continuous_is_rank_normal() -> None:
    values = RNG.gamma(1, size=N)
    values[5] = np.nan
    found = prepare(values, "continuous", 6, RULES)
    assert (found.model, found.n, found.levels, found.reason) == ("linear", N - 1, (), None)
    present = np.isfinite(values)
    np.testing.assert_allclose(
        found.y[present], stats.norm.ppf((stats.rankdata(values[present]) - 0.5) / (N - 1)), rtol=1e-12
    )
    assert np.isnan(found.y[5])


def test_rank_normal__ties_share_their_mean_rank() -> None:
    y = rank_normal(np.array([3.0, 1, 1, 2, np.nan]))
    assert y[1] == y[2] == pytest.approx(stats.norm.ppf(0.25))
    assert np.isnan(y[4])


def test_prepare__few_values_are_ordered() -> None:
    assert prepare(np.arange(N) % 19.0, "continuous", 6, RULES).model == "ordinal"
    assert prepare(np.arange(N) % 20.0, "continuous", 6, RULES).model == "linear"
    found = prepare(of(300, 250, 41, 9), "continuous", 6, RULES)
    assert (found.model, found.n, found.levels) == ("ordinal", 591, (0.0, 1.0, 2.0))  # nine people are too few
    assert prepare(of(300, 291, 9), "ordinal", 6, RULES).model == "logistic"


def test_prepare__a_fifth_at_one_value_is_cut_in_three() -> None:
    values = np.append(np.zeros(int(0.2 * N)), 1 + RNG.random(int(0.8 * N)))
    found = prepare(values, "continuous", 6, RULES)
    assert (found.model, [int((found.y == k).sum()) for k in range(3)]) == ("ordinal", [200, 200, 200])
    assert prepare(values[1:], "continuous", 6, RULES).model == "linear"
    mostly = np.append(np.zeros(int(0.5 * N)), 1 + RNG.random(int(0.5 * N)))
    # The lowest third is all one value: it is a bin, and the others are halved.
    counts = [int((prepare(mostly, "continuous", 6, RULES).y == k).sum()) for k in range(3)]
    assert counts == [300, 150, 150]
    assert [int((prepare(-mostly, "continuous", 6, RULES).y == k).sum()) for k in range(3)] == [150, 150, 300]


def test_prepare__nearly_all_at_one_value_is_binary() -> None:
    values = np.append(np.zeros(N - 25), 1 + np.arange(25.0))
    found = prepare(values, "continuous", 6, RULES)
    counts = np.unique(found.y[np.isfinite(found.y)], return_counts=True)
    assert found.model == "ordinal"
    assert counts[1].tolist() == [N - 25, 12, 13]
    fewer = np.append(np.zeros(N - 19), 1 + np.arange(19.0))
    found = prepare(fewer, "continuous", 6, RULES)
    assert (found.model, found.cases) == ("logistic", 10)


def test_prepare__unordered_takes_the_commonest_as_reference() -> None:
    found = prepare(of(100, 300, 191, 9), "categorical", 6, RULES)
    assert (found.model, found.levels, found.n) == ("multinomial", (1.0, 0.0, 2.0), 591)
    assert (found.y[0], found.y[150], found.y[450]) == (1.0, 0.0, 2.0)


@pytest.mark.parametrize(
    ("values", "kind", "reason"),
    [
        (of(591, 9), "binary", "9 cases: at least 10 are needed"),
        (of(9, 591), "phecode", "9 controls: at least 10 are needed"),
        (of(600), "phecode", "0 cases: at least 10 are needed"),
        (of(300, 200, 100), "binary", "3 values where a binary trait has two"),
        (of(300, 199), "binary", "499 people: at least 500 are needed"),
        (RNG.random(499), "continuous", "499 people: at least 500 are needed"),
        (of(600), "continuous", "1 of its values has enough people, of 600 with any: two are needed"),
        (of(*[9] * 60), "categorical", "0 of its values has enough people, of 540 with any: two are needed"),
        (np.full(600, np.nan), "ordinal", "nobody of these people has a value"),
        (of(*[10] * 160), "categorical", "160 categories: 1113 coefficients, at most 1000 are fitted"),
    ],
)  # fmt: skip
def test_prepare__what_is_not_tested_says_why(values: np.ndarray, kind: str, reason: str) -> None:
    found = prepare(values, kind, 6, RULES)
    assert (found.model, found.reason) == (None, reason)


def test_prepare__binary_of_other_numbers() -> None:
    found = prepare(of(0, 400, 200), "binary", 6, RULES)
    assert (found.model, found.levels, found.cases) == ("logistic", (1.0, 2.0), 200)


def bins(values: np.ndarray) -> list[int]:
    """Return how many people each category of a continuous trait has."""
    y = prepare(values, "continuous", 6, RULES).y
    return np.unique(y[np.isfinite(y)], return_counts=True)[1].tolist()


def test_prepare__bins_keep_people_of_one_value_together() -> None:
    def between(low: float, n: int) -> np.ndarray:
        return low + np.linspace(0.1, 0.9, n)

    # By PHESANT's equalSizedBins: below the first third's bound, from it to below the second's, from that on.
    assert bins(np.concatenate([between(0, 150), np.full(200, 1.0), between(1, 250)])) == [150, 250, 200]
    # Both bounds are one value, which is a bin; or the median of what is left beside the commonest is.
    assert bins(np.concatenate([between(0, 100), np.full(400, 1.0), between(1, 100)])) == [100, 400, 100]
    assert bins(np.concatenate([np.zeros(300), np.ones(200), between(1, 100)])) == [300, 200, 100]
    assert bins(np.concatenate([np.zeros(200), between(0, 100), np.ones(300)])) == [200, 100, 300]


def test_prepare__a_last_bin_of_too_few_joins_the_middle_one() -> None:
    found = prepare(np.concatenate([-1 - RNG.random(20), np.zeros(N - 25), 1 + RNG.random(5)]), "continuous", 6, RULES)
    assert (found.model, found.n, found.cases) == ("logistic", N, N - 20)


def test_prepare__just_enough_is_tested() -> None:
    assert prepare(of(490, 10), "binary", 6, RULES).model == "logistic"
    assert prepare(RNG.random(500), "continuous", 6, RULES).model == "linear"
    # 100 categories beside the reference, ten coefficients each.
    assert prepare(of(*[10] * 101), "categorical", 9, RULES).model == "multinomial"
    assert prepare(of(*[10] * 102), "categorical", 9, RULES).model is None
