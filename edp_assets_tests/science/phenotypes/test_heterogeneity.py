"""Where a code mixes two manifestations: clustering or islands tell them apart, the classifier does not."""

import numpy as np
import pytest

from edp_assets_tests.heterogeneity import METHODS, planted, recoveries, selected_scores

pytestmark = pytest.mark.slow

GENOME_WIDE = -np.log10(5e-8)


@pytest.fixture(scope="module")
def found():
    disease = planted(3000, 24, 0.15, variance_explained=0.04)
    return {method: recoveries(disease, selected_scores(disease, method)) for method in METHODS}


def test_islands__separate_the_manifestations_and_their_gwas_finds_both_genes(found):
    for one in found["island"]:
        assert one.r > 0.75
        assert one.r_other < 0.4
        assert one.neg_log_10_p > GENOME_WIDE
        assert one.null_hits == 0


def test_clustering__finds_both_genes(found):
    for one in found["clustering"]:
        assert one.r > 0.7
        assert one.neg_log_10_p > GENOME_WIDE
        assert one.null_hits == 0


def test_classifier__mixes_the_manifestations_in_one_score(found):
    assert {one.scores for one in found["classifier"]} == {1}
    for mixed, island in zip(found["classifier"], found["island"], strict=True):
        assert mixed.r_other > 0.4
        assert island.r - island.r_other > mixed.r - mixed.r_other + 0.3
        assert island.neg_log_10_p > mixed.neg_log_10_p
