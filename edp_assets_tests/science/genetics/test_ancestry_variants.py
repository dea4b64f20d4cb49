import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from edp_assets.science.genetics.ancestry_variants import (
    LONG_RANGE_LD,
    evenly_spaced,
    outside_long_range_ld,
    prune,
    well_called,
)


def correlated(n_variants: int = 400, n: int = 500, seed: int = 0) -> np.ndarray:
    """Genotypes whose neighbours correlate, of many frequencies, with missing calls."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(2, n_variants, n))
    for i in range(1, n_variants):
        r = 0.0 if i % 25 == 0 else 0.8
        latent[:, i] = r * latent[:, i - 1] + np.sqrt(1 - r * r) * latent[:, i]
    G = (latent > rng.uniform(0, 1.5, (1, n_variants, 1))).sum(axis=0).astype(float)
    G[rng.random(G.shape) < 0.01] = np.nan
    return G


def squared(G: np.ndarray) -> np.ndarray:
    return np.square(np.corrcoef(np.where(np.isnan(G), np.nanmean(G, axis=1, keepdims=True), G)))


@pytest.mark.parametrize(
    ("build", "chromosome", "megabase", "outside"),
    [
        ("GRCh37", "6", 30.0, False), ("GRCh38", "6", 30.0, False), ("NCBI36", "8", 9.0, False),
        ("GRCh37", "6", 40.0, True), ("GRCh37", "7", 30.0, True), ("GRCh37", "X", 30.0, False),
        ("GRCh37", "17", 43.9, False), ("GRCh38", "17", 43.9, True), ("GRCh38", "17", 45.8, False),
        ("NCBI36", "17", 41.4, False), ("GRCh37", "2", 136.6, False), ("GRCh38", "2", 135.8, False),
    ],
)  # fmt: skip
def test_outside_long_range_ld__goes_by_build(build: str, chromosome: str, megabase: float, outside: bool):
    variants = pl.DataFrame({"chromosome": [chromosome], "base_pair_location": [int(megabase * 1e6)]})
    assert outside_long_range_ld(variants, build).to_list() == [outside]


def test_outside_long_range_ld__unknown_build():
    variants = pl.DataFrame({"chromosome": ["1"], "base_pair_location": [1]})
    with pytest.raises(ValueError, match="wanted one of NCBI36, GRCh37, GRCh38, found 'hg19'"):
        outside_long_range_ld(variants, "hg19")
    assert all(first < last for regions in LONG_RANGE_LD.values() for _, first, last in regions)


def test_well_called__common_and_called():
    G = np.zeros((3, 100))
    G[:, :20] = 1.0
    G[1, :12] = 0.0  # frequency 0.04
    G[2, 50:53] = np.nan
    assert well_called(G, 0.05, 0.02).tolist() == [True, False, False]


def test_prune__leaves_no_correlated_pair_within_the_window():
    G = correlated()
    window = 30
    keep = prune([G], 0.1, window)
    r2 = squared(G)
    near = np.abs(np.subtract.outer(np.arange(400), np.arange(400))) < window
    np.fill_diagonal(near, False)
    assert not np.any((r2 > 0.1001)[np.ix_(keep, keep)] & near[np.ix_(keep, keep)])
    assert 20 < keep.sum() < 200
    # Whoever was left out correlates with another of the window.
    assert np.all(np.any((r2 > 0.0999) & near, axis=1)[~keep])


@pytest.mark.parametrize("size", [1, 7, 100])
def test_prune__does_not_depend_on_blocks(size: int):
    G = correlated()
    np.testing.assert_array_equal(prune([G], 0.1, 30), prune((G[i : i + size] for i in range(0, 400, size)), 0.1, 30))


def test_prune__the_commoner_of_two_stays_and_what_does_not_vary_goes():
    rng = np.random.default_rng(0)
    common = rng.binomial(2, 0.4, 300).astype(float)
    rare = np.where(rng.random(300) < 0.1, 0.0, common)
    assert prune([np.stack([rare, common, np.ones(300), common])], 0.1, 10).tolist() == [False, True, False, False]
    assert prune([np.stack([common, *rng.binomial(2, 0.4, (4, 300)), common])], 0.1, 5)[[0, 5]].all()
    assert prune([], 0.1, 5).tolist() == []


def test_prune__is_nearly_plink2s(write_bed, tmp_path: Path):
    if shutil.which("plink2") is None:
        pytest.skip("plink2 is not installed")
    G = correlated(1500)
    bed = write_bed(G)
    command = ["plink2", "--bfile", bed.with_suffix(""), "--indep-pairwise", "50", "1", "0.2", "--out", tmp_path / "p"]
    subprocess.run(list(map(str, command)), capture_output=True, check=True)
    theirs = {int(name[2:]) for name in (tmp_path / "p.prune.in").read_text().split()}
    ours = set(np.flatnonzero(prune([G], 0.2, 50)).tolist())
    assert len(ours & theirs) > 0.9 * max(len(ours), len(theirs))


def test_evenly_spaced__all_or_so_many():
    assert evenly_spaced(5, 7).tolist() == [0, 1, 2, 3, 4]
    assert evenly_spaced(101, 3).tolist() == [0, 50, 100]
