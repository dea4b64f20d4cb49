"""`edp gwas` against plink2 --glm on the same files, whole processes; and its memory at UK Biobank's size."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from edp_assets_tests.benchmarks.result import Result, compare, seconds

PEOPLE, VARIANTS, COVARIATES, PHENOTYPES = 45_714, 10_000, 16, (1, 200)
BIOBANK_PEOPLE, BIOBANK_VARIANTS, WANTED_GIB = 408_961, 300, 2.0

_EDP = (
    "import sys; from edp_assets.cli import cli; cli(sys.argv[1:], standalone_mode=False);"
    "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
)


def run() -> list[Result]:
    """One and 200 quantitative phenotypes of 45,714 people; then a binary one of 408,961."""
    results = []
    if shutil.which("plink2") is None:
        print("plink2 is not installed: edp gwas is not compared (Debian: apt-get install plink2)")
    else:
        with tempfile.TemporaryDirectory() as folder:
            results += _against_plink2(Path(folder), PEOPLE, VARIANTS)
    with tempfile.TemporaryDirectory() as folder:
        results.append(_biobank(Path(folder), BIOBANK_PEOPLE, BIOBANK_VARIANTS))
    return results


def _against_plink2(folder: Path, n: int, n_variants: int) -> list[Result]:
    rng = np.random.default_rng(0)
    _write_genotypes(folder / "g", rng, n, n_variants)
    _write_table(folder / "c.tsv", "c", rng.normal(size=(n, COVARIATES)))
    results = []
    for n_phenotypes in PHENOTYPES:
        _write_table(folder / "y.tsv", "y", rng.normal(size=(n, n_phenotypes)))
        command = ["plink2", "--bfile", "g", "--pheno", "y.tsv", "--covar", "c.tsv", "--glm", "hide-covar", "log10"]
        command += ["--no-psam-pheno", "--threads", "2", "--covar-variance-standardize", "--out", "p"]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        theirs = seconds(
            lambda c=command, e=environment: subprocess.run(c, cwd=folder, env=e, capture_output=True, check=True)
        )
        ours = seconds(lambda: _edp(folder))
        difference = 0.0
        for k in range(n_phenotypes):
            peer = pl.read_csv(folder / f"p.y{k}.glm.linear", separator="\t")["LOG10_P"]
            found = pl.read_parquet(folder / f"out/y{k}.parquet")["neg_log_10_p_value"]
            difference = max(difference, float(np.abs(peer.to_numpy() - found.to_numpy()).max()))
        note = (
            f"{n:,} people x {n_variants:,} variants, {n_phenotypes} phenotypes, {COVARIATES} covariates; largest "
            f"difference in -log10 p {difference:.1e}"
        )
        results.append(compare(f"gwas_{n_phenotypes}", ours, "plink2 --glm", theirs, note))
    return results


def _biobank(folder: Path, n: int, n_variants: int) -> Result:
    rng = np.random.default_rng(1)
    _write_genotypes(folder / "g", rng, n, n_variants, missing=0.002)
    X = rng.normal(size=(n, COVARIATES))
    _write_table(folder / "c.tsv", "c", X)
    _write_table(folder / "y.tsv", "y", (rng.random((n, 1)) < 0.03 * np.exp(0.2 * X[:, :1])).astype(int))
    started = time.perf_counter()
    told = _edp(folder, "--binary")
    took = time.perf_counter() - started
    gib = int(told.split("VmHWM:")[1].split()[0]) / 2**20
    # Of the chromosome alone: reading the tables and fitting the null model do not grow with variants.
    line = next(line for line in told.splitlines() if line.startswith("chromosome 1:"))
    each = float(line.split(" variants, ")[1].split(" s")[0]) / n_variants
    note = (
        f"binary, {n:,} people x {n_variants} variants in {took:.1f} s: {1000 * each:.1f} ms a variant, so 10 million "
        f"variants take {each * 1e7 / 3600:.0f} hours on this machine"
    )
    return Result("gwas_biobank_memory", gib, "GiB", "target", WANTED_GIB, WANTED_GIB / gib, note)


def _edp(folder: Path, *more: str) -> str:
    """Run `edp gwas` in a process of its own and return what it says, its peak memory at the end."""
    command = [sys.executable, "-c", _EDP, "gwas", "--genotypes", "g.bed", "--phenotypes", "y.tsv"]
    command += ["--covariates", "c.tsv", "--out", "out", *more]
    path = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def _write_table(path: Path, name: str, values: np.ndarray) -> None:
    ids = {"#IID": [f"i{i}" for i in range(len(values))]}
    columns = {f"{name}{k}": values[:, k] for k in range(values.shape[1])}
    pl.DataFrame({**ids, **columns}).write_csv(path, separator="\t")


def _write_genotypes(prefix: Path, rng: np.random.Generator, n: int, n_variants: int, missing: float = 0.0) -> None:
    """Write random genotypes as PLINK 1 files."""
    code = np.array([3, 2, 0, 1], np.uint8)  # copies of A1, or 3 for missing, to .bed's two bits
    with prefix.with_suffix(".bed").open("wb") as bed:
        bed.write(b"\x6c\x1b\x01")
        for frequency in rng.uniform(0.05, 0.5, n_variants):
            drawn = rng.random(n, dtype=np.float32)
            copies = (drawn < frequency**2).astype(np.int8) + (drawn < frequency**2 + 2 * frequency * (1 - frequency))
            if missing:
                copies[rng.random(n, dtype=np.float32) < missing] = 3
            bits = np.zeros(-(-n // 4) * 4, np.uint8)
            bits[:n] = code[copies]
            quads = bits.reshape(-1, 4)
            bed.write((quads[:, 0] | quads[:, 1] << 2 | quads[:, 2] << 4 | quads[:, 3] << 6).tobytes())
    bim = "".join(f"1\trs{i}\t0\t{1000 + i}\tA\tG\n" for i in range(n_variants))
    prefix.with_suffix(".bim").write_text(bim)
    prefix.with_suffix(".fam").write_text("".join(f"0\ti{i}\t0\t0\t1\t-9\n" for i in range(n)))
