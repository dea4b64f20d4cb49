"""Clusters of an organ at biobank size against scanpy called by hand, and the islands of a code against the target."""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from edp_assets_tests.benchmarks.result import Result, compare, seconds

N, DIMS = 45_714, 384
ISLAND_SECONDS = 300.0
"""What a code's islands may take at this size."""


def run() -> list[Result]:
    """Neighbours, Leiden, UMAP; then islands. The exact path of scanpy is the peer: its approximate one fails here.

    (pynndescent 0.7 returns what scanpy 1.11 cannot read.) Leiden and UMAP are scanpy's in both, and timed once.
    """
    from edp_assets_tests.heterogeneity import planted

    disease = planted(N, DIMS, prevalence=0.02, n_variants=2)
    return [*_clusters(disease.z), *_islands(disease.z, disease.cases)]


def _clusters(z: np.ndarray) -> list[Result]:
    import anndata
    import scanpy

    from edp_assets.science.phenotypes.clusters import leiden_clusters
    from edp_assets.science.phenotypes.neighbours import CosineNeighbours

    leiden_clusters(z[:500])  # numba compiles once
    ours, by_hand = anndata.AnnData(z), anndata.AnnData(z)

    def neighbours(data: anndata.AnnData, **options: object) -> float:
        return seconds(lambda: scanpy.pp.neighbors(data, use_rep="X", metric="cosine", random_state=0, **options))

    def leiden(data: anndata.AnnData) -> float:
        return seconds(lambda: scanpy.tl.leiden(data, random_state=0, flavor="igraph", n_iterations=2, directed=False))

    near = neighbours(ours, transformer=CosineNeighbours(10))
    near_by_hand = neighbours(by_hand, transformer="sklearn", n_neighbors=10)
    rest = leiden(ours)
    leiden(by_hand)
    same = "the same partition" if (ours.obs["leiden"] == by_hand.obs["leiden"]).all() else "ANOTHER PARTITION"
    rest += seconds(lambda: scanpy.tl.umap(ours, random_state=0))
    size, peer = f"{N:,} x {DIMS}", "scanpy, exact (transformer='sklearn')"
    return [
        compare("neighbours", near, peer, near_by_hand, f"{size}, 10 neighbours, cosine"),
        compare("clusters", near + rest, peer, near_by_hand + rest, f"{size}, neighbours + Leiden + UMAP; {same}"),
    ]


def _islands(z: np.ndarray, cases: np.ndarray) -> list[Result]:
    from edp_assets.science.phenotypes.islands import find_islands, neighbour_graph

    started = time.perf_counter()
    graph = neighbour_graph(z, neighbours=100)
    graph_seconds = time.perf_counter() - started
    started = time.perf_counter()
    islands = find_islands(graph, cases)
    search = time.perf_counter() - started
    null = seconds(lambda: find_islands(graph, np.random.default_rng(0).permutation(cases)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    note = (
        f"{N:,} x {DIMS}, {int(cases.sum())} cases: {len(islands)} islands, 199 permutations each; "
        f"graph (once an organ) {graph_seconds:.1f} s, search {search:.1f} s, with permuted labels {null:.1f} s; "
        f"peak memory {peak:.1f} GiB"
    )
    return [compare("islands", graph_seconds + search, "target", ISLAND_SECONDS, note)]


if __name__ == "__main__":
    for result in run():
        print(result)
