"""A disease of two manifestations, planted: which of classifier, clustering and islands tells them apart?

Each manifestation is a latent that moves embeddings in a direction of its own, and one gene's variant moves the latent;
whoever is far out on either latent is a case, and some cases are noise (a diagnosis without a change in the organ).
`python -m edp_assets_tests.heterogeneity STRENGTH` prints the comparison; `test_heterogeneity.py` holds it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

METHODS = ("classifier", "clustering", "island")


@dataclass(frozen=True)
class Disease:
    """Embeddings (n, n_dims), cases (n,), latents and manifest (n, 2), genotypes (n_variants, n): genes come first."""

    z: NDArray[np.float64]
    cases: NDArray[np.bool_]
    latents: NDArray[np.float64]
    manifest: NDArray[np.bool_]
    genotypes: NDArray[np.float32]


@dataclass(frozen=True)
class Recovery:
    """What one method finds of one manifestation.

    Attributes:
        r: correlation with its latent of the selected score that follows it best, absolute.
        r_other: correlation of that score with the other latent, absolute.
        share: of the manifestation's cases, those among as many people as the code has cases, by that score.
        neg_log_10_p: of its gene, in the GWAS of that score.
        scores: how many scores the method selects.
        null_hits: genome-wide significant variants that move neither latent, in any score of the method.
    """

    r: float
    r_other: float
    share: float
    neg_log_10_p: float
    scores: int
    null_hits: int


def planted(
    n: int = 4000,
    n_dims: int = 32,
    prevalence: float = 0.1,
    *,
    strength: float = 1.2,
    noise: float = 0.3,
    variance_explained: float = 0.03,
    n_variants: int = 200,
    seed: int = 0,
) -> Disease:
    """Draw a cohort with the disease.

    Args:
        n: participants.
        n_dims: embedding dimensions, of falling variance.
        prevalence: share of cases.
        strength: what a standard deviation of a latent moves embeddings by; their largest axis has 1.
        noise: share of cases that are noise.
        variance_explained: of each latent by its variant.
        n_variants: variants, all but the first two without effect.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    dosages = rng.binomial(2, rng.uniform(0.1, 0.5, size=(n_variants, 1)), size=(n_variants, n)).astype(np.float32)
    genes = dosages[:2].T
    genes = (genes - genes.mean(axis=0)) / genes.std(axis=0)
    latents = np.sqrt(variance_explained) * genes + np.sqrt(1 - variance_explained) * rng.normal(size=(n, 2))
    directions = np.linalg.qr(rng.normal(size=(n_dims, 2)))[0].T
    z = rng.normal(size=(n, n_dims)) * np.arange(1, n_dims + 1) ** -0.7 + strength * latents @ directions
    liability = latents + 0.3 * rng.normal(size=(n, 2))
    manifest = liability > np.quantile(liability, 1 - prevalence * (1 - noise) / 2, axis=0)
    return Disease(z, manifest.any(axis=1) | (rng.random(n) < prevalence * noise), latents, manifest, dosages)


def selected_scores(disease: Disease, method: str) -> list[NDArray[np.float64]]:
    """Return the scores that a method makes and selects by the default settings, larger for those like the cases."""
    from edp_assets.science.phenotypes.classifier import classifier_score
    from edp_assets.science.phenotypes.clustering import clustering_score, fisher_enrichment
    from edp_assets.science.phenotypes.clusters import leiden_partition
    from edp_assets.science.phenotypes.islands import find_islands, neighbour_graph
    from edp_assets.science.phenotypes.selection import select_cluster
    from edp_assets.settings import ClusteringSettings, IslandSettings

    z, cases = disease.z, disease.cases
    if method == "classifier":
        return [z @ classifier_score(z, cases).weights]
    if method == "clustering":
        labels = leiden_partition(z).labels
        table = fisher_enrichment(labels, cases).select(
            "cluster", "cases_in_cluster", "odds_ratio", "neg_log_10_p_fisher"
        )
        chosen = [row[0] for row in table.iter_rows() if select_cluster(*row[1:], ClusteringSettings())[0]]
        return [-clustering_score(z, cases & (labels == cluster)) for cluster in chosen]
    settings = IslandSettings()
    graph = neighbour_graph(z, neighbours=settings.neighbours)
    islands = find_islands(graph, cases, max_islands=settings.max_islands, max_p=settings.max_p)
    members = [np.isin(np.arange(len(z)), i.members) & cases for i in islands if i.p_permutation <= settings.max_p]
    return [-clustering_score(z, inside) for inside in members if inside.sum() >= settings.min_cases]


def recoveries(disease: Disease, scores: list[NDArray[np.float64]]) -> list[Recovery]:
    """Return what a method's scores recover of each manifestation; the GWAS is the projection of the organ's basis."""
    from edp_assets.science.genetics.projection import associate, project_block, score_coordinates, whitened_basis

    n = len(disease.z)
    intercept = np.full((n, 1), n**-0.5)
    unit = disease.z / np.linalg.norm(disease.z, axis=1, keepdims=True)
    basis = whitened_basis(np.concatenate([disease.z, unit], axis=1), intercept)
    block = project_block(disease.genotypes, basis, intercept)
    y = np.column_stack(scores)
    c, yy, outside = score_coordinates(y, basis, intercept)
    assert outside.max() < 1e-6
    log_p = associate(block.gz, block.gg, c, yy, n, 1).neg_log_10_p_value
    r = np.abs(np.corrcoef(np.column_stack([disease.latents, y]).T)[:2, 2:])
    null_hits = int((log_p[:, 2:] > -np.log10(5e-8)).sum())
    found = []
    for j in (0, 1):
        best = int(r[j].argmax())
        first = np.argsort(-y[:, best])[: disease.cases.sum()]
        share = float(disease.manifest[first, j].sum() / disease.manifest[:, j].sum())
        figures = float(r[j, best]), float(r[1 - j, best]), share, float(log_p[best, j])
        found.append(Recovery(*figures, len(scores), null_hits))
    return found


def main() -> None:
    """Print the comparison for a rare, a less rare and a common code, the mean over three cohorts."""
    strength = float(sys.argv[1]) if len(sys.argv) > 1 else 1.2
    table = Table(
        "prevalence", "method", "scores", "r with the latent", "r with the other", "share of its cases",
        "gene, -log10 p", "genes of 2", "null hits", title=f"Two manifestations of one code, strength {strength:g}",
    )  # fmt: skip
    for prevalence in (0.02, 0.1, 0.3):
        made = [planted(5000, prevalence=prevalence, strength=strength, seed=seed) for seed in range(3)]
        for method in METHODS:
            found = [r for one in made if (scores := selected_scores(one, method)) for r in recoveries(one, scores)]
            if not found:
                table.add_row(f"{prevalence:.0%}", method, "0", *["-"] * 6)
                continue
            mean = {name: np.mean([getattr(r, name) for r in found]) for name in Recovery.__annotations__}
            genes = sum(r.neg_log_10_p > -np.log10(5e-8) for r in found) / len(made)
            table.add_row(
                f"{prevalence:.0%}", method, f"{mean['scores']:.1f}", f"{mean['r']:.2f}", f"{mean['r_other']:.2f}",
                f"{mean['share']:.2f}", f"{mean['neg_log_10_p']:.1f}", f"{genes:.1f}", f"{mean['null_hits']:.1f}",
            )  # fmt: skip
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
