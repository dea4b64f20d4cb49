"""What a label leaks into a score's GWAS, and that cross-fitting and permuted labels leak nothing.

Embeddings here know nothing of any gene; a variant moves the label alone. An association of the score with it is the
label's own, carried into the score by the people whose label trained it.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, linregress

from edp_assets.science.phenotypes.classifier import OrganClassifier

REPLICATES = 60
N, DIMS = 600, 60


@pytest.fixture(scope="module")
def p_values() -> dict[str, np.ndarray]:
    """P-values of the label's own variant on each kind of score, one a replicate."""
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = {"best_fold": [], "cross_fitted": [], "permuted": []}
    for _ in range(REPLICATES):
        z = rng.normal(size=(N, DIMS))
        variant = rng.binomial(2, 0.3, size=N).astype(float)
        liability = 1.5 * (variant - variant.mean()) + rng.normal(size=N)
        cases = liability > np.quantile(liability, 0.75)
        classifier = OrganClassifier(z)
        fit = classifier.score(cases)
        permuted = classifier.score(rng.permutation(cases))
        for name, score in (
            ("best_fold", fit.score),
            ("cross_fitted", fit.out_of_fold),
            ("permuted", permuted.score),
        ):
            found[name].append(float(linregress(variant, score).pvalue))
    return {name: np.array(values) for name, values in found.items()}


def test_best_fold_score__carries_the_labels_own_gene(p_values: dict[str, np.ndarray]) -> None:
    assert (p_values["best_fold"] < 0.05).mean() > 0.5


@pytest.mark.parametrize("name", ["cross_fitted", "permuted"])
def test_score__of_cross_fitting_or_permuted_labels_is_calibrated(p_values: dict[str, np.ndarray], name: str) -> None:
    low, high = binom.ppf([0.001, 0.999], REPLICATES, 0.05)
    assert low <= (p_values[name] < 0.05).sum() <= high
    low, high = binom.ppf([0.001, 0.999], REPLICATES, 0.5)
    assert low <= (p_values[name] < 0.5).sum() <= high
