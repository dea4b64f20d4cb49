"""Classifier-guided score (paper, section 3.1): one linear projection of the embeddings a code. No selection, no GWAS.

t = w'z with w the Fisher discriminant of cases against controls, (m_p - m_n)^2 / (s_p^2 + s_n^2) under an L2 penalty,
trained on classes that SMOTE made equal (section 4). All that it needs is each class's moments, so that an organ is
prepared once (`OrganClassifier`) and a further code costs its cases and some small linear algebra, not everybody.

Four kinds of models are trained for a code, none of which sees whom it is tried on:

- one a fold, on all other folds: its out-of-fold scores, and the best fold's gives the final score;
- folds lie in up to five groups; one model for two groups left out, under every penalty, tried on both: a fold's
  penalty is chosen by those that leave its group out, on the other groups;
- one for the groups before a group, tried on it: the test whether cases score higher. Pooled out-of-fold scores do not
  give one: a fold's people train the models of all other folds, and their p-values come out too small (`_forward_z`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from edp_assets.science.phenotypes.discriminant import (
    PENALTIES,
    Moments,
    auc_of_sorted,
    fisher_direction,
    fisher_directions,
    rank_sum_z,
    roc_auc,
    two_sided_p,
)
from edp_assets.science.phenotypes.errors import PhenotypeError, checked_embeddings, checked_mask
from edp_assets.science.phenotypes.folds import (
    BLOCK,
    Folds,
    Frame,
    check_counts,
    check_strata,
    checked_folds,
    random_folds,
    stratified_folds,
)
from edp_assets.science.phenotypes.smote import Neighbours, sampled_rows

GROUPS = 5
"""Groups of folds that are left out two at a time to choose penalties: ten models, whatever the number of folds."""

FIRST_PENALTY = int(np.abs(np.log(PENALTIES)).argmin())
"""The penalty of the first forward model, which has no earlier one to choose by: the mean within-class variance."""

Smote = Literal["expected", "sampled"]


@dataclass(frozen=True)
class ClassifierScore:
    """A code's score and how far the embeddings separate its cases.

    Attributes:
        score: (n_participants,) z @ weights, cases higher; from the best fold's model (paper, section 4).
        weights: (n_dims,) scaled so that the score has unit variance among the training controls.
        roc_auc: held-out ROC-AUC of the best fold; the best of several, so biased upwards.
        roc_auc_out_of_fold: ROC-AUC of `out_of_fold`: everybody is scored by a model that has not seen them.
        p_rank_sum: two-sided p of `rank_sum_z`; may underflow to 0.
        neg_log_10_p_rank_sum: the same as -log10, which does not.
        rank_sum_z: Wilcoxon rank-sum statistic of people scored by models of the folds before theirs; standard normal
            where labels mean nothing.
        fold_auc: each fold's held-out ROC-AUC.
        best_fold: index of the fold whose model gives the score.
        penalty: that model's penalty, in units of the mean within-class variance.
        fold: (n_participants,) each one's fold.
        out_of_fold: (n_participants,) held-out scores, in standard deviations of each fold's training controls.
        trained_on: (n_participants,) whose label went into `weights`: all but the best fold's people.
    """

    score: NDArray[np.float64]
    weights: NDArray[np.float64]
    roc_auc: float
    roc_auc_out_of_fold: float
    p_rank_sum: float
    neg_log_10_p_rank_sum: float
    rank_sum_z: float
    fold_auc: list[float]
    best_fold: int
    penalty: float
    fold: NDArray[np.intp]
    out_of_fold: NDArray[np.float64]
    trained_on: NDArray[np.bool_]


class OrganClassifier:
    """One organ's embeddings, prepared for the scores of many codes.

    Everybody gets a base fold once. A code's larger class keeps it, its smaller class is spread evenly on its own;
    where that leaves the larger class uneven (small cohorts), stratified folds are drawn for the code. A score depends
    on embeddings, cases and settings alone: not on the codes before it, nor on the number of threads.

    Args:
        z: (n_participants, n_dims) float32 or float64; kept, not copied.
        folds: how many, at least 3; or everybody's fold (n_participants,), used as it is.
        smote_neighbours: neighbours SMOTE draws from; fewer where a training part has fewer cases.
        smote: `expected`: the moments SMOTE has on average; `sampled`: imbalanced-learn's draws, for the models of the
            scores (penalties are chosen on expected ones). The first is faster and free of the draw's noise.
        seed: folds and SMOTE.
        threads: models trained at once, each with BLAS on one thread; default: the processors at hand.

    Raises:
        PhenotypeError: NaN, or embeddings that do not vary.
        ValueError: a setting outside its range.
    """

    def __init__(
        self,
        z: NDArray,
        folds: int | NDArray = 10,
        *,
        smote_neighbours: int = 5,
        smote: Smote = "expected",
        seed: int = 0,
        threads: int | None = None,
    ) -> None:
        count = folds if isinstance(folds, int) else 3
        if count < 3 or smote_neighbours < 1:
            raise ValueError(f"at least 3 folds and 1 SMOTE neighbour are needed, found {folds} and {smote_neighbours}")
        if smote not in ("expected", "sampled"):
            raise ValueError(f"smote must be 'expected' or 'sampled', found {smote!r}")
        checked = checked_embeddings(z)
        self.z = z if z.dtype == np.float32 else checked
        self._given = not isinstance(folds, int)
        self._neighbours, self._smote, self._seed = smote_neighbours, smote, seed
        self._threads = threads or len(os.sched_getaffinity(0))
        self._frame = Frame.of(self.z)
        fold = random_folds(len(self.z), folds, seed) if isinstance(folds, int) else checked_folds(folds, len(self.z))
        import scipy.linalg  # noqa: F401  its BLAS is to be among those that are held to one thread

        self._blas = ThreadpoolController()
        self._base = Folds(self.z, self._frame, fold)

    def score(self, cases: NDArray[np.bool_]) -> ClassifierScore:
        """Train and cross-validate one code's linear score (paper, sections 3.1 and 4).

        BLAS is held to one thread meanwhile, in the whole process.

        Args:
            cases: (n_participants,) True for cases.

        Raises:
            PhenotypeError: too few cases or controls, or embeddings that do not vary within them.
        """
        cases = checked_mask(cases, len(self.z))
        check_counts(cases, self._base.count)
        if self._given:
            check_strata(cases, self._base.fold, self._base.count)
        with self._blas.limit(limits=1), ThreadPoolExecutor(self._threads) as pool:
            return _Code(self, cases, pool).cross_validated()

    def _folds_for(self, small: NDArray[np.bool_]) -> tuple[Folds, NDArray[np.intp]]:
        """Return base folds for a code, and the fold (n_small,) of each of its smaller class."""
        base = self._base
        if not self._given:
            if base.is_even_for(~small):
                return base, random_folds(int(small.sum()), base.count, self._seed)
            base = Folds(self.z, self._frame, stratified_folds(small, base.count, self._seed))
        return base, base.fold[small]


def classifier_score(
    z: NDArray,
    cases: NDArray[np.bool_],
    *,
    folds: int = 10,
    smote_neighbours: int = 5,
    smote: Smote = "expected",
    seed: int = 0,
) -> ClassifierScore:
    """Return one code's score, with stratified folds drawn for it; several codes of an organ: `OrganClassifier`.

    Args:
        z: (n_participants, n_dims).
        cases: (n_participants,) True for cases.
        folds: at least 3.
        smote_neighbours: neighbours SMOTE draws from; fewer where a training part has fewer cases.
        smote: `expected` or `sampled`, see `OrganClassifier`.
        seed: folds and SMOTE.

    Raises:
        PhenotypeError: too few cases or controls, NaN, or embeddings that do not vary.
        ValueError: a setting outside its range.
    """
    if folds < 3:
        raise ValueError(f"at least 3 folds and 1 SMOTE neighbour are needed, found {folds} and {smote_neighbours}")
    cases = checked_mask(cases, len(checked_embeddings(z)))
    check_counts(cases, folds)
    fold = stratified_folds(cases, folds, seed)
    return OrganClassifier(z, fold, smote_neighbours=smote_neighbours, smote=smote, seed=seed).score(cases)


class _Code:
    """One code's cross-validation: its smaller class's rows and folds, its larger class's moments a fold."""

    def __init__(self, organ: OrganClassifier, cases: NDArray[np.bool_], pool: ThreadPoolExecutor) -> None:
        self.organ, self.cases, self.pool = organ, cases, pool
        self.cases_are_small = cases.mean() <= 0.5
        small = cases if self.cases_are_small else ~cases
        self.base, self.small_fold = organ._folds_for(small)
        self.fold = self.base.fold.copy()
        self.fold[small] = self.small_fold
        self.count = self.base.count
        self.group_of_fold = np.arange(self.count) * min(GROUPS, self.count) // self.count
        self.members = np.flatnonzero(small)
        self.small_position = self.base.position[self.members]
        rows = self.base.ordered[self.small_position]
        self.neighbours = Neighbours(rows, organ._neighbours, pool.map)
        own = self.base.fold[self.members]
        self.large = [
            moments - part
            for moments, part in zip(
                self.base.moments, pool.map(lambda f: Moments.of(rows[own == f]), range(self.count)), strict=True
            )
        ]
        self.large_total = sum(self.large[1:], start=self.large[0])

    def cross_validated(self) -> ClassifierScore:
        """Choose penalties, train a model a fold, score everybody by the one that has not seen them."""
        penalties, z_statistic = self._penalties_and_test()
        models = list(self.pool.map(self._outer_model, range(self.count), penalties))
        weights = np.stack([w for w, _ in models], axis=1)
        offsets = np.array([offset for _, offset in models])
        scores = self._project(weights)
        out_of_fold = scores[np.arange(len(scores)), self.fold] - offsets[self.fold]
        held_out = [self.fold == f for f in range(self.count)]
        fold_auc = [roc_auc(out_of_fold[people], self.cases[people]) for people in held_out]
        best = int(np.argmax(fold_auc))
        p, neg_log_10_p = two_sided_p(z_statistic)
        return ClassifierScore(
            score=scores[:, best].copy(),
            weights=weights[:, best].copy(),
            roc_auc=fold_auc[best],
            roc_auc_out_of_fold=roc_auc(out_of_fold, self.cases),
            p_rank_sum=p,
            neg_log_10_p_rank_sum=neg_log_10_p,
            rank_sum_z=z_statistic,
            fold_auc=fold_auc,
            best_fold=best,
            penalty=float(penalties[best]),
            fold=self.fold,
            out_of_fold=out_of_fold,
            trained_on=~held_out[best],
        )

    def _training(self, folds: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], Moments]:
        """Return who of the smaller class is in these folds (n_small,), and the larger class's moments in them."""
        if 2 * folds.sum() < len(folds):
            chosen = [moments for moments, used in zip(self.large, folds, strict=True) if used]
            large = sum(chosen[1:], start=chosen[0])
        else:
            large = self.large_total
            for f in np.flatnonzero(~folds):
                large = large - self.large[f]
        return folds[self.small_fold], large

    def _path(self, groups: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the directions (n_dims, n_penalties), cases higher, of a model trained on some groups of folds."""
        kept, large = self._training(groups[self.group_of_fold])
        small = self.neighbours.expected_moments(kept, large.count)
        directions = fisher_directions(small, large, PENALTIES)
        directions /= np.linalg.norm(directions, axis=0)
        return (directions if self.cases_are_small else -directions).astype(np.float32)

    def _penalties_and_test(self) -> tuple[NDArray[np.float64], float]:
        """Return each fold's penalty (n_folds,) and the forward rank-sum statistic."""
        groups = int(self.group_of_fold[-1]) + 1
        left_out: list[tuple[int, ...]] = list(combinations(range(groups), 2))
        trained = [np.array([g not in pair for g in range(groups)]) for pair in left_out]
        forward = [np.arange(groups) < g for g in range(1, groups)]
        directions = list(self.pool.map(self._path, trained + forward))
        pairs, ahead = directions[: len(trained)], directions[len(trained) :]
        of_group = [[p for p, pair in enumerate(left_out) if g in pair] for g in range(groups)]
        tried = [[pairs[p] for p in of_group[g]] + ([ahead[g - 1]] if g else []) for g in range(groups)]
        tests = list(self.pool.map(self._group_auc, range(groups), tried))
        auc = np.zeros((groups, len(PENALTIES)))
        for g in range(groups):
            for row, p in zip(tests[g].auc, of_group[g], strict=False):
                auc[sum(left_out[p]) - g] += row  # chooses for the other group of the pair
        forward_z = _forward_z(tests[1:])
        return PENALTIES[auc.argmax(axis=1)[self.group_of_fold]], forward_z

    def _group_auc(self, group: int, directions: Sequence[NDArray[np.float32]]) -> _GroupTest:
        """Try models, each with all penalties, on the people of one group of folds."""
        folds = np.flatnonzero(self.group_of_fold == group)
        start, stop = self.base.starts[folds[0]], self.base.starts[folds[-1] + 1]
        w = np.concatenate(directions, axis=1)
        large = w.T @ self.base.ordered[start:stop].T
        inside = self.small_position[(self.small_position >= start) & (self.small_position < stop)] - start
        large[:, inside] = np.inf  # the smaller class has its own folds: sorted to the end, and cut off there
        large.sort(axis=1)
        n_large = large.shape[1] - len(inside)
        members = self.small_position[np.isin(self.small_fold, folds)]
        small = w.T @ self.base.ordered[members].T
        small.sort(axis=1)
        auc = np.array([auc_of_sorted(s, controls[:n_large]) for s, controls in zip(small, large, strict=True)])
        # cases score higher under w; where they are the larger class, it was the controls that were counted
        auc = auc if self.cases_are_small else 1 - auc
        return _GroupTest(auc.reshape(len(directions), -1), len(members), n_large)

    def _outer_model(self, f: int, penalty: float) -> tuple[NDArray[np.float64], float]:
        """Return the weights (n_dims,) trained without fold f, and the mean score of its training controls."""
        kept, large = self._training(np.arange(self.count) != f)
        rows = self.neighbours.rows
        if self.organ._smote == "sampled":
            small = Moments.of(
                sampled_rows(rows[kept].astype(np.float64), large.count, self.organ._neighbours, self.organ._seed)
            )
        else:
            small = self.neighbours.expected_moments(kept, large.count)
        w = fisher_direction(small, large, penalty)
        w = w if self.cases_are_small else -w
        mean, deviation = (large if self.cases_are_small else Moments.of(rows[kept])).of_projection(w)
        if not deviation > 0:
            raise PhenotypeError("the embeddings do not vary within controls")
        frame = self.organ._frame
        w = frame.axes @ w / deviation
        return w, mean / deviation + float(frame.centre @ w)

    def _project(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return everybody's scores (n_participants, n_models)."""
        z = self.organ.z
        starts = range(0, len(z), BLOCK)
        return np.concatenate(list(self.pool.map(lambda start: z[start : start + BLOCK] @ weights, starts)))


@dataclass(frozen=True)
class _GroupTest:
    """ROC-AUCs (n_models, n_penalties) on one group of folds; the last model is the forward one, but for group 0."""

    auc: NDArray[np.float64]
    n_small: int
    n_large: int


def _forward_z(tests: Sequence[_GroupTest]) -> float:
    """Return the rank-sum statistic of groups of folds, each scored by a model of the groups before it.

    Given the groups before it, a group's statistic is standard normal where labels mean nothing, whatever model and
    penalty they led to: so their weighted sum is as well. That does not hold of pooled out-of-fold scores, where any
    two folds train each other's models. Were w the plain difference of means, what folds f and g say of each other
    would be one and the same product of their differences, counted twice: the statistic's variance would be twice the
    nominal one, and one p in fifteen below 0.01. Going forward counts it once, with weights that grow with the root of
    the training part; of that product's sum it loses what lies within a group, a tenth, and nothing else.

    The penalty is that of the best mean ROC-AUC of the forward models before.
    """
    total = weight = 0.0
    history = np.zeros(len(PENALTIES))
    for stage, test in enumerate(tests, start=1):
        auc = test.auc[-1]
        chosen = FIRST_PENALTY if stage == 1 else int(history.argmax())
        total += np.sqrt(stage) * float(rank_sum_z(auc[chosen], test.n_small, test.n_large))
        weight += stage
        history += auc
    return total / np.sqrt(weight)
