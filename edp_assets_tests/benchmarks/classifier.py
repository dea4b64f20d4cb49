"""Classifier-guided scores of an organ's codes against the loop that users write, imbalanced-learn + scikit-learn.

Ours chooses the penalty of every fold and tests the score as well; the peer's penalty is given.
"""

from __future__ import annotations

import time

import numpy as np

from edp_assets_tests.benchmarks.result import Result, compare, seconds

N, DIMS, FOLDS, CODES, CASES = 45_714, 384, 10, 50, 2_000
PEER_FOLDS = 3
FURTHER = (50, 500, 2_000, 5_000)
WANTED = (700, 10)
"""Codes and organs of the issue's cohort."""


def run() -> list[Result]:
    """All folds of 50 codes, preparation included; the peer's from three folds of the first code; then case counts."""
    from edp_assets.science.phenotypes.classifier import OrganClassifier

    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, DIMS)) * np.arange(1, DIMS + 1) ** -0.7
    codes = [_cases(z, rng, 8 + code % 40, CASES) for code in range(CODES)]
    fold_seconds, peer_auc = _peer(z, codes[0])
    theirs = fold_seconds * FOLDS * CODES
    scores = []
    organ = []
    prepare = seconds(lambda: organ.append(OrganClassifier(z, FOLDS)))
    used = time.process_time()
    ours = prepare + seconds(lambda: scores.extend(organ[0].score(cases) for cases in codes))
    used = (time.process_time() - used) / CODES
    note = (
        f"{N:,} x {DIMS}, {CODES} codes of {CASES:,} cases x {FOLDS} folds, preparation {prepare:.1f} s included, "
        f"{used:.2f} CPU s a code; peer: {PEER_FOLDS} folds at {fold_seconds:.2f} s, times {FOLDS * CODES}; "
        f"mean AUC of these folds {np.mean(scores[0].fold_auc):.3f} and {np.mean(peer_auc):.3f}"
    )
    results = [compare("classifier_score", ours, "imbalanced-learn + scikit-learn", theirs, note)]
    for count in FURTHER:
        several = [_cases(z, rng, 8 + code, count) for code in range(3)]
        each = min(seconds(lambda cases=cases: organ[0].score(cases)) for cases in several)
        hours = WANTED[1] * (WANTED[0] * each + prepare) / 3600
        note = f"a further code of {count:,} cases; {WANTED[0]} such codes x {WANTED[1]} organs: {hours:.2f} hours"
        peer = f"the same loop at {CASES:,} cases"
        results.append(compare(f"classifier_score_{count}", each, peer, fold_seconds * FOLDS, note))
    return results


def _cases(z: np.ndarray, rng: np.random.Generator, dimension: int, count: int) -> np.ndarray:
    """Return a code: the most liable people, half of the liability along one dimension."""
    liability = z[:, dimension] / z[:, dimension].std() + rng.normal(size=len(z))
    return liability >= np.partition(liability, -count)[-count]


def _peer(z: np.ndarray, cases: np.ndarray) -> tuple[float, list[float]]:
    """Return the loop's seconds a fold, and its ROC-AUCs."""
    from imblearn.over_sampling import SMOTE
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    aucs = []

    def loop() -> None:
        splits = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(z, cases))
        for train, test in splits[:PEER_FOLDS]:
            x, y = SMOTE(random_state=0).fit_resample(z[train], cases[train])
            model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(x, y)
            aucs.append(roc_auc_score(cases[test], model.decision_function(z[test])))

    return seconds(loop) / PEER_FOLDS, aucs
