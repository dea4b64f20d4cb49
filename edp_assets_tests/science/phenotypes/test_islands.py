"""Islands against brute force on few people, and on planted and permuted labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edp_assets.science.phenotypes.errors import PhenotypeError
from edp_assets.science.phenotypes.islands import TIE, best_island, control_weight, find_islands, neighbour_graph


def brute_force(z, cases, radius, gamma):
    """The paper's sum, minimised by trying every centre and every K; people at one distance enter together."""
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    best = 0.0
    for i in range(len(z)):
        others = np.flatnonzero(np.arange(len(z)) != i)
        distance = 1 - unit[others] @ unit[i]
        order = np.argsort(distance)
        for k in range(1, len(others) + 1):
            near = order[:k]
            if k < len(others) and distance[order[k]] - distance[order[k - 1]] <= TIE:
                continue
            weight = np.where(cases[others[near]], 1, gamma)
            best = min(best, (weight * distance[near]).sum() - radius * k)
    return best


def objective_of(z, cases, radius, gamma, centre, members):
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    return (np.where(cases[members], 1, gamma) * (1 - unit[members] @ unit[centre])).sum() - radius * len(members)


@given(
    arrays(np.int8, (24, 3), elements=st.integers(-2, 2)),
    arrays(np.bool_, 24),
    st.integers(1, 2),
    st.floats(1, 20),
)
@settings(max_examples=60, deadline=None)
def test_best_island__is_the_minimum_over_all_centres_and_sizes(grid, cases, neighbours, gamma):
    z = grid + np.array([0.3, 0, 0])  # many ties and duplicates, no norm zero
    try:
        graph = neighbour_graph(z, neighbours=neighbours)
    except PhenotypeError:
        return  # duplicates alone
    expected = brute_force(z, cases, graph.radius, gamma)
    found = best_island(graph, cases, gamma)
    if found is None:
        assert expected > -1e-5
        return
    objective, centre, size = found
    assert objective == pytest.approx(expected, abs=1e-4)
    members = graph.neighbours[graph.starts[centre] :][:size]
    assert objective_of(z, cases, graph.radius, gamma, centre, members) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("prevalence", [0.05, 0.5])
def test_best_island__is_the_minimum_without_ties(prevalence):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(150, 6))
    cases = rng.random(150) < prevalence
    graph = neighbour_graph(z)
    gamma = control_weight(graph, cases.mean())
    assert best_island(graph, cases, gamma)[0] == pytest.approx(brute_force(z, cases, graph.radius, gamma), abs=1e-5)


def test_neighbour_graph__holds_all_pairs_within_lambda_and_as_many_as_asked_for():
    z = np.random.default_rng(0).normal(size=(400, 8))
    graph = neighbour_graph(z, neighbours=20)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    distance = 1 - unit @ unit.T
    np.fill_diagonal(distance, np.inf)
    inside = distance <= graph.radius
    assert inside.sum() / 400 == pytest.approx(20, rel=0.01)
    for i in range(0, 400, 37):
        own = slice(graph.starts[i], graph.starts[i + 1])
        assert set(graph.neighbours[own]) == set(np.flatnonzero(inside[i]))
        np.testing.assert_allclose(graph.distances[own], np.sort(distance[i][inside[i]]), atol=1e-6)


def planted(n=3000, prevalence=0.06, seed=0):
    """A code of two manifestations, each people far out in a direction of its own, and cases anywhere (30%)."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, 2))
    z = rng.normal(size=(n, 24)) * np.arange(1, 25) ** -0.7
    z += 1.2 * latent @ np.linalg.qr(rng.normal(size=(24, 2)))[0].T
    manifest = latent + 0.3 * rng.normal(size=(n, 2))
    manifest = manifest > np.quantile(manifest, 1 - 0.35 * prevalence, axis=0)
    return z, manifest.any(axis=1) | (rng.random(n) < 0.3 * prevalence), manifest


@pytest.mark.parametrize("prevalence", [0.02, 0.3])
def test_find_islands__are_one_of_each_manifestation_of_a_rare_and_a_common_code(prevalence):
    z, cases, manifest = planted(prevalence=prevalence)
    islands = find_islands(neighbour_graph(z), cases, max_islands=2)
    assert all(island.p_permutation <= 0.01 for island in islands)
    inside = np.array([manifest[island.members[cases[island.members]]].mean(axis=0) for island in islands])
    assert sorted(inside.argmax(axis=1)) == [0, 1]
    assert inside.max(axis=1).min() > 0.8


def test_find_islands__of_permuted_labels_are_no_more_frequent_than_the_level():
    z, cases, _ = planted(n=600)
    graph = neighbour_graph(z)
    rng = np.random.default_rng(1)
    p = [
        find_islands(graph, rng.permutation(cases), max_islands=1, permutations=19, max_p=0.1, seed=k)[0].p_permutation
        for k in range(200)
    ]
    assert 5 <= np.sum(np.array(p) <= 0.1) <= 34  # 20 expected; 99.9% interval


def test_find_islands__are_apart_and_end_with_one_that_is_no_better_than_chance():
    z, cases, _ = planted()
    graph = neighbour_graph(z)
    islands = find_islands(graph, cases, max_islands=50, permutations=39)
    assert 2 <= len(islands) < 50
    assert [island.p_permutation <= 0.05 for island in islands] == [True] * (len(islands) - 1) + [False]
    members = np.concatenate([island.members for island in islands])
    assert len(set(members)) == len(members)
    again = find_islands(graph, cases, max_islands=50, permutations=39)
    assert [i.members.tolist() for i in again] == [i.members.tolist() for i in islands]


def test_control_weight__lets_no_dense_place_pay():
    graph = neighbour_graph(planted()[0])
    for p in (0.02, 0.3):
        gamma = control_weight(graph, p)
        assert (p + (1 - p) * gamma) * graph.near == pytest.approx(graph.radius)
        assert gamma > 1


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (np.ones((40, 3)), "most embeddings point the same way"),
        (np.vstack([np.ones((39, 3)), np.full((1, 3), np.nan)]), "of 1 of 40 participants hold NaN"),
        (np.vstack([np.eye(3).repeat(13, axis=0), np.zeros((1, 3))]), "1 embeddings have norm zero"),
        (np.eye(19), "19 participants are too few"),
        (np.repeat(np.random.default_rng(0).normal(size=(20, 3)), 10, axis=0)[:, :3], "same way|duplicates"),
    ],
)
def test_neighbour_graph__gives_a_reason_for_what_it_cannot_do(z, message):
    with pytest.raises(PhenotypeError, match=message):
        neighbour_graph(z, neighbours=5)


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        (np.zeros(60, bool), "^no cases$"),
        (np.ones(60, bool), "^no controls$"),
        (np.ones(3, bool), r"one a participant \(60\)"),
    ],
)
def test_find_islands__gives_a_reason_for_labels_without_contrast(cases, message):
    graph = neighbour_graph(np.random.default_rng(0).normal(size=(60, 4)))
    with pytest.raises(PhenotypeError, match=message):
        find_islands(graph, cases)


def test_find_islands__of_one_case_or_all_but_one_are_no_better_than_chance():
    graph = neighbour_graph(np.random.default_rng(0).normal(size=(60, 4)))
    one = np.arange(60) == 7
    for cases in (one, ~one):
        assert all(island.p_permutation > 0.05 for island in find_islands(graph, cases))


def test_find_islands__of_duplicated_scans_are_found():
    z = np.repeat(np.random.default_rng(0).normal(size=(60, 4)), 2, axis=0)
    assert find_islands(neighbour_graph(z), np.arange(120) < 20)
