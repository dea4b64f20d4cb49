"""Correlations against scipy, AUC against scikit-learn, with gaps, ties and what does not vary."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import roc_auc_score

from edp_assets.science.phenotypes.tracking import correlations, roc_aucs

RNG = np.random.default_rng(0)
N = 120


def test_correlations__are_scipys_in_those_who_have_both() -> None:
    scores, variables = RNG.normal(size=(N, 3)), RNG.normal(size=(N, 5))
    variables[:, 1] += scores[:, 0]
    variables[:40, 2] = np.nan
    variables[10:, 4] = np.nan
    found = correlations(scores, variables)
    for k in range(3):
        for m in range(5):
            there = np.isfinite(variables[:, m])
            assert found.pearson_r[k, m] == pytest.approx(pearsonr(scores[there, k], variables[there, m])[0])
            assert found.n[k, m] == there.sum()


def test_correlations__what_does_not_vary_has_none() -> None:
    variables = np.column_stack([np.full(N, 0.1), np.full(N, np.nan), RNG.normal(size=N)])
    r = correlations(np.column_stack([RNG.normal(size=N), np.full(N, 7.3)]), variables).pearson_r
    assert np.isfinite(r).tolist() == [[False, False, True], [False, False, False]]


def test_correlations__bad_input_says_what_was_wanted() -> None:
    with pytest.raises(ValueError, match="of the same people"):
        correlations(np.zeros((3, 1)), np.zeros((4, 1)))
    with pytest.raises(ValueError, match="wanted scores without gaps"):
        correlations(np.full((3, 1), np.nan), np.zeros((3, 1)))


def test_roc_aucs__are_sklearns_with_ties() -> None:
    scores = RNG.integers(0, 6, size=(N, 4)).astype(float)
    cases = RNG.uniform(size=(N, 3)) < (0.1, 0.5, 0.9)
    found = roc_aucs(scores, cases)
    for k in range(4):
        for m in range(3):
            assert found[k, m] == pytest.approx(roc_auc_score(cases[:, m], scores[:, k]))


def test_roc_aucs__without_cases_or_without_others_there_is_none() -> None:
    cases = np.column_stack([np.zeros(N, bool), np.ones(N, bool)])
    assert np.isnan(roc_aucs(RNG.normal(size=(N, 1)), cases)).all()
