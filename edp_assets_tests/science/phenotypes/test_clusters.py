"""Leiden against scanpy called by hand, neighbours against scikit-learn."""

import numpy as np
import pytest

from edp_assets.science.phenotypes.clusters import all_partitions, find_clusters, homogeneity, leiden_clusters
from edp_assets.science.phenotypes.errors import PhenotypeError
from edp_assets.science.phenotypes.neighbours import cosine_neighbours


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


@pytest.mark.slow
def test_leiden_clusters__work_where_scanpys_own_default_turns_approximate():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], [2500, 1700])
    found = leiden_clusters(np.eye(2, 6)[groups] * 10 + rng.normal(size=(4200, 6)), resolution=0.005)
    assert np.bincount(found.labels).tolist() == [2500, 1700]


@pytest.mark.parametrize(("people", "neighbours"), [(30, 29), (200, 10), (1000, 15)])
def test_cosine_neighbours__are_scikit_learns(people, neighbours):
    from sklearn.neighbors import NearestNeighbors

    z = np.random.default_rng(people).normal(size=(people, 12)).astype(np.float32)
    indices, distances = cosine_neighbours(z, neighbours)
    expected = NearestNeighbors(n_neighbors=neighbours, algorithm="brute", metric="cosine").fit(z.astype(float))
    far, who = expected.kneighbors()
    np.testing.assert_array_equal(indices, who)
    np.testing.assert_allclose(distances, far, atol=1e-12)


def test_cosine_neighbours__of_duplicates_are_no_one_itself():
    indices, distances = cosine_neighbours(np.repeat(np.eye(3), 4, axis=0), 5)
    assert not (indices == np.arange(12)[:, None]).any()
    np.testing.assert_allclose(distances, np.tile([0, 0, 0, 1, 1], (12, 1)), atol=1e-12)


@pytest.mark.parametrize("algorithm", ["kmeans", "agglomerative"])
def test_find_clusters__by_other_algorithms_make_as_many_as_leiden(blobs, clusters, algorithm):
    found = find_clusters(blobs[0], algorithm=algorithm, resolution=0.3, seed=4)
    np.testing.assert_array_equal(found.labels, clusters.labels)  # the groups are far apart: all find them
    four = find_clusters(blobs[0], algorithm=algorithm, n_clusters=4)
    assert four.labels.max() == 3


def test_find_clusters__say_how_stable_they_are_over_seeds(blobs):
    assert find_clusters(blobs[0], resolution=0.3, stability_seeds=3).mean_rand_index == pytest.approx(1)
    noise = np.random.default_rng(0).normal(size=(200, 16))
    assert find_clusters(noise, resolution=2, stability_seeds=3).mean_rand_index < 0.9
    assert np.isnan(find_clusters(noise).mean_rand_index)


def test_find_clusters__refuse_more_clusters_than_people(blobs):
    with pytest.raises(PhenotypeError, match="200 participants are too few for 201 clusters"):
        find_clusters(blobs[0], algorithm="kmeans", n_clusters=201)


def test_leiden_clusters__of_a_constant_embedding_or_duplicates_are_found_without_error():
    constant = leiden_clusters(np.ones((40, 3)))
    assert constant.labels.shape == (40,)
    pairs = leiden_clusters(np.repeat(np.random.default_rng(0).normal(size=(30, 4)), 2, axis=0))
    np.testing.assert_array_equal(pairs.labels[::2], pairs.labels[1::2])


def test_all_partitions__compare_the_algorithms_at_as_many_clusters(blobs):
    found = all_partitions(blobs[0], resolution=0.3, stability_seeds=2)
    assert [p.algorithm for p in found] == ["leiden", "kmeans", "agglomerative"]
    assert [int(p.labels.max()) + 1 for p in found] == [3, 3, 3]
    assert [p.mean_rand_index for p in found] == pytest.approx([1, 1, 1])


def test_homogeneity__is_the_share_of_entropy_that_clusters_explain():
    labels = np.repeat([0, 1], 50)
    assert homogeneity(labels, [labels == 0]) == pytest.approx(1)
    even = np.arange(100) % 2 == 0
    assert homogeneity(labels, [even]) == pytest.approx(0, abs=1e-9)
    assert homogeneity(labels, [even, labels == 1, np.zeros(100, bool)]) == pytest.approx(0.5)
    with pytest.raises(PhenotypeError, match="no code has both cases and controls"):
        homogeneity(labels, [np.zeros(100, bool)])


@pytest.mark.parametrize("share", [0.002, 0.1, 0.5, 0.97])
def test_homogeneity__is_that_of_scikit_learn(share: float):
    from sklearn.metrics import homogeneity_score

    rng = np.random.default_rng(3)
    labels = rng.choice([0, 2, 5, 9], 2000, p=[0.6, 0.3, 0.099, 0.001])  # one of a few people, without cases
    codes = [rng.random(2000) < share * (1 + (labels == 2)) / 2 for _ in range(5)]
    wanted = np.mean([homogeneity_score(cases, labels) for cases in codes])
    assert homogeneity(labels, codes) == pytest.approx(wanted, rel=1e-9)
