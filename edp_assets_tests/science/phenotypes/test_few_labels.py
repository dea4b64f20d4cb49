"""The paper's few-shot claim on planted traits: 2% of the labels give the clusters' scores and genes."""

from __future__ import annotations

from edp_assets_tests.adjusted_genes import NULL_CHROMOSOMES, simulate
from edp_assets_tests.few_labels import compare


def test_few_labels__of_each_cluster_give_its_score_and_its_genes() -> None:
    classifier, *clusters = compare(simulate(0, 3000, per_chromosome=30), 0.02, 0)
    assert classifier.cases == (360, 7)
    assert clusters
    for each in clusters:
        assert each.cases[1] < 0.05 * each.cases[0] + 2
        assert each.r > 0.95
        assert each.genes[0]
    strongest = max(clusters, key=lambda each: each.cases[0])
    assert strongest.same_genes
    hit = set().union(*(found for each in (classifier, *clusters) for found in each.genes))
    assert not [place for place in hit if place.split(":")[0] in NULL_CHROMOSOMES]
