"""People into clusters of similar embeddings: Leiden (paper, section 4), and k-means and agglomerative beside it.

What a cluster says of a code, and the score, are in `clustering.py`. All three cluster by direction: Leiden on the
cosine neighbour graph, the others on embeddings of length one, whose squared distances are twice the cosine distances.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edp_assets.science.phenotypes.errors import PhenotypeError, checked_embeddings, checked_mask, unit_rows

Algorithm = Literal["leiden", "kmeans", "agglomerative"]
ALGORITHMS: tuple[Algorithm, ...] = ("leiden", "kmeans", "agglomerative")


@dataclass(frozen=True)
class Clusters:
    """Communities of participants with similar embeddings.

    Attributes:
        labels: (n_participants,) 0 is the largest cluster, 1 the next.
        umap: (n_participants, 2) coordinates for drawing.
        mean_rand_index: adjusted Rand index of the partitions by several seeds, mean over pairs; NaN: not asked for.
    """

    labels: NDArray[np.int64]
    umap: NDArray[np.float64]
    mean_rand_index: float = float("nan")


@dataclass(frozen=True)
class Partition:
    """One algorithm's clusters: labels (n_participants,), 0 the largest, and `mean_rand_index` as in `Clusters`."""

    algorithm: Algorithm
    labels: NDArray[np.int64]
    mean_rand_index: float


def find_clusters(
    z: NDArray,
    *,
    algorithm: Algorithm = "leiden",
    n_clusters: int | None = None,
    n_neighbors: int = 10,
    resolution: float = 1.0,
    seed: int = 0,
    stability_seeds: int = 1,
) -> Clusters:
    """Cluster embeddings and lay them out by UMAP.

    Args:
        z: (n_participants, n_dims).
        algorithm: Leiden is the paper's.
        n_clusters: clusters of k-means and agglomerative; None: as many as Leiden finds.
        n_neighbors: neighbours of each participant in the graph (scanpy.pp.neighbors).
        resolution: larger makes more clusters (scanpy.tl.leiden).
        seed: graph, clusters and UMAP.
        stability_seeds: with how many seeds (this one and the next) the partition is made, to compare them.

    Raises:
        PhenotypeError: NaN, an embedding of norm zero, or no more participants than neighbours or clusters.
    """
    import scanpy

    data = _with_graph(z, n_neighbors, seed)
    wanted = _wanted(data, algorithm, n_clusters, resolution, seed)
    made = _over_seeds(data, algorithm, wanted, resolution, range(seed, seed + stability_seeds))
    scanpy.tl.umap(data, random_state=seed)
    return Clusters(made.labels, np.asarray(data.obsm["X_umap"], np.float64), made.mean_rand_index)


def leiden_partition(z: NDArray, *, n_neighbors: int = 10, resolution: float = 1.0, seed: int = 0) -> Partition:
    """Cluster embeddings by Leiden without laying them out; see `find_clusters`."""
    data = _with_graph(z, n_neighbors, seed)
    return _over_seeds(data, "leiden", 0, resolution, [seed])


def leiden_clusters(z: NDArray, *, n_neighbors: int = 10, resolution: float = 1.0, seed: int = 0) -> Clusters:
    """Cluster embeddings by Leiden as the paper does (section 4); see `find_clusters`."""
    return find_clusters(z, n_neighbors=n_neighbors, resolution=resolution, seed=seed)


def all_partitions(
    z: NDArray,
    *,
    n_clusters: int | None = None,
    n_neighbors: int = 10,
    resolution: float = 1.0,
    seed: int = 0,
    stability_seeds: int = 5,
) -> list[Partition]:
    """Partition people by every algorithm, into as many clusters each (the paper's comparison, section 4).

    Arguments and errors are those of `find_clusters`. Agglomerative has no seed: its index is 1.
    """
    data = _with_graph(z, n_neighbors, seed)
    wanted = _wanted(data, "kmeans", n_clusters, resolution, seed)
    seeds = range(seed, seed + stability_seeds)
    return [_over_seeds(data, algorithm, wanted, resolution, seeds) for algorithm in ALGORITHMS]


def homogeneity(labels: NDArray[np.integer], codes: Sequence[NDArray[np.bool_]]) -> float:
    """Return how much of the codes' entropy the clusters explain: 1 - H(code | cluster) / H(code), mean over codes.

    It is scikit-learn's homogeneity_score (Rosenberg and Hirschberg 2007) of each code, 0 to 1. The paper speaks of
    "homogeneous populations of ICD-10 codes" (section 4) without a measure. It grows with the number of clusters:
    compare partitions into as many. Codes that nobody or everybody has are left out.

    Args:
        labels: (n_participants,) cluster labels.
        codes: one mask (n_participants,) a code, True for its cases.

    Raises:
        PhenotypeError: no code has both cases and controls, or the arrays do not match.
    """
    masks = [checked_mask(cases, len(labels)) for cases in codes]
    cluster = np.unique(labels, return_inverse=True)[1]
    sizes = np.bincount(cluster)
    found = [
        _homogeneity(np.bincount(cluster[cases], minlength=len(sizes)), sizes) for cases in masks if _varies(cases)
    ]
    if not found:
        raise PhenotypeError("no code has both cases and controls")
    return float(np.mean(found))


def _varies(cases: NDArray[np.bool_]) -> bool:
    return bool(cases.any() and not cases.all())


def _homogeneity(cases: NDArray[np.integer], sizes: NDArray[np.integer]) -> float:
    """Return 1 - H(code | cluster) / H(code) of a code's cases by cluster; a hundred times faster than a score each."""
    n = sizes.sum()
    both = np.stack([cases, sizes - cases]).astype(float)
    of_cluster = np.divide(both, sizes, out=np.ones_like(both), where=both > 0)
    of_all = both.sum(axis=1) / n
    return float(1 - (both * np.log(of_cluster)).sum() / (n * (of_all * np.log(of_all)).sum()))


def _with_graph(z: NDArray, n_neighbors: int, seed: int) -> Any:
    """Return embeddings as AnnData with scanpy's neighbour graph, its neighbours exact at any size.

    scanpy's own default turns approximate from 4,096 participants on, and pynndescent 0.7 returns there what scanpy
    1.11 cannot read; its exact path (scikit-learn) gives the same graph and is slower.
    """
    z = checked_embeddings(z)
    unit_rows(z)  # refuses an embedding without a direction
    if len(z) <= n_neighbors:
        raise PhenotypeError(f"{len(z)} participants are too few for {n_neighbors} neighbours each")
    import anndata
    import scanpy

    from edp_assets.science.phenotypes.neighbours import CosineNeighbours

    data = anndata.AnnData(z)
    neighbours = CosineNeighbours(n_neighbors)
    scanpy.pp.neighbors(data, use_rep="X", metric="cosine", transformer=neighbours, random_state=seed)
    return data


def _wanted(data: Any, algorithm: Algorithm, n_clusters: int | None, resolution: float, seed: int) -> int:
    """Return how many clusters k-means and agglomerative are to make; 0 where Leiden decides."""
    if algorithm == "leiden":
        return 0
    wanted = n_clusters or int(_labels(data, "leiden", 0, resolution, seed).max()) + 1
    if wanted > data.n_obs:
        raise PhenotypeError(f"{data.n_obs} participants are too few for {wanted} clusters")
    return wanted


def _over_seeds(data: Any, algorithm: Algorithm, n_clusters: int, resolution: float, seeds: Sequence[int]) -> Partition:
    """Partition by the first seed, and compare it with those by the others."""
    from sklearn.metrics import adjusted_rand_score

    seeds = seeds[:1] if algorithm == "agglomerative" else seeds
    made = [_labels(data, algorithm, n_clusters, resolution, seed) for seed in seeds]
    pairs = [adjusted_rand_score(a, b) for a, b in itertools.combinations(made, 2)]
    alone = 1.0 if algorithm == "agglomerative" else float("nan")
    return Partition(algorithm, made[0], float(np.mean(pairs)) if pairs else alone)


def _labels(data: Any, algorithm: Algorithm, n_clusters: int, resolution: float, seed: int) -> NDArray[np.int64]:
    if algorithm == "leiden":
        import scanpy

        scanpy.tl.leiden(
            data, resolution=resolution, random_state=seed, flavor="igraph", n_iterations=2, directed=False
        )
        return _by_size(data.obs["leiden"].astype(int).to_numpy())
    unit = unit_rows(data.X).astype(np.float32)
    if algorithm == "kmeans":
        from sklearn.cluster import KMeans

        return _by_size(KMeans(n_clusters, n_init=1, random_state=seed).fit_predict(unit))
    from sklearn.cluster import AgglomerativeClustering

    # Ward's on the neighbour graph: all pairs of 45,714 people would take 8 GB. Parts that the graph leaves apart are
    # joined at their nearest, of which scikit-learn warns.
    graph = data.obsp["connectivities"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the number of connected components")
        return _by_size(AgglomerativeClustering(n_clusters, connectivity=graph, linkage="ward").fit_predict(unit))


def _by_size(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Renumber labels so that 0 is the largest cluster; equal sizes keep their order."""
    values, codes = np.unique(labels, return_inverse=True)
    order = np.argsort(-np.bincount(codes), kind="stable")
    rank = np.empty(len(values), dtype=np.int64)
    rank[order] = np.arange(len(values))
    return rank[codes]
