"""Leiden against scanpy called by hand, Fisher and cosine against scipy. The only phenotype tests to import scanpy."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import fisher_exact

from edp_assets.science.phenotypes.clustering import (
    clustering_direction,
    clustering_score,
    cosine_distance,
    fisher_enrichment,
    leiden_clusters,
)
from edp_assets.science.phenotypes.errors import PhenotypeError


@pytest.fixture(scope="module")
def blobs():
    """Three groups far apart in angle, of 40, 100 and 60 people."""
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [40, 100, 60])
    order = rng.permutation(200)
    return (np.eye(3, 16)[truth] * 8 + rng.normal(size=(200, 16)))[order], truth[order]


@pytest.fixture(scope="module")
def clusters(blobs):
    return leiden_clusters(blobs[0], resolution=0.3, seed=4)


def test_leiden_clusters__equal_scanpy_by_hand(blobs, clusters):
    import anndata
    import scanpy as sc

    data = anndata.AnnData(blobs[0])
    sc.pp.neighbors(data, n_neighbors=10, metric="cosine", use_rep="X", random_state=4)
    sc.tl.leiden(data, resolution=0.3, random_state=4, flavor="igraph", n_iterations=2, directed=False)
    by_hand = data.obs["leiden"].astype(int).to_numpy()
    pairs = set(zip(by_hand.tolist(), clusters.labels.tolist(), strict=True))
    assert len(pairs) == len(set(by_hand)) == len(set(clusters.labels))  # the same partition under other names
    sc.tl.umap(data, random_state=4)
    np.testing.assert_array_equal(clusters.umap, data.obsm["X_umap"])


def test_leiden_clusters__find_the_groups_largest_first(blobs, clusters):
    _, truth = blobs
    assert np.bincount(clusters.labels).tolist() == [100, 60, 40]
    assert {frozenset(truth[clusters.labels == c]) for c in range(3)} == {frozenset([g]) for g in range(3)}
    assert clusters.umap.shape == (200, 2)


def test_leiden_clusters__are_deterministic_in_the_seed(blobs, clusters):
    again = leiden_clusters(blobs[0], resolution=0.3, seed=4)
    np.testing.assert_array_equal(again.labels, clusters.labels)
    np.testing.assert_array_equal(again.umap, clusters.umap)


def test_leiden_clusters__do_not_depend_on_each_embeddings_length(blobs, clusters):
    lengths = np.random.default_rng(0).uniform(0.5, 2, size=(200, 1))
    np.testing.assert_array_equal(leiden_clusters(blobs[0] * lengths, resolution=0.3, seed=4).labels, clusters.labels)


@pytest.mark.parametrize(
    ("row", "message"),
    [(np.zeros(16), "1 embeddings have norm zero"), (np.full(16, np.nan), "of 1 of 200 participants hold NaN")],
)
def test_leiden_clusters__refuse_embeddings_without_direction(blobs, row, message):
    z = blobs[0].copy()
    z[5] = row
    with pytest.raises(PhenotypeError, match=message):
        leiden_clusters(z)


def test_leiden_clusters__refuse_fewer_people_than_neighbours(blobs):
    with pytest.raises(PhenotypeError, match="10 participants are too few for 10 neighbours"):
        leiden_clusters(blobs[0][:10])


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


@pytest.mark.slow
def test_leiden_clusters__work_where_scanpys_own_default_turns_approximate():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], [2500, 1700])
    found = leiden_clusters(np.eye(2, 6)[groups] * 10 + rng.normal(size=(4200, 6)), resolution=0.005)
    assert np.bincount(found.labels).tolist() == [2500, 1700]
