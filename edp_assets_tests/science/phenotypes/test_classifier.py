"""The classifier-guided score against scikit-learn, imbalanced-learn and scipy, on planted traits and on nulls."""

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE
from scipy.stats import ranksums
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from edp_assets.science.phenotypes import classifier
from edp_assets.science.phenotypes.classifier import OrganClassifier, classifier_score
from edp_assets.science.phenotypes.discriminant import (
    PENALTIES,
    Moments,
    fisher_direction,
    fisher_directions,
    rank_sum_z,
    roc_auc,
    two_sided_p,
)
from edp_assets.science.phenotypes.errors import PhenotypeError
from edp_assets.science.phenotypes.folds import stratified_folds


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


def test_classifier_score__statistics_equal_sklearn(planted, result):
    _, cases, _ = planted
    assert result.roc_auc_out_of_fold == pytest.approx(roc_auc_score(cases, result.out_of_fold))
    for f, (_, held_out) in enumerate(StratifiedKFold(10, shuffle=True, random_state=0).split(planted[0], cases)):
        assert (result.fold[held_out] == f).all()
        assert result.fold_auc[f] == pytest.approx(roc_auc_score(cases[held_out], result.out_of_fold[held_out]))
    assert result.roc_auc == max(result.fold_auc) == result.fold_auc[result.best_fold]
    assert result.p_rank_sum == pytest.approx(10**-result.neg_log_10_p_rank_sum)


def test_classifier_score__trained_on_is_everybody_but_the_best_fold(planted, result):
    np.testing.assert_array_equal(result.trained_on, result.fold != result.best_fold)
    _, cases, _ = planted
    train = result.trained_on
    np.testing.assert_allclose(result.score[train & ~cases].std(), 1, rtol=1e-5)


def sklearn_scores(z, cases, train, penalty, resampled, labels):
    """Scores of scikit-learn's LDA on resampled rows, the penalty given to it as its own kind of shrinkage."""
    within = np.mean([np.cov(resampled[labels == c].T, bias=True) for c in (True, False)], axis=0)
    # sklearn shrinks to (1 - a) S + a tr(S)/d I: our penalty L is a / (1 - a).
    shrinkage = penalty / (1 + penalty)

    class Ridge:
        def fit(self, x):
            covariance = np.cov(x.T, bias=True)
            target = np.trace(within) / len(within) * np.eye(len(within))
            self.covariance_ = (1 - shrinkage) * covariance + shrinkage * target
            return self

    lda = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Ridge()).fit(resampled, labels)
    return z @ lda.coef_[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("given", [True, False])
def test_organ_classifier__every_fold_equals_sklearn_lda_on_the_same_sampled_rows(planted, dtype, given):
    z, cases, _ = planted
    z = z.astype(dtype)
    folds = stratified_folds(cases, 5, 1) if given else 5
    result = OrganClassifier(z, folds, smote="sampled").score(cases)
    for f in range(5):
        train = result.fold != f
        resampled, labels = SMOTE(random_state=0).fit_resample(z[train], cases[train])
        scores = [sklearn_scores(z, cases, train, p, resampled, labels)[~train] for p in PENALTIES]
        # Which penalty was chosen is told of the best fold alone.
        agreement = [np.corrcoef(s, result.out_of_fold[~train])[0, 1] for s in scores]
        assert max(agreement) > 0.99999
        if f == result.best_fold:
            assert PENALTIES[int(np.argmax(agreement))] == pytest.approx(result.penalty)


def test_organ_classifier__without_penalty_equals_sklearn_lda(planted):
    z, cases, _ = planted
    w = fisher_direction(Moments.of(z[cases]), Moments.of(z[~cases]), 0.0)
    lda = LinearDiscriminantAnalysis(solver="eigen").fit(z, cases)
    assert np.corrcoef(z @ lda.coef_[0], z @ w)[0, 1] > 0.999999


def test_organ_classifier__expected_smote_gives_the_sampled_auc_within_its_noise():
    z, cases, _ = embeddings(n=1500, d=48, n_cases=90, liability=0.4)
    fold = stratified_folds(cases, 5, 0)
    expected = OrganClassifier(z, fold).score(cases).roc_auc_out_of_fold
    sampled = [OrganClassifier(z, fold, smote="sampled", seed=s).score(cases).roc_auc_out_of_fold for s in range(8)]
    noise = np.std(sampled, ddof=1)
    assert noise < 0.01
    assert abs(expected - np.mean(sampled)) < 2 * noise


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


def test_moments__of_a_difference_are_those_of_the_rest(planted):
    z, cases, _ = planted
    rest = Moments.of(z) - Moments.of(z[cases])
    np.testing.assert_allclose(rest.mean, z[~cases].mean(axis=0))
    np.testing.assert_allclose(rest.scatter / rest.count, np.cov(z[~cases].T, bias=True), atol=1e-10)


def test_permutation_null__would_see_smote_before_the_split():
    """What tests of permuted labels guard against shows: out-of-fold AUC far above a half."""
    z, cases, _ = embeddings(n=300, d=64, n_cases=40)
    permuted = np.random.default_rng(1).permutation(cases)
    resampled, labels = SMOTE(random_state=0).fit_resample(z, permuted)
    assert classifier_score(resampled, labels, folds=5).roc_auc_out_of_fold > 0.7


def models_out_of_fold(z, cases, fold):
    """Out-of-fold scores, less the constant that a common shift of held-out people adds."""
    return OrganClassifier(z, fold).score(cases).out_of_fold


def test_organ_classifier__held_out_people_do_not_move_their_own_model(planted):
    """Whatever happens to the people of one fold, that fold's model and penalty stay."""
    z, cases, _ = planted
    fold = stratified_folds(cases, 10, 0)
    held_out = fold == 2
    moved = z.copy()
    moved[held_out] += np.random.default_rng(0).normal(size=z.shape[1])
    scores = [models_out_of_fold(x, cases, fold)[held_out] for x in (z, moved)]
    # A common shift of the held-out people shifts their scores by one constant.
    np.testing.assert_allclose(np.diff(scores, axis=0).std(), 0, atol=1e-5)


def test_organ_classifier__held_out_labels_do_not_move_their_own_model(planted):
    """Labels of one fold changed: its model, penalty included, gives the same scores; every other fold's changes."""
    z, cases, _ = planted
    fold = stratified_folds(cases, 10, 0)
    for f in (0, 7):
        held_out = fold == f
        changed = cases.copy()
        changed[held_out] = np.random.default_rng(f).permutation(cases[held_out])
        before, after = (models_out_of_fold(z, c, fold) for c in (cases, changed))
        np.testing.assert_allclose(before[held_out], after[held_out], atol=1e-6)
        assert not np.isclose(before[~held_out], after[~held_out], atol=1e-3).all()


def test_held_out_labels__would_see_a_penalty_chosen_on_the_held_out_fold(planted, monkeypatch):
    """The test above has the power to see the mistake it guards against: a penalty that looks at its own fold."""
    z, cases, _ = planted
    fold = stratified_folds(cases, 10, 0)
    honest = classifier._Code._group_auc

    def leaking(self, group, directions):
        test = honest(self, group, directions)
        favourite = int(self.cases[self.fold == 0] @ np.arange((self.fold == 0).sum())) % len(PENALTIES)
        test.auc[:, favourite] += 1  # depends on the labels of fold 0
        return test

    monkeypatch.setattr(classifier._Code, "_group_auc", leaking)
    changed = cases.copy()
    changed[fold == 0] = np.roll(cases[fold == 0], 5)
    before, after = (models_out_of_fold(z, c, fold)[fold == 0] for c in (cases, changed))
    assert not np.allclose(before, after, atol=1e-3)


@pytest.mark.parametrize("n_cases", [60, 540])
def test_organ_classifier__folds_are_stratified_and_reused(n_cases):
    z, cases, _ = embeddings(n=600, n_cases=n_cases)
    organ = OrganClassifier(z, 5)
    fold = organ.score(cases).fold
    small = cases if n_cases < 300 else ~cases
    assert np.ptp(np.bincount(fold[small])) <= 1
    assert np.abs(np.bincount(fold[~small]) / 108 - 1).max() <= 0.1
    np.testing.assert_array_equal(fold[~small], organ._base.fold[~small])


def test_organ_classifier__draws_folds_where_the_base_ones_are_uneven():
    z, cases, _ = embeddings(n=60, d=8, n_cases=30)
    fold = OrganClassifier(z, 10).score(cases).fold
    assert (np.bincount(fold[cases]) == 3).all()
    assert (np.bincount(fold[~cases]) == 3).all()


def test_organ_classifier__a_score_depends_neither_on_codes_before_nor_on_threads(planted):
    z, cases, _ = planted
    other = np.random.default_rng(5).permutation(cases)
    alone = OrganClassifier(z, threads=1).score(cases)
    organ = OrganClassifier(z, threads=4)
    organ.score(other)
    for again in (organ.score(cases), organ.score(cases)):
        np.testing.assert_array_equal(again.out_of_fold, alone.out_of_fold)
        np.testing.assert_array_equal(again.score, alone.score)
        assert again.rank_sum_z == alone.rank_sum_z


def test_organ_classifier__float32_equals_float64(planted):
    z, cases, _ = planted
    single, double = (OrganClassifier(x).score(cases) for x in (z.astype(np.float32), z))
    assert np.corrcoef(single.out_of_fold, double.out_of_fold)[0, 1] > 0.999999
    assert single.roc_auc_out_of_fold == pytest.approx(double.roc_auc_out_of_fold, abs=1e-4)


def test_organ_classifier__small_components_survive_a_large_one():
    """Noise of a hundred times the standard deviation, turned into every dimension, is not rounded into the trait."""
    z, cases, _ = embeddings(n=800, d=12, n_cases=100)
    noise = 100 * z.std() * np.random.default_rng(1).normal(size=(800, 1))
    turned = np.concatenate([z, noise], axis=1) @ np.linalg.qr(np.random.default_rng(2).normal(size=(13, 13)))[0]
    fold = stratified_folds(cases, 5, 0)
    alone, beside = (OrganClassifier(x, fold).score(cases).roc_auc_out_of_fold for x in (z, turned.astype(np.float32)))
    assert beside > alone - 0.01


@pytest.mark.parametrize("folds", [3, 4, 5, 6, 7, 12])
def test_organ_classifier__any_number_of_folds_finds_the_trait(planted, folds):
    z, cases, trait = planted
    result = OrganClassifier(z, folds).score(cases)
    assert len(result.fold_auc) == folds
    assert np.corrcoef(result.score, trait)[0, 1] > 0.85


def test_organ_classifier__duplicated_people_are_no_obstacle(planted):
    z, cases, trait = planted
    twice, labels = np.repeat(z, 2, axis=0), np.repeat(cases, 2)
    result = OrganClassifier(twice, 5).score(labels)
    assert np.corrcoef(result.score, np.repeat(trait, 2))[0, 1] > 0.8
    same = z.copy()
    same[cases] = z[cases][0]  # all cases are one point
    assert OrganClassifier(same, 5).score(cases).roc_auc_out_of_fold == 1


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


DEGENERATE = [
    (lambda z: z, 0, "^no cases$"),
    (lambda z: z, 1, r"^fewer cases \(1\) than folds \(10\)$"),
    (lambda z: z, 60, "^no controls$"),
    (lambda z: z, 7, r"^fewer cases \(7\) than folds \(10\)$"),
    (lambda z: z, 55, r"^fewer controls \(5\) than folds \(10\)$"),
    (_nan, 20, "of 1 of 60 participants hold NaN"),
    (np.zeros_like, 20, "^the embeddings do not vary$"),
    (lambda z: np.full_like(z, 3.1), 20, "^the embeddings do not vary$"),
    (lambda z: np.repeat(z[:1], len(z), axis=0), 20, "^the embeddings do not vary$"),
    (lambda z: (np.arange(60) < 20)[:, None] * np.ones(8) + 0.1, 20, "do not vary within cases and controls"),
    (lambda z: z[:, 0], 20, r"found shape \(60,\)"),
    (lambda z: z[:50], 20, r"cases must be boolean, one a participant \(50\)"),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("change_z", "n_cases", "message"), DEGENERATE)
def test_classifier_score__gives_a_reason_for_what_it_cannot_do(change_z, n_cases, message, dtype):
    z = change_z(np.random.default_rng(0).normal(size=(60, 8))).astype(dtype)
    cases = np.arange(60) < n_cases
    with pytest.raises(PhenotypeError, match=message):
        classifier_score(z, cases)
    with pytest.raises(PhenotypeError, match=message):
        OrganClassifier(z).score(cases)


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (np.arange(60) % 2, "at least 3 folds"),
        (np.arange(60) % 3 + 1, "must be 0, 1"),
        (np.arange(50) % 3, r"one a participant \(60\), found int64 of \(50,\)"),
        (np.arange(60) % 3 * 1.0, "found float64"),
        (2, "at least 3 folds"),
    ],
)
def test_organ_classifier__refuses_folds_that_are_none(folds, message):
    with pytest.raises(ValueError, match=message):
        OrganClassifier(np.random.default_rng(0).normal(size=(60, 8)), folds)


def test_organ_classifier__refuses_given_folds_without_a_case():
    z, fold = np.random.default_rng(0).normal(size=(60, 8)), np.arange(60) // 20
    with pytest.raises(PhenotypeError, match=r"^fold 1 holds no cases$"):
        OrganClassifier(z, fold).score(np.isin(np.arange(60), [0, 1, 2, 40, 41]))
    with pytest.raises(PhenotypeError, match=r"^fold 2 holds no controls$"):
        OrganClassifier(z, fold).score((fold == 2) | (np.arange(60) % 20 == 0))


def test_organ_classifier__refuses_an_unknown_kind_of_smote():
    with pytest.raises(ValueError, match="smote must be 'expected' or 'sampled', found 'none'"):
        OrganClassifier(np.ones((6, 2)), 3, smote="none")


def test_classifier_score__refuses_labels_that_are_not_boolean():
    with pytest.raises(PhenotypeError, match=r"must be boolean.*found float64"):
        classifier_score(np.ones((6, 2)), np.array([0.0, 1.0, 0.0, 1.0, 1.0, np.nan]))


def test_classifier_score__refuses_two_folds():
    with pytest.raises(ValueError, match="at least 3 folds"):
        classifier_score(np.ones((6, 2)), np.arange(6) < 3, folds=2)
