"""Planted truth of adjustment: a dominating factor's genes vanish, and the weaker trait's appear (paper, Figure 5)."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from edp_assets_tests.adjusted_genes import (
    DENSITY_GENES,
    NULL_CHROMOSOMES,
    OTHER_GENES,
    Planted,
    adjusted,
    figure,
    genes_hit,
    gwas,
    simulate,
)


@pytest.fixture(scope="module")
def planted() -> Planted:
    return simulate(seed=0)


def check(planted: Planted, method: str, factor: str) -> None:
    before, after = gwas(planted, planted.z, method), gwas(planted, adjusted(planted, factor), method)
    assert genes_hit(before) == set(DENSITY_GENES)
    assert genes_hit(after) == set(OTHER_GENES)
    best = after.group_by("gene").agg(pl.col("neg_log_10_p_value").max())
    gone = best.filter(pl.col("gene").is_in(list(DENSITY_GENES)))
    assert gone["neg_log_10_p_value"].max() < 3  # about 20 variants a gene: 0.002 is no rarity
    for statistics in (before, after):
        null = statistics.filter(pl.col("chromosome").is_in(NULL_CHROMOSOMES))
        assert null.height == 240
        assert null["neg_log_10_p_value"].max() < 4


@pytest.mark.parametrize("factor", ["embedding_pc1", "bone_density"])
def test_adjustment__turns_a_classifiers_genes_from_the_factors_to_the_others(planted: Planted, factor: str) -> None:
    check(planted, "classifier", factor)


@pytest.mark.slow
@pytest.mark.parametrize("factor", ["embedding_pc1", "bone_density"])
def test_adjustment__turns_a_clusters_genes_from_the_factors_to_the_others(planted: Planted, factor: str) -> None:
    check(planted, "clustering", factor)


def test_simulate__density_dominates_the_embeddings(planted: Planted) -> None:
    z = planted.z - planted.z.mean(axis=0)
    first = z @ np.linalg.svd(z, full_matrices=False)[2][0]
    assert abs(np.corrcoef(first, planted.density)[0, 1]) > 0.99
    assert first.var() / z.var(axis=0).sum() > 0.5


def test_figure__names_the_factors_genes_above_and_the_others_below(planted: Planted) -> None:
    above, below = figure(planted, "classifier").axes
    assert {text.get_text() for text in above.texts} == set(DENSITY_GENES)
    assert {text.get_text() for text in below.texts} == set(OTHER_GENES)
