"""Fisher and cosine against scipy."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import fisher_exact

from edp_assets.science.phenotypes.clustering import (
    clustering_direction,
    clustering_score,
    cosine_distance,
    fisher_enrichment,
)
from edp_assets.science.phenotypes.errors import PhenotypeError


@pytest.fixture(scope="module")
def blobs():
    """Three groups far apart in angle, of 40, 100 and 60 people."""
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [40, 100, 60])
    order = rng.permutation(200)
    return (np.eye(3, 16)[truth] * 8 + rng.normal(size=(200, 16)))[order], truth[order]


def test_fisher_enrichment__equals_scipy():
    rng = np.random.default_rng(0)
    clusters = rng.choice(6, 500, p=[0.4, 0.25, 0.15, 0.1, 0.08, 0.02])
    cases = rng.random(500) < np.where(clusters == 3, 0.4, 0.05)
    table = fisher_enrichment(clusters, cases)
    assert table["cluster"].to_list() == list(range(6))
    for row in table.iter_rows(named=True):
        inside = clusters == row["cluster"]
        counts = [
            [(cases & inside).sum(), (~cases & inside).sum()],
            [(cases & ~inside).sum(), (~cases & ~inside).sum()],
        ]
        expected = fisher_exact(counts)
        assert row["p_fisher"] == pytest.approx(expected.pvalue, rel=1e-9)
        assert row["odds_ratio"] == pytest.approx(expected.statistic)
        assert row["neg_log_10_p_fisher"] == pytest.approx(-np.log10(expected.pvalue), abs=1e-9)
        assert row["percentage"] == pytest.approx(100 * cases[inside].mean())
        assert (row["cases"], row["cases_in_cluster"]) == (cases.sum(), (cases & inside).sum())
        assert row["cluster_size"] == inside.sum()
    assert table["neg_log_10_p_fisher"].arg_max() == 3


def test_fisher_enrichment__of_a_single_cluster_is_no_enrichment():
    row = fisher_enrichment(np.zeros(20, int), np.arange(20) < 5).row(0, named=True)
    assert (row["p_fisher"], row["neg_log_10_p_fisher"]) == (1, 0)
    assert np.isnan(row["odds_ratio"])


def test_fisher_enrichment__does_not_underflow():
    clusters = np.repeat([0, 1], [4000, 40_000])
    row = fisher_enrichment(clusters, np.arange(44_000) < 3900).row(0, named=True)
    assert row["p_fisher"] == 0
    assert row["odds_ratio"] == np.inf
    assert row["neg_log_10_p_fisher"] > 3000


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        (np.zeros(4, bool), "^no cases$"),
        (np.ones(4, bool), "^no controls$"),
        (np.ones(3, bool), r"one a participant \(4\)"),
    ],
)
def test_fisher_enrichment__gives_a_reason_for_what_it_cannot_do(cases, message):
    with pytest.raises(PhenotypeError, match=message):
        fisher_enrichment(np.array([0, 0, 1, 1]), cases)


def test_clustering_score__equals_scipy_cosine_distance(blobs):
    z, truth = blobs
    positives = (truth == 1) & (np.arange(200) % 7 == 0)
    score = clustering_score(z, positives)
    np.testing.assert_allclose(score, cdist(z, z[positives].mean(axis=0)[None], metric="cosine")[:, 0], atol=1e-12)
    assert score[truth == 1].max() < score[truth != 1].min()


def test_clustering_score__is_linear_in_unit_embeddings(blobs):
    z, truth = blobs
    direction = clustering_direction(z, truth == 0)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    np.testing.assert_allclose(clustering_score(z, truth == 0), 1 - unit @ direction, atol=1e-12)


def test_cosine_distance__does_not_depend_on_the_directions_length(blobs):
    z, truth = blobs
    mean = z[truth == 0].mean(axis=0)
    np.testing.assert_allclose(cosine_distance(z, 3 * mean), clustering_score(z, truth == 0), atol=1e-12)
    with pytest.raises(PhenotypeError, match="norm zero"):
        cosine_distance(z, np.zeros(16))


def test_clustering_score__needs_only_one_positive(blobs):
    z, _ = blobs
    assert clustering_score(z, np.arange(200) == 9)[9] == pytest.approx(0)


@pytest.mark.parametrize(
    ("z", "positives", "message"),
    [
        (np.ones((4, 2)), np.zeros(4, bool), "no cases in the cluster"),
        (np.array([[1.0, 0], [-1, 0], [0, 1]]), np.array([True, True, False]), "norm zero"),
        (np.array([[1.0, 0], [0, 0], [0, 1]]), np.array([True, False, False]), "norm zero"),
        (np.ones((4, 2)), np.zeros(4), "positives must be boolean"),
    ],
)
def test_clustering_score__gives_a_reason_for_what_it_cannot_do(z, positives, message):
    with pytest.raises(PhenotypeError, match=message):
        clustering_score(z, positives)
