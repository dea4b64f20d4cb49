"""A factor that dominates embeddings and its genes, before and after adjustment (paper, section 4.3 and Figure 5).

`python -m edp_assets_tests.adjusted_genes OUT.png` simulates a brain whose embeddings are mostly bone density, finds
the genes of a code with and without the embeddings' first principal component, and draws both Manhattan plots.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from numpy.typing import NDArray

LENGTHS = (249, 243, 198, 191, 181, 171, 159, 146, 141, 136, 135, 134, 115, 107, 103, 90, 81, 78, 59, 63, 48, 51)
"""Megabases of chromosomes 1 to 22 (GRCh37)."""
DENSITY_GENES = {"ZBTB40": ("1", 22_800_000), "FAM3C": ("7", 121_000_000), "COLEC10": ("8", 120_100_000)}
OTHER_GENES = {"CREB3L4": ("1", 153_900_000), "RBM23": ("14", 23_400_000)}
"""The paper's genes at their places; that they move what they move here, and by how much, is made up."""
NULL_CHROMOSOMES = ("11", "18")
REACH = 3_000_000
"""Base pairs over which the correlation of two variants of a haplotype falls to 1/e."""
NEAR = 4 * REACH
"""Base pairs around a planted variant within which a hit is the planted one's."""


@dataclass(frozen=True)
class Planted:
    """A simulated cohort.

    Attributes:
        variants: chromosome, base_pair_location, gene (null where none is planted near), one row a variant.
        genotypes: (n_variants, n_participants) copies of the effect allele.
        z: (n_participants, n_dims) embeddings: bone density above all, the other trait weakly, and noise.
        density: (n_participants,) the dominating factor, moved by DENSITY_GENES.
        cases: (n_participants,) who has a code that both traits bring about.
    """

    variants: pl.DataFrame
    genotypes: NDArray[np.float32]
    z: NDArray[np.float64]
    density: NDArray[np.float64]
    cases: NDArray[np.bool_]


def simulate(seed: int, n: int = 4000, per_chromosome: int = 120, n_dims: int = 32) -> Planted:
    """Draw a cohort in which bone density has a variance 16 times the other trait's in the embeddings."""
    rng = np.random.default_rng(seed)
    genes = DENSITY_GENES | OTHER_GENES
    tables, blocks = [], []
    for number, megabases in enumerate(LENGTHS, 1):
        here = {gene: place for gene, (chromosome, place) in genes.items() if chromosome == str(number)}
        positions = np.linspace(1e5, megabases * 1e6, per_chromosome).astype(np.int64)
        for place in here.values():
            positions[np.abs(positions - place).argmin()] = place
        near = [next((g for g, place in here.items() if abs(p - place) < NEAR), None) for p in positions]
        blocks.append(_chromosome(rng, n, positions))
        columns = {"chromosome": str(number), "base_pair_location": positions, "gene": pl.Series(near, dtype=pl.String)}
        tables.append(pl.DataFrame(columns))
    variants, genotypes = pl.concat(tables), np.concatenate(blocks)

    def trait(planted: dict[str, tuple[str, int]]) -> NDArray[np.float64]:
        rows = [
            variants.with_row_index().filter(chromosome=c, base_pair_location=p)["index"][0]
            for c, p in planted.values()
        ]
        moved = sum(np.sqrt(0.04) * _standard(genotypes[row]) for row in rows)
        return np.asarray(moved + np.sqrt(1 - 0.04 * len(rows)) * rng.standard_normal(n))

    density, other = trait(DENSITY_GENES), trait(OTHER_GENES)
    directions = np.linalg.qr(rng.normal(size=(n_dims, n_dims)))[0]
    scales = np.concatenate([[5.0, 1.7], np.linspace(1.0, 0.3, n_dims - 2)])
    latent = np.column_stack([density, other, rng.standard_normal((n, n_dims - 2))])
    z = rng.normal(0, 1, n_dims) + (latent * scales) @ directions
    liability = np.sqrt(0.6) * density + np.sqrt(0.1) * other + np.sqrt(0.3) * rng.standard_normal(n)
    return Planted(variants, genotypes, z, density, liability > np.quantile(liability, 0.88))


def gwas(planted: Planted, z: NDArray[np.float64], method: str) -> pl.DataFrame:
    """Return the projection GWAS of the code's score: variants, neg_log_10_p_value."""
    score = classifier(z, planted.cases) if method == "classifier" else clustering(z, planted.cases)
    return associations(planted, z, score)


def associations(planted: Planted, z: NDArray[np.float64], score: NDArray[np.float64]) -> pl.DataFrame:
    """Return the projection GWAS of a score that is linear in z and its direction: variants, neg_log_10_p_value."""
    from edp_assets.science.genetics.covariates import covariate_basis
    from edp_assets.science.genetics.projection import associate, project_block, score_coordinates, whitened_basis

    Q = covariate_basis([], len(z))
    W = whitened_basis(np.hstack([z, z / np.linalg.norm(z, axis=1, keepdims=True)]), Q)
    projected = project_block(planted.genotypes, W, Q)
    c, yy, outside = score_coordinates(score, W, Q)
    assert outside < 1e-9
    found = associate(projected.gz, projected.gg, c, yy, len(z), Q.shape[1])
    return planted.variants.with_columns(neg_log_10_p_value=pl.Series(found.neg_log_10_p_value))


def classifier(z: NDArray[np.float64], cases: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the classifier-guided score."""
    from edp_assets.science.phenotypes.classifier import classifier_score

    return classifier_score(z, cases, folds=5).score


def clustering(z: NDArray[np.float64], cases: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the clustering-guided score of the Leiden cluster in which the cases are most enriched."""
    from edp_assets.science.phenotypes.clustering import clustering_score, fisher_enrichment
    from edp_assets.science.phenotypes.clusters import leiden_partition

    labels = leiden_partition(z).labels
    enriched = fisher_enrichment(labels, cases).filter(pl.col("odds_ratio") > 1).sort("neg_log_10_p_fisher")
    return clustering_score(z, cases & (labels == enriched["cluster"][-1]))


def adjusted(planted: Planted, factor: str) -> NDArray[np.float64]:
    """Return the embeddings less a factor: embedding_pc1 or bone density as it was measured."""
    from edp_assets.science.phenotypes.adjustment import adjust_embeddings, embedding_factors

    factors = embedding_factors(planted.z, [factor]) or {factor: planted.density}
    return adjust_embeddings(planted.z, factors).z


def genes_hit(statistics: pl.DataFrame, threshold: float = 5e-8) -> set[str]:
    """Return the planted genes with an associated variant, and `chromosome:position` of those near none."""
    hits = statistics.filter(pl.col("neg_log_10_p_value") > -np.log10(threshold))
    place = pl.concat_str("chromosome", "base_pair_location", separator=":")
    return set(hits.select(pl.coalesce("gene", place))["gene"])


def figure(planted: Planted, method: str = "clustering") -> Figure:
    """Draw the code's GWAS before and after the first component is adjusted for (paper, Figure 5)."""
    from edp_assets.figures.association import Panel, stacked_manhattans

    panels = []
    named = {"embeddings as they are": planted.z, "adjusted for embedding_pc1": adjusted(planted, "embedding_pc1")}
    for name, z in named.items():
        statistics = gwas(planted, z, method)
        hits = statistics.drop_nulls("gene").filter(pl.col("neg_log_10_p_value") > -np.log10(5e-8))
        panels.append(Panel(name, statistics, hits))
    n, cases = planted.cases.size, int(planted.cases.sum())
    return stacked_manhattans(panels, title=f"{method}-guided score of a simulated code: {n:,} people, {cases:,} cases")


def main() -> None:
    """Draw the figure."""
    from edp_assets.figures.render import to_png

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.write_bytes(to_png(figure(simulate(arguments.seed, per_chromosome=400))))


def _chromosome(rng: np.random.Generator, n: int, positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """Draw genotypes (n_variants, n) of two haplotypes each; neighbours are correlated, as in life."""
    from scipy.stats import norm

    cutoffs = norm.ppf(rng.uniform(0.1, 0.5, len(positions)))
    kept = np.exp(-np.diff(positions, prepend=-1e9) / REACH)
    state, rows = np.zeros((2, n)), []
    for cutoff, share in zip(cutoffs, kept, strict=True):
        state = share * state + np.sqrt(1 - share**2) * rng.standard_normal((2, n))
        rows.append((state < cutoff).sum(axis=0))
    return np.stack(rows).astype(np.float32)


def _standard(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray((values - values.mean()) / values.std(), np.float64)


if __name__ == "__main__":
    main()
