"""The projection GWAS of many EDPs against plink2 --glm on the same files, at two numbers of variants."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from edp_assets_tests.benchmarks.result import Result, compare, seconds

N, DIMS, EDPS, COVARIATES = 10_000, 128, 200, 16
VARIANTS = (2_000, 4_000)


def run() -> list[Result]:
    """Basis and all statistics of 200 EDPs; then the statistics alone, as after a changed label."""
    if shutil.which("plink2") is None:
        print("plink2 is not installed: the projection GWAS is not compared (Debian: apt-get install plink2)")
        return []
    results = []
    for n_variants in VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            results += _compare(Path(folder), n_variants)
    return results


def _compare(folder: Path, n_variants: int) -> list[Result]:
    from edp_assets.science.genetics.covariates import covariate_basis
    from edp_assets.science.genetics.genotypes import open_genotypes
    from edp_assets.science.genetics.projection import associate, project_block, score_coordinates, whitened_basis

    rng = np.random.default_rng(0)
    _write_bed(folder / "g", rng, n_variants)
    z = rng.normal(size=(N, DIMS)) @ rng.normal(size=(DIMS, DIMS))
    scores = z @ rng.normal(size=(DIMS, EDPS))
    covariates = rng.normal(size=(N, COVARIATES))
    ids = {"#IID": [f"i{i}" for i in range(N)]}
    pl.DataFrame({**ids, **{f"y{k}": scores[:, k] for k in range(EDPS)}}).write_csv(folder / "y.tsv", separator="\t")
    columns = {f"c{k}": covariates[:, k] for k in range(COVARIATES)}
    pl.DataFrame({**ids, **columns}).write_csv(folder / "c.tsv", separator="\t")
    command = ["plink2", "--bfile", "g", "--pheno", "y.tsv", "--covar", "c.tsv", "--glm", "hide-covar", "log10"]
    command += ["--no-psam-pheno", "--threads", "2", "--covar-variance-standardize", "--out", "out"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    theirs = seconds(lambda: subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True))
    stored = {}

    def basis() -> None:
        Q = covariate_basis(list(covariates.T))
        W = whitened_basis(z, Q)
        with open_genotypes(folder / "g.bed") as genotypes:
            blocks = [project_block(block, W.astype(np.float32), Q) for _, _, block in genotypes.blocks(512)]
        stored.update(Q=Q, W=W, gz=np.concatenate([b.gz for b in blocks]), gg=np.concatenate([b.gg for b in blocks]))

    def statistics() -> None:
        c, yy, _ = score_coordinates(scores, stored["W"], stored["Q"])
        found = associate(stored["gz"], stored["gg"], c, yy, N, stored["Q"].shape[1])
        frame = pl.DataFrame({f"y{k}": found.neg_log_10_p_value[k] for k in range(EDPS)})
        frame.with_columns(beta=pl.Series(found.beta[0])).write_parquet(folder / "out.parquet")
        stored["p"] = found.neg_log_10_p_value

    first, again = seconds(basis), seconds(statistics)
    peer = pl.read_csv(folder / "out.y0.glm.linear", separator="\t")
    difference = np.abs(peer["LOG10_P"].to_numpy() - stored["p"][0]).max()
    note = f"{N:,} people x {n_variants:,} variants x {EDPS} EDPs; largest difference in -log10 p {difference:.1e}"
    return [
        compare("projection_gwas", first + again, "plink2 --glm", theirs, note),
        compare("projection_gwas_refresh", again, "plink2 --glm", theirs, "the same from the stored products"),
    ]


def _write_bed(prefix: Path, rng: np.random.Generator, n_variants: int) -> None:
    """Write random genotypes as PLINK 1 files."""
    code = np.array([3, 2, 0], np.uint8)  # copies of A1 to .bed's two bits
    with prefix.with_suffix(".bed").open("wb") as bed:
        bed.write(b"\x6c\x1b\x01")
        for frequency in rng.uniform(0.05, 0.5, n_variants):
            bits = np.zeros(-(-N // 4) * 4, np.uint8)
            bits[:N] = code[rng.binomial(2, frequency, N)]
            quads = bits.reshape(-1, 4)
            bed.write((quads[:, 0] | quads[:, 1] << 2 | quads[:, 2] << 4 | quads[:, 3] << 6).tobytes())
    bim = "".join(f"1\trs{i}\t0\t{1000 + i}\tA\tG\n" for i in range(n_variants))
    prefix.with_suffix(".bim").write_text(bim)
    prefix.with_suffix(".fam").write_text("".join(f"0\ti{i}\t0\t0\t1\t-9\n" for i in range(N)))
