"""The classifier-guided score against scikit-learn, imbalanced-learn and scipy, on planted traits and on nulls."""

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE
from scipy.stats import ranksums
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from edp_assets.science.phenotypes.classifier import classifier_score
from edp_assets.science.phenotypes.discriminant import (
    Moments,
    fisher_directions,
    rank_sum_z,
    roc_auc,
    two_sided_p,
)
from edp_assets.science.phenotypes.errors import PhenotypeError
from edp_assets.science.phenotypes.folds import stratified_folds
from edp_assets.science.phenotypes.smote import Neighbours, sampled_rows


def embeddings(n=600, d=32, n_cases=50, component=5, liability=0.7, seed=0):
    """Embeddings with a few large components, a trait along a middle one, and its most liable people as cases."""
    rng = np.random.default_rng(seed)
    components = rng.normal(size=(n, d))
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    trait = components[:, component]
    z = (components * np.arange(1, d + 1.0) ** -0.75) @ rotation.T + 2.0
    liable = liability * trait + np.sqrt(1 - liability**2) * rng.normal(size=n)
    return z, liable >= np.sort(liable)[-n_cases], trait


@pytest.fixture(scope="module")
def planted():
    return embeddings()


@pytest.fixture(scope="module")
def result(planted):
    return classifier_score(planted[0], planted[1])


def test_classifier_score__recovers_the_planted_trait(planted, result):
    _, cases, trait = planted
    assert np.corrcoef(result.score, trait)[0, 1] > 0.85
    assert np.corrcoef(result.score, trait)[0, 1] > 2 * np.corrcoef(cases, trait)[0, 1]
    assert result.score[cases].mean() > result.score[~cases].mean()


def test_classifier_score__is_the_projection_on_its_weights(planted, result):
    np.testing.assert_allclose(planted[0] @ result.weights, result.score, rtol=1e-10)


def test_classifier_score__statistics_equal_sklearn_and_scipy(planted, result):
    _, cases, _ = planted
    assert result.roc_auc_out_of_fold == pytest.approx(roc_auc_score(cases, result.out_of_fold))
    p = ranksums(result.out_of_fold[cases], result.out_of_fold[~cases]).pvalue
    assert result.p_rank_sum == pytest.approx(p)
    assert result.neg_log_10_p_rank_sum == pytest.approx(-np.log10(p))
    for f, (_, held_out) in enumerate(StratifiedKFold(10, shuffle=True, random_state=0).split(planted[0], cases)):
        assert result.fold_auc[f] == pytest.approx(roc_auc_score(cases[held_out], result.out_of_fold[held_out]))
    assert result.roc_auc == max(result.fold_auc) == result.fold_auc[result.best_fold]


def test_classifier_score__best_model_equals_sklearn_lda_on_the_same_resampled_data(planted, result):
    z, cases, _ = planted
    train = list(StratifiedKFold(10, shuffle=True, random_state=0).split(z, cases))[result.best_fold][0]
    resampled, labels = SMOTE(random_state=0).fit_resample(z[train], cases[train])
    within = np.mean([np.cov(resampled[labels == c].T, bias=True) for c in (True, False)], axis=0)
    # sklearn shrinks to (1 - a) S + a tr(S)/d I: our penalty L is a / (1 - a).
    shrinkage = result.penalty / (1 + result.penalty)

    class Ridge:
        def fit(self, x):
            covariance = np.cov(x.T, bias=True)
            target = np.trace(within) / len(within) * np.eye(len(within))
            self.covariance_ = (1 - shrinkage) * covariance + shrinkage * target
            return self

    lda = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Ridge()).fit(resampled, labels)
    assert np.corrcoef(z @ lda.coef_[0], result.score)[0, 1] > 0.999999


@pytest.mark.parametrize("solver", ["eigen", "lsqr"])
def test_fisher_directions__equal_sklearn_lda(planted, solver):
    z, cases, _ = planted
    # sklearn shrinks each class's correlations, not covariances: of equal variances the two are the same.
    z = z / np.sqrt((z[cases].var(axis=0) + z[~cases].var(axis=0)) / 2)
    cases_scaled = (z[cases] - z[cases].mean(axis=0)) / z[cases].std(axis=0) + z[cases].mean(axis=0)
    controls_scaled = (z[~cases] - z[~cases].mean(axis=0)) / z[~cases].std(axis=0) + z[~cases].mean(axis=0)
    x = np.concatenate([cases_scaled, controls_scaled])
    y = np.r_[np.ones(len(cases_scaled)), np.zeros(len(controls_scaled))]
    for penalty in (0.01, 1.0, 20.0):
        ours = fisher_directions(Moments.of(x[y == 1]), Moments.of(x[y == 0]), np.array([penalty]))[:, 0]
        lda = LinearDiscriminantAnalysis(solver=solver, shrinkage=penalty / (1 + penalty)).fit(x, y)
        assert np.corrcoef(x @ lda.coef_[0], x @ ours)[0, 1] > 0.9999


def test_fisher_directions__largest_penalty_is_the_difference_of_means(planted):
    z, cases, _ = planted
    w = fisher_directions(Moments.of(z[cases]), Moments.of(z[~cases]), np.array([1e9]))[:, 0]
    difference = z[cases].mean(axis=0) - z[~cases].mean(axis=0)
    assert w @ difference / np.linalg.norm(w) / np.linalg.norm(difference) > 1 - 1e-9


def test_smote__equals_imblearn_on_both_classes(planted):
    z, cases, _ = planted
    resampled, labels = SMOTE(k_neighbors=4, random_state=3).fit_resample(z, cases)
    np.testing.assert_array_equal(sampled_rows(z[cases], int((~cases).sum()), 4, 3), resampled[labels])


def test_expected_smote_moments__are_the_average_over_draws(planted):
    z, cases, _ = planted
    small = z[cases][:, :3]
    expected = Neighbours(small, 5).expected_moments(np.ones(len(small), dtype=bool), 450)
    draws = [Moments.of(sampled_rows(small, 450, 5, seed)) for seed in range(100)]
    assert expected.count == draws[0].count == 450
    for name in ("total", "outer"):
        drawn = np.array([getattr(m, name) for m in draws])
        error = drawn.std(axis=0) / np.sqrt(len(draws))
        assert (np.abs(getattr(expected, name) - drawn.mean(axis=0)) < 5 * error).all()


def test_moments__of_a_difference_are_those_of_the_rest(planted):
    z, cases, _ = planted
    rest = Moments.of(z) - Moments.of(z[cases])
    np.testing.assert_allclose(rest.mean, z[~cases].mean(axis=0))
    np.testing.assert_allclose(rest.scatter / rest.count, np.cov(z[~cases].T, bias=True), atol=1e-10)


def test_classifier_score__permuted_labels_give_no_out_of_fold_signal():
    z, cases, _ = embeddings(n=300, d=64, n_cases=40)
    rng = np.random.default_rng(1)
    results = [classifier_score(z, rng.permutation(cases), folds=5) for _ in range(20)]
    auc = np.array([r.roc_auc_out_of_fold for r in results])
    # One AUC of 40 cases and 260 controls has a standard error of 0.05, so the mean of 20 has 0.011.
    assert abs(auc.mean() - 0.5) < 0.035
    assert np.mean([r.roc_auc for r in results]) > 0.55  # the best fold's is biased: why selection reads the other


def test_permutation_null__would_see_smote_before_the_split():
    """The test above has the power to see the mistake it guards against."""
    z, cases, _ = embeddings(n=300, d=64, n_cases=40)
    permuted = np.random.default_rng(1).permutation(cases)
    resampled, labels = SMOTE(random_state=0).fit_resample(z, permuted)
    assert classifier_score(resampled, labels, folds=5).roc_auc_out_of_fold > 0.7


def test_classifier_score__held_out_people_do_not_move_their_own_model(planted):
    """Whatever happens to the people of one fold, that fold's model and penalty stay."""
    z, cases, _ = planted
    fold = stratified_folds(cases, 10, 0)
    held_out = fold == 2
    moved = z.copy()
    moved[held_out] += np.random.default_rng(0).normal(size=z.shape[1])
    scores = [classifier_score(x, cases).out_of_fold[held_out] for x in (z, moved)]
    # A common shift of the held-out people shifts their scores by one constant.
    np.testing.assert_allclose(np.diff(scores, axis=0).std(), 0, atol=1e-8)


def test_classifier_score__is_deterministic_in_the_seed(planted):
    z, cases, _ = planted
    first, second = (classifier_score(z, cases, folds=4, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.score, second.score)
    assert not np.array_equal(first.score, classifier_score(z, cases, folds=4, seed=6).score)


def test_classifier_score__does_not_depend_on_scale_or_origin(planted):
    z, cases, _ = planted
    base, moved = classifier_score(z, cases, folds=4), classifier_score(z * 100 + 7, cases, folds=4)
    np.testing.assert_allclose(base.out_of_fold, moved.out_of_fold, atol=1e-6)


def test_classifier_score__cases_in_the_majority_still_score_higher():
    z, cases, trait = embeddings(n=300, d=16, n_cases=220)
    result = classifier_score(z, cases, folds=5)
    assert result.score[cases].mean() > result.score[~cases].mean()
    assert np.corrcoef(result.score, trait)[0, 1] > 0.8


def test_classifier_score__works_with_as_few_cases_as_folds():
    z, cases, _ = embeddings(n=200, d=16, n_cases=3)
    result = classifier_score(z, cases, folds=3)
    assert np.isfinite(result.score).all()
    assert 0 <= result.roc_auc_out_of_fold <= 1


def test_classifier_score__works_with_more_dimensions_than_people():
    z, cases, _ = embeddings(n=60, d=100, n_cases=20)
    assert np.isfinite(classifier_score(z, cases, folds=4).score).all()


def test_two_sided_p__does_not_underflow():
    scores = np.arange(20_000.0)
    z = rank_sum_z(roc_auc(scores, scores >= 15_000), 5_000, 15_000)
    assert z == pytest.approx(ranksums(scores[15_000:], scores[:15_000]).statistic)
    p, neg_log_10_p = two_sided_p(float(z))
    assert p == 0
    assert neg_log_10_p == pytest.approx(2446, rel=0.01)


def _nan(z):
    z = z.copy()
    z[7, 3] = np.nan
    return z


@pytest.mark.parametrize(
    ("change_z", "n_cases", "message"),
    [
        (lambda z: z, 0, "^no cases$"),
        (lambda z: z, 60, "^no controls$"),
        (lambda z: z, 7, r"^fewer cases \(7\) than folds \(10\)$"),
        (lambda z: z, 55, r"^fewer controls \(5\) than folds \(10\)$"),
        (_nan, 20, "of 1 of 60 participants hold NaN"),
        (np.zeros_like, 20, "do not vary"),
        (lambda z: z[:, 0], 20, r"found shape \(60,\)"),
        (lambda z: z[:50], 20, r"cases must be boolean, one a participant \(50\)"),
    ],
)
def test_classifier_score__gives_a_reason_for_what_it_cannot_do(change_z, n_cases, message):
    z = np.random.default_rng(0).normal(size=(60, 8))
    with pytest.raises(PhenotypeError, match=message):
        classifier_score(change_z(z), np.arange(60) < n_cases)


def test_classifier_score__refuses_labels_that_are_not_boolean():
    with pytest.raises(PhenotypeError, match=r"must be boolean.*found float64"):
        classifier_score(np.ones((6, 2)), np.array([0.0, 1.0, 0.0, 1.0, 1.0, np.nan]))


def test_classifier_score__refuses_two_folds():
    with pytest.raises(ValueError, match="at least 3 folds"):
        classifier_score(np.ones((6, 2)), np.arange(6) < 3, folds=2)
