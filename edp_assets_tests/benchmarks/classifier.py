"""A code's classifier-guided score against the loop that users would write with imbalanced-learn and scikit-learn."""

from __future__ import annotations

import numpy as np

from edp_assets_tests.benchmarks.result import Result, compare, seconds

N, DIMS, CASES, FOLDS = 10_000, 384, 400, 10


def run() -> list[Result]:
    """Ten folds of one code: ours chooses the penalty of every fold as well, the peer's is given."""
    from imblearn.over_sampling import SMOTE
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    from edp_assets.science.phenotypes.classifier import classifier_score

    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, DIMS)) @ np.diag(np.arange(1, DIMS + 1) ** -0.7)
    liability = z[:, 8] / z[:, 8].std() + rng.normal(size=N)
    cases = liability > np.quantile(liability, 1 - CASES / N)
    aucs = []

    def peer() -> None:
        for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(z, cases):
            x, y = SMOTE(random_state=0).fit_resample(z[train], cases[train])
            model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(x, y)
            aucs.append(roc_auc_score(cases[test], model.decision_function(z[test])))

    theirs = seconds(peer)
    found = []
    ours = seconds(lambda: found.append(classifier_score(z, cases, folds=FOLDS)))
    means = f"{np.mean(found[0].fold_auc):.3f} and {np.mean(aucs):.3f}"
    note = f"{N:,} x {DIMS}, {CASES} cases, {FOLDS} folds; mean fold AUC {means}"
    return [compare("classifier_score", ours, "imbalanced-learn + scikit-learn", theirs, note)]
