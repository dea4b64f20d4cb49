"""Tests of many scores in blocks: those of `associate`, what is left out by p, and lambda GC of all."""

import numpy as np
import pytest

from edp_assets.science.genetics.calibration import lambda_gc
from edp_assets.science.genetics.inflation import InflationStream
from edp_assets.science.genetics.projection import associate
from edp_assets.science.genetics.score_tests import ScoreTests

N, COMPONENTS, SCORES, VARIANTS = 4000, 30, 70, 2000
CHROMOSOME, POSITION = np.arange(VARIANTS) // 900, np.arange(VARIANTS) % 900 * 40_000


@pytest.fixture(scope="module")
def projected():
    """Products of null variants, of which some carry a score, and the scores' coordinates."""
    rng = np.random.default_rng(0)
    gg = rng.uniform(100, 2000, VARIANTS)
    gz = rng.normal(size=(VARIANTS, COMPONENTS)) * np.sqrt(gg / N)[:, None]
    c = rng.normal(size=(COMPONENTS, SCORES))
    direction = c[:, :5].T / np.linalg.norm(c[:, :5], axis=0)[:, None]
    gz[:5] += 0.15 * np.sqrt(gg[:5, None]) * direction  # r = 0.15
    yy = np.square(c).sum(axis=0) * rng.uniform(1, 1.5, SCORES)
    return gz.astype(np.float32), gg, c, yy


def blocks(tests: ScoreTests, gz: np.ndarray, gg: np.ndarray, size: int):
    for start in range(0, len(gg), size):
        part = slice(start, start + size)
        for tested in tests.block(gz[part], gg[part], CHROMOSOME[part], POSITION[part]):
            yield start, tested


def test_score_tests__are_those_of_associate(projected):
    gz, gg, c, yy = projected
    expected = associate(gz, gg, c, yy, N, 5)
    tests = ScoreTests(c, yy, N, 5, np.ones(SCORES))
    for start, tested in blocks(tests, gz, gg, 700):
        assert tested.rows is None
        part = slice(start, start + 700)
        for name in ("beta", "standard_error", "neg_log_10_p_value"):
            found, wanted = getattr(tested.association, name), getattr(expected, name)[tested.score, part]
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)
    wanted = [lambda_gc(p) for p in expected.neg_log_10_p_value]
    found = tests.inflation.results()
    # Of 2,000 variants the median is a gap wide.
    np.testing.assert_allclose([each.lambda_gc for each in found], wanted, rtol=0.01)
    for each, p in zip(found, expected.neg_log_10_p_value, strict=True):
        stream = InflationStream()
        stream.add(p, CHROMOSOME, POSITION)
        assert each.variants == VARIANTS
        assert each.blocks == stream.result().blocks == 18
        np.testing.assert_allclose(each.effective_variants, stream.result().effective_variants)
        np.testing.assert_allclose(each.lambda_gc, stream.result().lambda_gc, rtol=0.01)


@pytest.mark.parametrize("largest_p", [0.5, 1e-3, 5e-8])
def test_score_tests__keep_exactly_the_variants_of_small_p(projected, largest_p):
    gz, gg, c, yy = projected
    expected = associate(gz, gg, c, yy, N, 5)
    of_each = np.where(np.arange(SCORES) % 2, 1.0, largest_p)
    tests = ScoreTests(c, yy, N, 5, of_each)
    kept = {score: [] for score in range(SCORES)}
    for start, tested in blocks(tests, gz, gg, 700):
        rows = np.arange(len(tested.association.beta)) if tested.rows is None else tested.rows
        kept[tested.score] += (start + rows).tolist()
    assert (expected.neg_log_10_p_value[:5, :5].diagonal() > 8).all()
    for score, rows in kept.items():
        wanted = np.flatnonzero(expected.neg_log_10_p_value[score] >= -np.log10(of_each[score]))
        assert rows == wanted.tolist()
        assert tests.kept[score] == len(rows)
    # Lambda is of all variants, whatever is kept of them.
    assert {each.variants for each in tests.inflation.results()} == {VARIANTS}


def test_score_tests__a_score_that_is_the_variant_itself_has_a_finite_p(projected):
    gz, gg, c, yy = projected
    gz, yy = gz.copy(), yy.copy()
    yy[0] = np.square(c[:, 0]).sum()
    gz[3] = c[:, 0] * np.sqrt(gg[3] / yy[0])  # r = 1
    p = associate(gz, gg, c, yy, N, 5).neg_log_10_p_value
    for _, tested in blocks(ScoreTests(c, yy, N, 5, np.ones(SCORES)), gz, gg, VARIANTS):
        for found in (tested.association.neg_log_10_p_value, p[tested.score]):
            assert np.isfinite(found.astype(np.float32)).all()  # as it is stored
            assert tested.score or found.argmax() == 3
            assert tested.score or found[3] > 323.3  # p itself underflows


def test_score_tests__refuse_what_cannot_be_tested(projected):
    gz, gg, c, yy = projected
    with pytest.raises(ValueError, match="leave no degree of freedom"):
        ScoreTests(c, yy, 5, 5, np.ones(SCORES))
    tests = ScoreTests(c, yy, N, 5, np.ones(SCORES))
    with pytest.raises(ValueError, match="1 variants cannot be tested"):
        list(tests.block(gz, np.where(np.arange(VARIANTS) == 3, 0.0, gg), CHROMOSOME, POSITION))
    with pytest.raises(ValueError, match="variants in gg by components in c"):
        list(tests.block(gz[:, 1:], gg, CHROMOSOME, POSITION))
