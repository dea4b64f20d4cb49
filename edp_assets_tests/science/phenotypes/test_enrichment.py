"""Corrections for many tests, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from edp_assets.science.phenotypes.enrichment import corrected


@given(st.lists(st.floats(1e-12, 1.0), min_size=1, max_size=60))
def test_corrected__equals_scipy_and_bonferroni(p_values: list[float]) -> None:
    p = np.array(p_values)
    bonferroni, q_value = corrected(-np.log10(p))
    np.testing.assert_allclose(10.0**-q_value, false_discovery_control(p), rtol=1e-9)
    np.testing.assert_allclose(10.0**-bonferroni, np.minimum(p * len(p), 1), rtol=1e-9)


def test_corrected__of_null_tests_finds_as_many_as_it_says() -> None:
    rng = np.random.default_rng(0)
    found = [corrected(-np.log10(rng.uniform(size=500))) for _ in range(400)]
    for values in zip(*found, strict=True):  # of null tests alone, any discovery is false: both err in 5% of families
        share = np.mean([(v > -np.log10(0.05)).any() for v in values])
        assert 0.02 < share < 0.09


def test_corrected__beyond_what_a_p_value_can_hold() -> None:
    bonferroni, q_value = corrected(np.array([900.0, 800.0, 0.1]))
    np.testing.assert_allclose(bonferroni, [900 - np.log10(3), 800 - np.log10(3), 0])
    np.testing.assert_allclose(q_value, [900 - np.log10(3), 800 - np.log10(1.5), 0.1])


def test_corrected__missing_values_and_nothing() -> None:
    with pytest.raises(ValueError, match="1 of 2 p-values are missing"):
        corrected(np.array([1.0, np.nan]))
    assert [a.size for a in corrected(np.array([]))] == [0, 0]
