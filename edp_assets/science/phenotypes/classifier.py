"""Classifier-guided score (paper, section 3.1): one linear projection of the embeddings a code. No selection, no GWAS.

t = w'z with w the Fisher discriminant of cases against controls, (m_p - m_n)^2 / (s_p^2 + s_n^2) under an L2 penalty,
trained on classes that SMOTE made equal (section 4). The method needs only each class's count, mean and scatter, so
a fold's fit is a subtraction of moments and one eigendecomposition, whatever the number of participants.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from edp_assets.science.phenotypes.errors import PhenotypeError, checked_embeddings, checked_mask

PENALTIES = np.logspace(-4, 3, 15)
"""Penalties tried, as multiples of the mean within-class variance; at the largest, w is the difference of the means."""


@dataclass(frozen=True)
class ClassifierScore:
    """A code's score and how far the embeddings separate its cases.

    Attributes:
        score: (n_participants,) z @ weights, cases higher; from the best fold's model (paper, section 4).
        weights: (n_dims,) scaled so that the score has unit variance among the training controls.
        roc_auc: held-out ROC-AUC of the best fold; the best of several, so biased upwards.
        roc_auc_out_of_fold: ROC-AUC of `out_of_fold`: everybody is scored by a model that has not seen them.
        p_rank_sum: two-sided Wilcoxon rank-sum p of `out_of_fold`; may underflow to 0.
        neg_log_10_p_rank_sum: the same as -log10, which does not.
        fold_auc: each fold's held-out ROC-AUC.
        best_fold: index of the fold whose model gives the score.
        penalty: that model's penalty, in units of the mean within-class variance.
        out_of_fold: (n_participants,) held-out scores, in standard deviations of each fold's training controls.
    """

    score: NDArray[np.float64]
    weights: NDArray[np.float64]
    roc_auc: float
    roc_auc_out_of_fold: float
    p_rank_sum: float
    neg_log_10_p_rank_sum: float
    fold_auc: list[float]
    best_fold: int
    penalty: float
    out_of_fold: NDArray[np.float64]


def classifier_score(
    z: NDArray, cases: NDArray[np.bool_], *, folds: int = 10, smote_neighbours: int = 5, seed: int = 0
) -> ClassifierScore:
    """Train and cross-validate a code's linear score (paper, sections 3.1 and 4).

    Stratified folds; SMOTE on each fold's training part alone. A fold's penalty is chosen by ROC-AUC on the other
    folds, with models that saw neither, so that its held-out part stays untouched. This choice recovers a planted trait
    far better than the Ledoit-Wolf shrinkage of the resampled data, which takes synthetic cases for independent ones.
    BLAS and OpenMP run on one thread meanwhile: use processes for several codes at once.

    Args:
        z: (n_participants, n_dims).
        cases: (n_participants,) True for cases.
        folds: at least 3.
        smote_neighbours: neighbours SMOTE draws from; fewer where a training part has fewer cases.
        seed: folds and SMOTE.

    Raises:
        PhenotypeError: too few cases or controls, NaN, or embeddings that do not vary.
        ValueError: `folds` or `smote_neighbours` is too small.
    """
    if folds < 3 or smote_neighbours < 1:
        raise ValueError(f"at least 3 folds and 1 SMOTE neighbour are needed, found {folds} and {smote_neighbours}")
    z = checked_embeddings(z)
    cases = checked_mask(cases, len(z))
    _check_counts(cases, folds)
    # Many small eigendecompositions and neighbour searches: threads slow each down (forty-fold on a busy machine).
    with threadpool_limits(limits=1):
        return _cross_validated(z, cases, _stratified_folds(cases, folds, seed), smote_neighbours, seed)


@dataclass(frozen=True)
class Moments:
    """Count, sum (n_dims,) and raw second moment (n_dims, n_dims) of some participants; they add and subtract."""

    count: int
    total: NDArray[np.float64]
    outer: NDArray[np.float64]

    @classmethod
    def of(cls, z: NDArray[np.float64]) -> Moments:
        """Return the moments of the rows of `z`."""
        return cls(len(z), z.sum(axis=0), z.T @ z)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.outer + other.outer)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.count - other.count, self.total - other.total, self.outer - other.outer)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean (n_dims,)."""
        return self.total / self.count

    @property
    def scatter(self) -> NDArray[np.float64]:
        """Sum of squares and products about the mean (n_dims, n_dims)."""
        return self.outer - np.outer(self.total, self.mean)


def _cross_validated(
    z: NDArray[np.float64], cases: NDArray[np.bool_], fold: NDArray[np.intp], smote_neighbours: int, seed: int
) -> ClassifierScore:
    folds = int(fold.max()) + 1
    centre = z.mean(axis=0)
    z = z - centre  # moments are subtracted from one another: keep them small
    majority = cases if cases.mean() > 0.5 else ~cases
    parts = [Moments.of(z[majority & (fold == f)]) for f in range(folds)]
    everyone = sum(parts[1:], start=parts[0])
    sign = -1.0 if majority is cases else 1.0

    auc = _penalty_auc(z, cases, majority, fold, parts, smote_neighbours, sign)
    weights, penalties, fold_auc = [], [], []
    out_of_fold = np.empty(len(z))
    for f in range(folds):
        rest, held_out = fold != f, fold == f
        penalty = PENALTIES[int(np.nanmean(auc[f], axis=0).argmax())]
        large = everyone - parts[f]
        resampled = _smote(z[rest & ~majority], large.count, smote_neighbours, seed)
        w = sign * _fisher_directions(Moments.of(resampled), large, np.array([penalty]))[:, 0]
        scores = z @ w
        controls = scores[rest & ~cases]
        if not controls.std() > 0:
            raise PhenotypeError("the embeddings do not vary within controls")
        w = w / controls.std()
        out_of_fold[held_out] = (scores[held_out] - controls.mean()) / controls.std()
        fold_auc.append(float(_roc_auc(out_of_fold[held_out], cases[held_out])))
        weights.append(w)
        penalties.append(float(penalty))
    best = int(np.argmax(fold_auc))
    p, neg_log_10_p = _rank_sum(out_of_fold, cases)
    return ClassifierScore(
        score=(z + centre) @ weights[best],
        weights=weights[best],
        roc_auc=fold_auc[best],
        roc_auc_out_of_fold=float(_roc_auc(out_of_fold, cases)),
        p_rank_sum=p,
        neg_log_10_p_rank_sum=neg_log_10_p,
        fold_auc=fold_auc,
        best_fold=best,
        penalty=penalties[best],
        out_of_fold=out_of_fold,
    )


def _check_counts(cases: NDArray[np.bool_], folds: int) -> None:
    n_cases, n_controls = int(cases.sum()), int((~cases).sum())
    for count, name in ((n_cases, "cases"), (n_controls, "controls")):
        if count == 0:
            raise PhenotypeError(f"no {name}")
        if count < folds:
            raise PhenotypeError(f"fewer {name} ({count}) than folds ({folds})")


def _stratified_folds(cases: NDArray[np.bool_], folds: int, seed: int) -> NDArray[np.intp]:
    """Return each participant's fold (n_participants,), cases and controls spread evenly."""
    from sklearn.model_selection import StratifiedKFold

    fold = np.empty(len(cases), dtype=np.intp)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for f, (_, held_out) in enumerate(splitter.split(np.zeros((len(cases), 1)), cases)):
        fold[held_out] = f
    return fold


def _penalty_auc(
    z: NDArray[np.float64],
    cases: NDArray[np.bool_],
    majority: NDArray[np.bool_],
    fold: NDArray[np.intp],
    parts: list[Moments],
    smote_neighbours: int,
    sign: float,
) -> NDArray[np.float64]:
    """Return ROC-AUCs (folds, folds, n_penalties): [f, g] is of fold g under a model trained without folds f and g.

    Row f never uses fold f, so it may choose fold f's penalty. [f, g] and [g, f] come from one model.
    """
    folds = len(parts)
    everyone = sum(parts[1:], start=parts[0])
    auc = np.full((folds, folds, len(PENALTIES)), np.nan)
    for f, g in combinations(range(folds), 2):
        rest = (fold != f) & (fold != g)
        large = everyone - parts[f] - parts[g]
        small = _expected_smote_moments(z[rest & ~majority], large.count, smote_neighbours)
        directions = sign * _fisher_directions(small, large, PENALTIES)
        for chosen, tested in ((f, g), (g, f)):
            held_out = fold == tested
            auc[chosen, tested] = _roc_auc(z[held_out] @ directions, cases[held_out])
    return auc


def _fisher_directions(small: Moments, large: Moments, penalties: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Fisher's w (n_dims, n_penalties), from the larger class towards the smaller one, for every penalty.

    w = (S_w / n + penalty * tr(S_w / n) / d * I)^-1 (m_small - m_large), from one eigendecomposition of S_w.
    """
    within = (small.scatter + large.scatter) / (small.count + large.count)
    mean_variance = np.trace(within) / len(within)
    if not mean_variance > 0:
        raise PhenotypeError("the embeddings do not vary within cases and controls")
    values, vectors = np.linalg.eigh(within)
    shift = vectors.T @ (small.mean - large.mean)
    ridge = np.maximum(values, 0)[:, None] + penalties * mean_variance
    return vectors @ (shift[:, None] / ridge)


def _smote(small: NDArray[np.float64], target: int, neighbours: int, seed: int) -> NDArray[np.float64]:
    """Return the smaller class (n_small, n_dims) and SMOTE's synthetic rows after it, `target` rows in all."""
    from imblearn.over_sampling import SMOTE

    if target <= len(small):
        return small
    sampler = SMOTE(
        sampling_strategy={1: target}, k_neighbors=min(neighbours, len(small) - 1), random_state=seed
    )  # SMOTE reads the smaller class only; one row stands for the other, which need not be copied
    rows = np.concatenate([small, small[:1]])
    labels = np.r_[np.ones(len(small), dtype=int), 0]
    resampled, resampled_labels = sampler.fit_resample(rows, labels)
    return resampled[resampled_labels == 1]


def _expected_smote_moments(small: NDArray[np.float64], target: int, neighbours: int) -> Moments:
    """Return the moments that `_smote` has on average over its draws, without drawing.

    A synthetic row is x_i + u (x_j - x_i) with i uniform, j one of its neighbours and u uniform on (0, 1) (Chawla et
    al. 2002), so its mean is that of (x_i + x_j) / 2, and its second moment that of
    (x_i x_i' + x_j x_j') / 3 + (x_i x_j' + x_j x_i') / 6.
    """
    from sklearn.neighbors import NearestNeighbors

    n_small, extra = len(small), target - len(small)
    real = Moments.of(small)
    if extra <= 0:
        return real
    if n_small == 1:  # nobody to draw towards: the one row, repeated
        return Moments(target, target * real.total, target * real.outer)
    k = min(neighbours, n_small - 1)
    search = NearestNeighbors(n_neighbors=k).fit(small)
    nearest = search.kneighbors(return_distance=False)
    weight = extra / (n_small * k)
    degree = k + np.bincount(nearest.ravel(), minlength=n_small)
    neighbour_sum = small[nearest].sum(axis=1)
    cross = small.T @ neighbour_sum
    synthetic = Moments(
        extra,
        weight / 2 * (degree @ small),
        weight / 3 * (small.T @ (degree[:, None] * small)) + weight / 6 * (cross + cross.T),
    )
    return real + synthetic


def _roc_auc(scores: NDArray[np.float64], cases: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the ROC-AUC of each column of `scores` (n_participants[, n_scores])."""
    from scipy.stats import rankdata

    n_cases, n_controls = int(cases.sum()), int((~cases).sum())
    rank_sum = rankdata(scores, axis=0)[cases].sum(axis=0)
    return (rank_sum - n_cases * (n_cases + 1) / 2) / (n_cases * n_controls)


def _rank_sum(scores: NDArray[np.float64], cases: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the two-sided Wilcoxon rank-sum p (normal approximation, as scipy.stats.ranksums) and its -log10."""
    from scipy.stats import norm, ranksums

    test = ranksums(scores[cases], scores[~cases])
    log_p = np.log(2) + norm.logsf(abs(float(test.statistic)))
    return float(test.pvalue), max(0.0, float(-log_p / np.log(10)))
