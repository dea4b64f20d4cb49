"""Kinship of all pairs and genotype PCs against plink2 on the same files, at two sizes."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from edp_assets_tests.benchmarks.result import Result, compare, seconds

SIZES = ((5_000, 20_000), (10_000, 40_000))
POPULATIONS, FST, SIBLINGS, PCS = 4, 0.01, 50, 10


def run() -> list[Result]:
    """People of four populations, some of them siblings; kinship and PCs, each from the .bed."""
    if shutil.which("plink2") is None:
        print("plink2 is not installed: kinship and PCs are not compared (Debian: apt-get install plink2)")
        return []
    results = []
    for n, m in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            results += _compare(Path(folder), n, m)
    return results


def _compare(folder: Path, n: int, m: int) -> list[Result]:
    from edp_assets.science.genetics.ancestry import principal_components
    from edp_assets.science.genetics.genotypes import open_genotypes
    from edp_assets.science.genetics.hard_calls import HardCalls
    from edp_assets.science.genetics.kinship import related_pairs

    _write_bed(folder / "g", n, m)
    found = {}

    def packed() -> HardCalls:
        with open_genotypes(folder / "g.bed") as genotypes:
            return HardCalls((block for _, _, block in genotypes.blocks(512)), n, folder)

    def kinship() -> None:
        with packed() as calls:
            found["pairs"] = related_pairs(calls, 0.0884)

    def components() -> None:
        with packed() as calls:
            found["pcs"] = principal_components(calls, PCS)

    ours, ours_pcs = seconds(kinship), seconds(components)
    theirs = _plink2(folder, "--make-king-table", "--king-table-filter", "0.0884")
    table = pl.read_csv(folder / "out.kin0", separator="\t")
    differ = np.abs(np.sort(found["pairs"].kinship) - np.sort(table["KINSHIP"].to_numpy())).max()
    theirs_pcs = _plink2(folder, "--pca", "approx", str(PCS))
    vectors = pl.read_csv(folder / "out.eigenvec", separator="\t").select(pl.col("^PC.*$")).to_numpy()
    agree = np.abs(np.sum(found["pcs"].scores * vectors, axis=0))[: POPULATIONS - 1].min()
    size = f"{n:,} people x {m:,} variants"
    rate = n**2 / 2 * m / ours
    return [
        compare(
            "kinship", ours, "plink2 --make-king-table", theirs,
            f"{size}; {table.height} pairs, largest difference {differ:.1e}; {rate:.1e} multiply-adds/s",
        ),
        compare(
            "genotype_pcs", ours_pcs, "plink2 --pca approx", theirs_pcs,
            f"{size}; {found['pcs'].passes} passes; |r| of the first {POPULATIONS - 1} at least {agree:.6f}",
        ),
    ]  # fmt: skip


def _plink2(folder: Path, *arguments: str) -> float:
    command = ["plink2", "--bfile", "g", *arguments, "--threads", "2", "--out", "out"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return seconds(lambda: subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True))


def _write_bed(prefix: Path, n: int, m: int) -> None:
    """Write genotypes of several populations as PLINK 1 files; the last people are siblings, two and two."""
    rng = np.random.default_rng(0)
    code = np.array([3, 2, 0], np.uint8)  # copies of A1 to .bed's two bits
    population = np.arange(n) % POPULATIONS
    first = np.arange(n - 2 * SIBLINGS, n, 2)
    population[first + 1] = population[first]
    with prefix.with_suffix(".bed").open("wb") as bed:
        bed.write(b"\x6c\x1b\x01")
        for ancestral in rng.uniform(0.1, 0.9, m):
            scale = (1 - FST) / FST
            frequency = rng.beta(ancestral * scale, (1 - ancestral) * scale, POPULATIONS)
            copies = rng.random((2, n)) < frequency[population]
            parents = rng.random((4, SIBLINGS)) < frequency[population[first]]
            for sibling in (first, first + 1):
                pick = rng.integers(0, 2, (2, SIBLINGS))
                copies[:, sibling] = np.where(pick, parents[:2], parents[2:])
            bits = np.zeros(-(-n // 4) * 4, np.uint8)
            bits[:n] = code[copies.sum(axis=0)]
            quads = bits.reshape(-1, 4)
            bed.write((quads[:, 0] | quads[:, 1] << 2 | quads[:, 2] << 4 | quads[:, 3] << 6).tobytes())
    prefix.with_suffix(".bim").write_text("".join(f"{1 + 22 * i // m}\trs{i}\t0\t{1000 + i}\tA\tG\n" for i in range(m)))
    prefix.with_suffix(".fam").write_text("".join(f"0\ti{i}\t0\t0\t1\t-9\n" for i in range(n)))
