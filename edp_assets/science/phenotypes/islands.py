"""Islands of cases (paper, section 3.2): the optimisation that clustering approximates, solved exactly. No selection.

The paper asks for the centre i and the size K that minimise

    sum over the K nearest j of i of  w_j d(z_i, z_j)  -  lambda K,     w_j = 1 for cases, gamma for controls,

d being the cosine distance, as in the score. For a given centre the answer is a prefix of its neighbours in the order
of distance, and nobody farther than lambda can lower the sum (gamma is at least 1), so the pairs within lambda are all
that is needed. They do not depend on labels: one `NeighbourGraph` an organ serves all codes and their permutations.

What the paper leaves open, and what is chosen here:

- A centre is not its own neighbour in the sum (counting it would add -lambda everywhere), but belongs to the island.
- People at the same distance (within `TIE`) enter together: "the K nearest" is not defined otherwise.
- lambda is the distance within which people have `neighbours` others on average: a quantile of the distances between
  people, so that memory is bounded by participants x `neighbours`.
- gamma is where a neighbourhood with no more cases than anywhere does not pay, not even for a person in a dense place:
  (p + (1 - p) gamma) d_near = lambda, with p the code's prevalence and d_near the 1st percentile of the distances from
  people to their nearest neighbour (duplicates aside). With a smaller gamma the densest place wins whatever the labels.
- An island counts when its sum is smaller than those of permuted labels: a p-value by permutation, not one that assumes
  the island had been chosen before looking at the labels, as Fisher's does.
- Further islands: everybody within lambda of the centre is taken out, and the search repeated among the others. Were
  only the members or their cases taken out, the next island would be the rim of the same one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edp_assets.science.phenotypes.errors import PhenotypeError, checked_embeddings, checked_mask, unit_rows

TIE = 1e-6
"""Distances that differ by less are the same: a float32 cosine distance is exact to about 2e-7."""

NEAR_PERCENTILE = 1.0
"""Percentile of nearest-neighbour distances that counts as a dense place; low, but not what a few duplicates decide."""

SAMPLE = 500
"""People whose distances to everybody give lambda's quantile."""

MOST_NEIGHBOURS_SHARE = 0.1
"""Of few people, at most this share are within lambda of a person on average."""

_BLOCK_VALUES = 2**25  # distances held at once: 128 MiB


@dataclass(frozen=True)
class NeighbourGraph:
    """All pairs of people within lambda, each person's neighbours in the order of distance.

    Attributes:
        starts: (n_participants + 1,) where each person's neighbours begin and end.
        neighbours: (n_pairs,) int32 participants; both directions of a pair are there.
        distances: (n_pairs,) float32 cosine distances.
        ends: (n_pairs,) False where the next neighbour is at the same distance: no island ends there.
        radius: lambda, cosine distance.
        near: distance to the nearest neighbour of a person in a dense place, cosine distance.
    """

    starts: NDArray[np.int64]
    neighbours: NDArray[np.int32]
    distances: NDArray[np.float32]
    ends: NDArray[np.bool_]
    radius: float
    near: float

    def positions(self, people: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where the pairs of some people lie, one person after another, and how many each has."""
        counts = np.diff(self.starts)[people]
        offsets = np.cumsum(counts) - counts
        return np.repeat(self.starts[people] - offsets, counts) + np.arange(counts.sum()), counts

    def without(self, people: NDArray[np.bool_]) -> NeighbourGraph:
        """Return the graph of the others, numbered as before; those taken out have no neighbours."""
        rows = np.repeat(np.arange(len(people)), np.diff(self.starts))
        kept = ~(people[rows] | people[self.neighbours])
        starts = np.concatenate([[0], np.cumsum(np.bincount(rows[kept], minlength=len(people)))])
        distances = self.distances[kept]
        return NeighbourGraph(
            starts, self.neighbours[kept], distances, _ends(starts, distances), self.radius, self.near
        )


@dataclass(frozen=True)
class Island:
    """A centre and its K nearest people.

    Attributes:
        centre: participant.
        members: (K + 1,) participants, the centre first, then by distance.
        objective: the minimised sum, in cosine distance; below 0.
        p_permutation: share of permuted labels whose best island is as good.
    """

    centre: int
    members: NDArray[np.int64]
    objective: float
    p_permutation: float


def neighbour_graph(z: NDArray, *, neighbours: int = 200, seed: int = 0) -> NeighbourGraph:
    """Find all pairs within lambda, by blocks of float32 cosine distances.

    Args:
        z: (n_participants, n_dims).
        neighbours: how many others a person has within lambda on average (at most a tenth of all people).
        seed: whose distances give the quantile.

    Raises:
        PhenotypeError: NaN, an embedding of norm zero, fewer than 20 participants, or all pointing the same way.
    """
    from scipy.sparse import coo_array

    unit = _unit(z)
    n = len(unit)
    radius = _radius(unit, max(1, min(neighbours, int(MOST_NEIGHBOURS_SHARE * n))), seed)
    # Each pair once, in the upper triangle, then both ways: the graph is symmetric to the bit.
    near, far, between = [], [], []
    start = 0
    while start < n:
        stop = min(n, start + max(1, _BLOCK_VALUES // (n - start)))
        distance = 1 - unit[start:stop] @ unit[start:].T
        rows, columns = np.nonzero(distance <= radius)
        once = columns > rows
        rows, columns = rows[once], columns[once]
        near.append((rows + start).astype(np.int32))
        far.append((columns + start).astype(np.int32))
        between.append(np.maximum(distance[rows, columns], 0))
        start = stop
    i, j, d = np.concatenate(near), np.concatenate(far), np.concatenate(between)
    pairs = coo_array((np.tile(d, 2), (np.concatenate([i, j]), np.concatenate([j, i]))), shape=(n, n)).tocsr()
    starts = pairs.indptr.astype(np.int64)
    counts = np.diff(starts)
    order = np.lexsort((pairs.data, np.repeat(np.arange(n, dtype=np.int32), counts)))
    distances = pairs.data[order]
    # Of duplicates, such as a person scanned twice, the nearest person is the nearest other.
    apart = np.minimum.reduceat(np.where(distances > TIE, distances, np.inf), starts[:-1][counts > 0])
    apart = apart[np.isfinite(apart)]
    if not apart.size:
        raise PhenotypeError("nobody is near anybody: all embeddings within lambda are duplicates")
    dense = float(np.percentile(apart, NEAR_PERCENTILE))
    return NeighbourGraph(
        starts, pairs.indices[order].astype(np.int32), distances, _ends(starts, distances), radius, dense
    )


def control_weight(graph: NeighbourGraph, prevalence: float) -> float:
    """Return gamma: a neighbourhood of the code's prevalence pays nowhere but in the densest places.

    Args:
        graph: of the organ.
        prevalence: share of the participants that are cases.
    """
    return max(1.0, (graph.radius / graph.near - prevalence) / (1 - prevalence))


def best_island(
    graph: NeighbourGraph, cases: NDArray[np.bool_], gamma: float, *, better_than: float = 0.0
) -> tuple[float, int, int] | None:
    """Minimise over all centres and sizes, exactly.

    Centres are visited in the order of a bound (all cases within lambda, and whom gamma leaves paying, with no control
    that costs), and the search ends where the bound is no better than what has been found.

    Args:
        graph: all pairs within lambda.
        cases: (n_participants,) True for cases.
        gamma: weight of a control, at least 1.
        better_than: a sum that is of interest only if it is undercut.

    Returns:
        Objective, centre and K; None where nothing is below `better_than`.
    """
    at, counts = graph.positions(np.flatnonzero(cases))
    n = len(cases)
    of_cases = np.bincount(graph.neighbours[at], graph.radius - graph.distances[at].astype(np.float64), n)
    gain = of_cases.astype(np.float64) + _paying_controls(graph, gamma, n)
    order = np.argsort(-gain, kind="stable")
    order = order[: np.searchsorted(-gain[order], min(better_than, 0.0))]
    best: tuple[float, int, int] | None = None
    lowest, first, chunk = better_than, 0, 64
    while first < len(order) and -gain[order[first]] < lowest:
        centres = order[first : first + chunk]
        at, counts = graph.positions(centres)
        distance = graph.distances[at].astype(np.float64)
        weight = np.where(cases[graph.neighbours[at]], 1.0, gamma)
        total = np.cumsum(weight * distance - graph.radius)
        rows = np.cumsum(counts) - counts
        before = np.where(rows > 0, total[rows - 1], 0.0)
        minima = np.minimum.reduceat(np.where(graph.ends[at], total, np.inf), rows) - before
        winner = int(minima.argmin())
        if minima[winner] < lowest:
            own = slice(rows[winner], rows[winner] + counts[winner])
            size = int(np.where(graph.ends[at[own]], total[own], np.inf).argmin()) + 1
            lowest = float(minima[winner])
            best = lowest, int(centres[winner]), size
        first += len(centres)
        chunk = min(2 * chunk, 4096)
    return best


def find_islands(
    graph: NeighbourGraph,
    cases: NDArray[np.bool_],
    *,
    max_islands: int = 3,
    permutations: int = 199,
    max_p: float = 0.05,
    seed: int = 0,
) -> list[Island]:
    """Find the islands of a code, the best first, until one is no better than those of permuted labels.

    That one is returned as well, as the last, with its p-value above `max_p`; so with labels that are random the first
    island has a p-value of at most `max_p` in a share `max_p` of the codes.

    Args:
        graph: all pairs within lambda.
        cases: (n_participants,) True for cases.
        max_islands: no more than these are sought.
        permutations: permuted labels an island is tried against; fewer once it cannot be at most `max_p` any more (the
            p-value is then that of Besag and Clifford 1991).
        max_p: largest p-value after which a further island is sought.
        seed: permutations.

    Raises:
        PhenotypeError: nobody or everybody is a case, or the arrays do not match.
    """
    cases = checked_mask(cases, len(graph.starts) - 1)
    if not cases.any() or cases.all():
        raise PhenotypeError("no controls" if cases.any() else "no cases")
    gamma = control_weight(graph, float(cases.mean()))
    rng = np.random.default_rng(seed)
    present = np.ones(len(cases), dtype=bool)
    islands: list[Island] = []
    while len(islands) < max_islands and 0 < (cases & present).sum() < present.sum():
        found = best_island(graph, cases & present, gamma)
        if found is None:
            break
        objective, centre, size = found
        p = _permutation_p(graph, cases, present, gamma, objective, permutations, max_p, rng)
        own = graph.neighbours[graph.starts[centre] : graph.starts[centre + 1]]
        islands.append(Island(centre, np.concatenate([[centre], own[:size]]).astype(np.int64), objective, p))
        if p > max_p:
            break
        gone = np.zeros(len(cases), dtype=bool)
        gone[centre] = gone[own] = True
        present &= ~gone
        graph = graph.without(gone)
    return islands


def _permutation_p(
    graph: NeighbourGraph,
    cases: NDArray[np.bool_],
    present: NDArray[np.bool_],
    gamma: float,
    objective: float,
    permutations: int,
    max_p: float,
    rng: np.random.Generator,
) -> float:
    """Return the share of label permutations, among those present, whose best island is at least as good."""
    people = np.flatnonzero(present)
    enough = int(max_p * (permutations + 1))
    as_good = 0
    for done in range(1, permutations + 1):
        permuted = np.zeros(len(cases), dtype=bool)
        permuted[people] = rng.permutation(cases[people])
        # As good to the rounding of the sums.
        as_good += best_island(graph, permuted, gamma, better_than=objective * (1 - 1e-9)) is not None
        if as_good > enough:
            return as_good / done
    return (as_good + 1) / (permutations + 1)


def _paying_controls(graph: NeighbourGraph, gamma: float, n: int) -> NDArray[np.float64]:
    """Return the most that each centre gains by people that lower its sum even as controls, (n_participants,)."""
    at = np.flatnonzero(graph.distances < graph.radius / gamma)
    rows = np.searchsorted(graph.starts, at, side="right") - 1
    gain = np.bincount(rows, graph.radius - gamma * graph.distances[at].astype(np.float64), n)
    return gain.astype(np.float64)


def _radius(unit: NDArray[np.float32], neighbours: int, seed: int) -> float:
    """Return the distance within which people have so many others on average."""
    n = len(unit)
    people = np.random.default_rng(seed).choice(n, min(n, SAMPLE), replace=False)
    distance = 1 - unit[people] @ unit.T
    distance[np.arange(len(people)), people] = np.inf
    kth = neighbours * len(people) - 1
    radius = float(np.partition(distance.ravel(), kth)[kth])
    if not radius > TIE:
        raise PhenotypeError("most embeddings point the same way: there are no distances to find islands by")
    return radius


def _ends(starts: NDArray[np.int64], distances: NDArray[np.float32]) -> NDArray[np.bool_]:
    ends = np.ones(len(distances), dtype=bool)
    ends[:-1] = np.diff(distances) > TIE
    ends[starts[1:][np.diff(starts) > 0] - 1] = True
    return ends


def _unit(z: NDArray) -> NDArray[np.float32]:
    """Return embeddings of length one, float32 (n_participants, n_dims)."""
    z = checked_embeddings(z)
    if len(z) < 20:
        raise PhenotypeError(f"{len(z)} participants are too few for islands: wanted 20")
    return unit_rows(z).astype(np.float32)
