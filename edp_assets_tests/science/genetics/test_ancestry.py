import csv
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from edp_assets.science.genetics import ancestry
from edp_assets.science.genetics.ancestry import PrincipalComponents, principal_components
from edp_assets.science.genetics.ancestry_variants import outside_long_range_ld, well_called
from edp_assets.science.genetics.calibration import effective_number, lambda_gc, lambda_interval
from edp_assets.science.genetics.covariates import covariate_basis
from edp_assets.science.genetics.genotypes import open_genotypes
from edp_assets.science.genetics.hard_calls import HardCalls
from edp_assets.science.genetics.kinship import choose_left_out, related_pairs
from edp_assets.science.genetics.regression import associate_directly


@dataclass(frozen=True)
class HapMap:
    bed: Path
    G: np.ndarray  # (n_variants, n_participants), those that PCs are of
    rsids: list[str]
    populations: np.ndarray
    unrelated: np.ndarray
    pcs: PrincipalComponents


@pytest.fixture(scope="module")
def hapmap(hapmap3: Path) -> HapMap:
    (bed,) = hapmap3.glob("*.bed")
    with open_genotypes(bed) as file:
        G, ids, variants = file.read(0, file.n_variants), file.sample_ids, file.variants
    keep = well_called(G, 0.05, 0.02) & outside_long_range_ld(variants, "NCBI36").to_numpy()
    with (hapmap3 / "relationships_w_pops_121708.txt").open() as table:
        population = {row["IID"]: row["population"] for row in csv.DictReader(table, delimiter="\t")}
    with HardCalls([G[keep]], len(ids)) as calls:
        pairs = related_pairs(calls, 0.0884)
        left_out = choose_left_out([(ids[i], ids[j]) for i, j in zip(pairs.first, pairs.second, strict=True)])
        unrelated = np.array([iid not in left_out for iid in ids])
        pcs = principal_components(calls, 10, among=unrelated)
    rsids = variants.filter(pl.Series(keep))["rsid"].to_list()
    return HapMap(bed, G[keep], rsids, np.array([population[iid] for iid in ids]), unrelated, pcs)


def full_svd(G: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """PCs and eigenvalues from numpy's full decomposition of the standardised matrix."""
    p = np.nanmean(G, axis=1, keepdims=True) / 2
    X = np.nan_to_num((G - 2 * p) / np.sqrt(2 * p * (1 - p)))
    _, singular, V = np.linalg.svd(X, full_matrices=False)
    return V[:k].T, singular[:k] ** 2 / len(G)


def structured(n: int = 300, m: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Genotypes of three populations, with missing calls, and who is of which."""
    rng = np.random.default_rng(seed)
    frequency = np.clip(rng.uniform(0.2, 0.8, m) + rng.normal(0, 0.08, (3, m)), 0.05, 0.95)
    population = np.arange(n) % 3
    G = rng.binomial(2, frequency[population].T).astype(float)
    G[rng.random(G.shape) < 0.01] = np.nan
    return G, population


def explained(y: np.ndarray, groups: np.ndarray) -> float:
    """R^2 of a variable by group."""
    means = {group: y[groups == group].mean() for group in np.unique(groups)}
    return 1 - np.square(y - np.vectorize(means.get)(groups)).sum() / np.square(y - y.mean()).sum()


def test_principal_components__are_those_of_the_full_svd():
    G, _ = structured()
    with HardCalls([G[:700], G[700:]], 300) as calls:
        found = principal_components(calls, 5)
    V, eigenvalues = full_svd(G, 5)
    np.testing.assert_allclose(found.eigenvalues, eigenvalues, rtol=2e-3)
    correlation = np.abs(np.sum(found.scores * V, axis=0))
    assert correlation[:2].min() > 0.999999  # three populations
    assert correlation.min() > 0.99
    np.testing.assert_allclose(np.linalg.norm(found.scores, axis=0), 1, rtol=1e-9)
    np.testing.assert_allclose(found.scores.mean(axis=0), 0, atol=1e-3)


def test_principal_components__do_not_depend_on_blocks_and_hardly_on_the_seed(monkeypatch: pytest.MonkeyPatch):
    G, _ = structured()
    with HardCalls([G], 300) as calls:
        first, again, other = (principal_components(calls, 4, seed=seed) for seed in (0, 0, 1))
        monkeypatch.setattr(HardCalls.blocks, "__defaults__", (4 * 300 * 64,))
        blocked = principal_components(calls, 4)
    np.testing.assert_array_equal(first.scores, again.scores)
    np.testing.assert_allclose(first.scores[:, :2], other.scores[:, :2], atol=1e-5)  # the signs as well
    np.testing.assert_allclose(first.scores, blocked.scores, atol=1e-4)
    top = np.abs(first.scores).argmax(axis=0)
    assert np.all(first.scores[top, range(4)] > 0)


def test_principal_components__others_are_projected_among_their_own():
    G, population = structured()
    among = np.random.default_rng(3).random(300) < 0.8
    with HardCalls([G], 300) as calls:
        found = principal_components(calls, 2, among=among)
    V, _ = full_svd(G[:, among], 2)
    assert np.abs(np.sum(found.scores[among] * V, axis=0)).min() > 0.99999
    for k in range(2):
        for group in range(3):
            mine, theirs = (
                found.scores[among & (population == group), k],
                found.scores[~among & (population == group), k],
            )
            assert abs(mine.mean() - theirs.mean()) < 0.3 * np.ptp(found.scores[:, k])
    # Projection is by the loadings of the others: x'V / lambda.
    p = np.nanmean(G[:, among], axis=1, keepdims=True) / 2
    X = np.nan_to_num((G - 2 * p) / np.sqrt(2 * p * (1 - p)))
    expected = X[:, ~among].T @ (X[:, among] @ found.scores[among]) / len(G) / found.eigenvalues
    np.testing.assert_allclose(found.scores[~among], expected, atol=1e-4)


def test_principal_components__a_variant_that_does_not_vary_adds_nothing():
    G, _ = structured()
    flat = np.concatenate([G, np.zeros((50, 300)), np.full((50, 300), np.nan)])
    with HardCalls([G], 300) as calls, HardCalls([flat], 300) as more:
        a, b = principal_components(calls, 3), principal_components(more, 3)
    np.testing.assert_allclose(a.eigenvalues, b.eigenvalues, rtol=1e-5)


def test_principal_components__too_few_people_or_variants():
    with (
        HardCalls([np.ones((3, 20))], 20) as calls,
        pytest.raises(ValueError, match=r"5 principal components need .* found 20 unrelated people and 3 variants"),
    ):
        principal_components(calls, 5)


def test_principal_components__passes_are_bounded_and_it_is_told(monkeypatch: pytest.MonkeyPatch):
    G = structured(m=600)[0]
    with HardCalls([G], 300) as calls:
        found = principal_components(calls, 4)
        monkeypatch.setattr(ancestry, "ITERATIONS", 1)
        hasty = principal_components(calls, 4)
    assert found.converged
    assert found.passes <= 17
    assert hasty.passes < 7
    assert not hasty.converged


def test_principal_components__of_hapmap_are_those_of_the_full_svd(hapmap: HapMap):
    V, eigenvalues = full_svd(hapmap.G[:, hapmap.unrelated], 8)
    np.testing.assert_allclose(hapmap.pcs.eigenvalues[:8], eigenvalues, rtol=1e-3)
    assert np.abs(np.sum(hapmap.pcs.scores[hapmap.unrelated, :8] * V, axis=0)).min() > 0.99


def test_principal_components__are_plink2s_of_hapmap(hapmap: HapMap, tmp_path: Path):
    if shutil.which("plink2") is None:
        pytest.skip("plink2 is not installed")
    ids = np.array([line.split()[:2] for line in hapmap.bed.with_suffix(".fam").read_text().splitlines()])
    lines = [" ".join(pair) for pair in ids[hapmap.unrelated]]
    (tmp_path / "people.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "variants.txt").write_text("\n".join(hapmap.rsids) + "\n")
    command = ["plink2", "--bfile", str(hapmap.bed.with_suffix("")), "--pca", "10", "--threads", "1", "--keep"]
    command += [str(tmp_path / "people.txt"), "--extract", str(tmp_path / "variants.txt"), "--out", str(tmp_path / "p")]
    subprocess.run(command, capture_output=True, check=True)
    table = pl.read_csv(tmp_path / "p.eigenvec", separator="\t", infer_schema=False)
    assert table["IID"].to_list() == ids[hapmap.unrelated, 1].tolist()
    theirs = table.select(pl.col("^PC.*$").cast(pl.Float64)).to_numpy()
    assert np.abs(np.sum(hapmap.pcs.scores[hapmap.unrelated] * theirs, axis=0))[:8].min() > 0.99


def test_principal_components__separate_hapmaps_populations(hapmap: HapMap):
    people = hapmap.unrelated
    r2 = [explained(hapmap.pcs.scores[people, k], hapmap.populations[people]) for k in range(3)]
    assert r2[0] > 0.98
    assert min(r2) > 0.95
    # Relatives, projected, lie with their population.
    centres = {g: hapmap.pcs.scores[people & (hapmap.populations == g), :2].mean(axis=0) for g in ("CEU", "YRI", "CHB")}
    for group, centre in centres.items():
        for score in hapmap.pcs.scores[~people & (hapmap.populations == group), :2]:
            assert min(centres, key=lambda g: np.linalg.norm(score - centres[g])) == group
            assert np.linalg.norm(score - centre) < 0.03


def test_principal_components__calibrate_phenotypes_that_differ_by_population(hapmap: HapMap):
    """Null phenotypes, a population's mean plus noise: inflated without PCs, calibrated with them."""
    rng = np.random.default_rng(1)
    people = hapmap.unrelated
    groups, code = np.unique(hapmap.populations[people], return_inverse=True)
    Y = 0.5 * rng.normal(size=(len(groups), 100))[code] + rng.normal(size=(people.sum(), 100))
    G = hapmap.G[:, people]
    found = {}
    for name, columns in (("without", []), ("with", [hapmap.pcs.scores[people]])):
        Q = covariate_basis(columns, int(people.sum()))
        p = associate_directly(G, Y, Q)[0].neg_log_10_p_value
        found[name] = np.array([lambda_gc(row) for row in p]), float(np.nanmean(p > 2))
    inflated, calibrated = found["without"][0], found["with"][0]
    low, high = lambda_interval(effective_number([G[::4]], Q, [len(G)]))
    assert np.median(inflated) > 1.5
    assert low < np.median(calibrated) < high
    assert np.mean((low < calibrated) & (calibrated < high)) > 0.85  # of 95% intervals, 100 phenotypes
    # Type I error at 0.01 over all tests; a phenotype's tests share people, so the bounds are wider than binomial ones.
    assert found["without"][1] > 0.03
    assert found["with"][1] == pytest.approx(0.01, abs=0.001)
