"""Scores of 2% of a code's labels beside those of all (paper, section 4.4), where 2% are dozens of people.

`python -m edp_assets_tests.few_labels` simulates 20,000 people whose embeddings hold two traits with genes of their own
and a code of 2,400 cases, keeps 2% of its labels, and prints for the classifier and for every enriched cluster how the
scores correlate and which genes both hit. `make demo` has too few cases for that share.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from edp_assets_tests.adjusted_genes import Planted, associations, classifier, genes_hit, simulate

MAX_P = 0.05
"""Bonferroni's p over the clusters, up to which one is enriched."""


@dataclass(frozen=True)
class Compared:
    """A score made twice.

    Attributes:
        name: classifier, or the cluster.
        cases: people that made it, of all labels and of those kept.
        r: Pearson correlation of the two scores, of everybody.
        genes: what they hit, likewise: planted genes, and places near none.
    """

    name: str
    cases: tuple[int, int]
    r: float
    genes: tuple[set[str], set[str]]

    @property
    def same_genes(self) -> bool:
        """Whether both hit the same."""
        return self.genes[0] == self.genes[1]


def compare(planted: Planted, fraction: float, seed: int) -> Iterator[Compared]:
    """Yield the classifier-guided score and that of every cluster in which the cases are enriched."""
    from edp_assets.science.phenotypes.clustering import clustering_score, fisher_enrichment
    from edp_assets.science.phenotypes.clusters import leiden_partition
    from edp_assets.science.phenotypes.few_shot import keep_labels

    z, kept = planted.z, planted.cases.copy()
    kept[planted.cases] = keep_labels([str(i) for i in np.flatnonzero(planted.cases)], fraction, seed)
    labels = leiden_partition(z).labels
    yield _compared(
        planted, "classifier", (planted.cases, kept), [classifier(z, each) for each in (planted.cases, kept)]
    )
    enriched = fisher_enrichment(labels, planted.cases).filter(
        pl.col("odds_ratio") > 1, pl.col("neg_log_10_p_fisher") > -np.log10(MAX_P / (labels.max() + 1))
    )
    for cluster in enriched["cluster"].sort():
        inside = labels == cluster
        people = planted.cases & inside, kept & inside
        if people[1].any():
            scores = [clustering_score(z, each) for each in people]
            yield _compared(planted, f"cluster {cluster}", people, scores)


def _compared(
    planted: Planted,
    name: str,
    people: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    scores: list[NDArray[np.float64]],
) -> Compared:
    every, few = (genes_hit(associations(planted, planted.z, score)) for score in scores)
    cases = int(people[0].sum()), int(people[1].sum())
    return Compared(name, cases, float(np.corrcoef(*scores)[0, 1]), (every, few))


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--fraction", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    planted = simulate(given.seed, given.people)
    print(f"{given.people:,} people, {int(planted.cases.sum()):,} cases, {given.fraction:.0%} of the labels kept")
    for each in compare(planted, given.fraction, given.seed):
        genes = "the same genes" if each.same_genes else "other genes"
        told = [", ".join(sorted(found)) or "none" for found in each.genes]
        print(f"{each.name}: {each.cases[1]} of {each.cases[0]} cases, r {each.r:.4f}, {genes}: {told[0]}; {told[1]}")


if __name__ == "__main__":
    main()
