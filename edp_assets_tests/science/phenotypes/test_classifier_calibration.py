"""The classifier-guided score on labels that mean nothing: what it says must be what chance says."""

import numpy as np
import pytest
from scipy.stats import binom, kstest, ranksums

from edp_assets.science.phenotypes.classifier import OrganClassifier
from edp_assets.science.phenotypes.discriminant import rank_sum_z
from edp_assets.science.phenotypes.selection import select_classifier
from edp_assets.settings import ClassifierSettings

PERMUTATIONS = 200


@pytest.fixture(scope="module")
def permuted():
    """Scores of permuted labels: 40 cases of 400 people, 24 dimensions of falling variance."""
    rng = np.random.default_rng(0)
    organ = OrganClassifier(rng.normal(size=(400, 24)) * np.arange(1, 25) ** -0.5)
    labels = [rng.permutation(400) < 40 for _ in range(PERMUTATIONS)]
    return labels, [organ.score(cases) for cases in labels]


def plausible(rejected, p):
    """Whether this many of the permutations is within the central 99% of what chance gives."""
    low, high = binom.interval(0.99, PERMUTATIONS, p)
    return low <= rejected <= high


def test_out_of_fold_auc__of_permuted_labels_is_a_half(permuted):
    auc = np.array([score.roc_auc_out_of_fold for score in permuted[1]])
    assert abs(auc.mean() - 0.5) < 3 * auc.std(ddof=1) / np.sqrt(PERMUTATIONS)
    assert (
        np.mean([score.roc_auc for score in permuted[1]]) > 0.6
    )  # the best fold's is biased: why selection reads the other


def test_rank_sum_p__of_permuted_labels_is_uniform(permuted):
    p = np.array([score.p_rank_sum for score in permuted[1]])
    assert kstest(p, "uniform").pvalue > 0.01
    assert kstest([score.rank_sum_z for score in permuted[1]], "norm").pvalue > 0.01
    assert plausible((p <= 0.05).sum(), 0.05)
    assert plausible((p <= 0.01).sum(), 0.01)


def test_rank_sum_p__of_pooled_out_of_fold_scores_would_not_be(permuted):
    """Why the statistic goes forward through the folds; and the test above can see what it guards against."""
    p = np.array(
        [ranksums(s.out_of_fold[cases], s.out_of_fold[~cases]).pvalue for cases, s in zip(*permuted, strict=True)]
    )
    assert not plausible((p <= 0.05).sum(), 0.05)
    assert not plausible((p <= 0.01).sum(), 0.01)


def test_select_classifier__keeps_no_more_permuted_labels_than_nominal(permuted):
    settings = ClassifierSettings()
    figures = [(score.roc_auc_out_of_fold, score.neg_log_10_p_rank_sum) for score in permuted[1]]
    selected = sum(select_classifier(*f, settings)[0] for f in figures)
    # Of a two-sided p at most 0.01, the half in which cases score lower has an AUC below a half.
    assert plausible(selected, settings.max_p / 2)


def test_rank_sum_z__equals_scipy_of_every_group_scored_by_the_groups_before():
    """The statistic rebuilt by hand: three folds are three groups, the second's penalty is the preset one."""
    rng = np.random.default_rng(3)
    z = rng.normal(size=(300, 6))
    cases = z[:, 2] + rng.normal(size=300) > 1.5
    fold = rng.permutation(300) % 3
    found = OrganClassifier(z, fold).score(cases).rank_sum_z
    from edp_assets.science.phenotypes.discriminant import PENALTIES, Moments, fisher_directions
    from edp_assets.science.phenotypes.smote import Neighbours

    statistics, aucs = [], np.zeros(len(PENALTIES))
    for stage in (1, 2):
        train, test = fold < stage, fold == stage
        small, large = z[train & cases], z[train & ~cases]
        expected = Neighbours(small, 5).expected_moments(np.ones(len(small), dtype=bool), len(large))
        scores = z @ fisher_directions(expected, Moments.of(large), PENALTIES)
        by_penalty = np.array([ranksums(s[test & cases], s[test & ~cases]).statistic for s in scores.T])
        statistics.append(by_penalty[8 if stage == 1 else int(aucs.argmax())])
        aucs += by_penalty
    assert PENALTIES[8] == pytest.approx(1)
    assert found == pytest.approx((statistics[0] + np.sqrt(2) * statistics[1]) / np.sqrt(3), abs=0.02)


def test_rank_sum_z__equals_scipy():
    scores = np.random.default_rng(0).normal(size=80)
    cases = np.arange(80) < 30
    auc = np.mean(scores[cases][:, None] > scores[~cases])
    assert rank_sum_z(auc, 30, 50) == pytest.approx(ranksums(scores[cases], scores[~cases]).statistic)
