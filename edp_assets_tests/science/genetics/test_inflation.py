"""Lambda GC of a stream against that of an array; its chance limit on null phenotypes of correlated variants."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from edp_assets.science.genetics.calibration import lambda_gc
from edp_assets.science.genetics.inflation import (
    Inflation,
    InflationStream,
    largest_by_chance,
    scaled_lambda,
    units_of_1000,
)
from edp_assets.science.genetics.tails import neg_log_10_p_from_chi2


def inflation(p: NDArray, position: NDArray | None = None, batch: int = 1000) -> Inflation:
    stream, position = InflationStream(), np.arange(len(p)) * 100_000 if position is None else position
    for start in range(0, len(p), batch):
        part = slice(start, start + batch)
        stream.add(p[part], np.ones(len(p[part]), np.int64), position[part])
    return stream.result()


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.3, 4.0, 60.0])
def test_inflation__is_lambda_gc_of_the_whole_array(factor):
    p = neg_log_10_p_from_chi2(stats.chi2(1).rvs(20_001, random_state=0) * factor)
    np.testing.assert_allclose(inflation(p).lambda_gc, lambda_gc(p), rtol=5e-4)
    assert inflation(np.append(p, np.nan)).variants == 20_001


def test_inflation__of_nothing_is_not_a_number():
    assert np.isnan(inflation(np.array([np.nan])).lambda_gc)
    assert InflationStream().result().variants == 0


def test_units__are_the_published_formulas():
    # 1 + (lambda - 1) 1000 / n; binary (de Bakker 2008): 1 + (lambda - 1) (1/cases + 1/controls) / (2/1000).
    assert scaled_lambda(1.4, units_of_1000(40_000)) == pytest.approx(1.01)
    wanted = 1 + 0.4 * (1 / 2000 + 1 / 38_000) / (1 / 1000 + 1 / 1000)
    assert scaled_lambda(1.4, units_of_1000(40_000, 2000)) == pytest.approx(wanted)
    assert units_of_1000(2000, 1000) == pytest.approx(1)


def correlated_p(rng: np.random.Generator, phenotypes: int, factor: float = 1.0) -> NDArray:
    """-log10 p (phenotypes, 3000) of z-scores that correlate by 0.9 from one variant to the next."""
    z = rng.normal(size=(3000, phenotypes))
    for i in range(1, len(z)):
        z[i] = 0.9 * z[i - 1] + np.sqrt(1 - 0.81) * z[i]
    return neg_log_10_p_from_chi2(factor * z.T**2)


@pytest.mark.parametrize("limit", [1.0, 1.3])
def test_largest_by_chance__is_passed_as_often_as_it_says(limit):
    found = [inflation(p, batch=3000) for p in correlated_p(np.random.default_rng(3), 1000, limit)]
    beyond = [each.lambda_gc > largest_by_chance(limit, each, 0.01) for each in found]
    assert 0.003 < np.mean(beyond) < 0.02
    assert not any(each.lambda_gc > largest_by_chance(limit, each, 1e-6) for each in found)
    # These variants count for less than they are; taken as independent they would fail one in seven.
    naive = [Inflation(f.variants, f.lambda_gc, f.variants, f.blocks) for f in found]
    assert np.mean([each.lambda_gc > largest_by_chance(limit, each, 0.01) for each in naive]) > 0.1


def test_largest_by_chance__still_finds_what_is_inflated():
    found = [inflation(p, batch=3000) for p in correlated_p(np.random.default_rng(4), 200, 2.5)]
    assert np.mean([each.lambda_gc > largest_by_chance(1.05, each, 1e-6) for each in found]) > 0.95


def test_largest_by_chance__of_too_few_variants_is_infinite():
    one_block = inflation(neg_log_10_p_from_chi2(np.ones(50)), np.zeros(50, np.int64))
    assert one_block.blocks == 1
    assert largest_by_chance(1.05, one_block, 1e-6) == np.inf
    few = inflation(neg_log_10_p_from_chi2(stats.chi2(1).rvs(20, random_state=1)), np.arange(20) * 10_000_000)
    assert largest_by_chance(1.05, few, 1e-6) == np.inf
