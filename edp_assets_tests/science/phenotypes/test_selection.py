"""Decisions at and around their thresholds."""

import numpy as np
import pytest

from edp_assets.science.phenotypes.clustering import fisher_enrichment
from edp_assets.science.phenotypes.selection import select_classifier, select_cluster, select_island
from edp_assets.settings import ClassifierSettings, ClusteringSettings, IslandSettings


@pytest.mark.parametrize(
    ("auc", "neg_log_10_p", "selected", "reason"),
    [
        (0.75, 6.3, True, "out-of-fold AUC 0.750, rank-sum p 5.0e-7"),
        (0.75, 400.0, True, "out-of-fold AUC 0.750, rank-sum p 1.0e-400"),
        (0.60, 2.0, True, "out-of-fold AUC 0.600, rank-sum p 0.01"),
        (0.59, 6.0, False, "out-of-fold AUC 0.590 is below 0.6"),
        (0.30, 6.0, False, "out-of-fold AUC 0.300 is below 0.6"),
        (0.75, 1.5, False, "rank-sum p 0.0316 is above 0.01"),
        (float("nan"), 6.0, False, "out-of-fold AUC nan is below 0.6"),
    ],
)
def test_select_classifier__decides_with_a_reason(auc, neg_log_10_p, selected, reason):
    assert select_classifier(auc, neg_log_10_p, ClassifierSettings()) == (selected, reason)


@pytest.mark.parametrize(
    ("inside", "odds_ratio", "neg_log_10_p", "selected", "reason"),
    [
        (5, 2.5, 1.5, True, "odds ratio 2.50, Fisher p 0.0316"),
        (5, float("inf"), 9.999, True, "odds ratio inf, Fisher p 1.0e-10"),
        (4, 2.5, 9.0, False, "4 cases in the cluster, fewer than 5"),
        (9, 0.4, 9.0, False, "not enriched: odds ratio 0.40"),
        (9, float("nan"), 0.0, False, "not enriched: odds ratio nan"),
        (9, 2.5, 1.0, False, "Fisher p 0.1 is above 0.05"),
    ],
)
def test_select_cluster__decides_with_a_reason(inside, odds_ratio, neg_log_10_p, selected, reason):
    assert select_cluster(inside, odds_ratio, neg_log_10_p, ClusteringSettings()) == (selected, reason)


@pytest.mark.parametrize(
    ("inside", "odds_ratio", "p", "selected", "reason"),
    [
        (5, 2.5, 0.05, True, "odds ratio 2.50, permutation p 0.05"),
        (5, float("inf"), 0.005, True, "odds ratio inf, permutation p 0.005"),
        (4, 2.5, 0.005, False, "4 cases in the island, fewer than 5"),
        (9, 0.4, 0.005, False, "not enriched: odds ratio 0.40"),
        (9, 2.5, 0.21, False, "no better than islands of permuted labels: p 0.21 is above 0.05"),
        (9, 2.5, float("nan"), False, "no better than islands of permuted labels: p nan is above 0.05"),
    ],
)
def test_select_island__decides_with_a_reason(inside, odds_ratio, p, selected, reason):
    assert select_island(inside, odds_ratio, p, IslandSettings()) == (selected, reason)


def test_select_cluster__takes_the_enriched_cluster_of_a_code():
    cases = np.zeros(100, bool)
    cases[60:72] = True
    cases[:3] = True
    table = fisher_enrichment(np.repeat([0, 1, 2], [60, 30, 10]), cases)
    evidence = table.select("cases_in_cluster", "odds_ratio", "neg_log_10_p_fisher").iter_rows()
    assert [select_cluster(*row, ClusteringSettings())[0] for row in evidence] == [False, True, False]
