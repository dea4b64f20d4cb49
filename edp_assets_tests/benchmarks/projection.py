"""The projection GWAS of 1,000 EDPs against plink2 --glm on the same files: the platform's own stages, lake included.

Prints besides what it follows that all of a biobank costs.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from edp_assets_tests.benchmarks.result import Result, compare, seconds

N, DIMS, EDPS, COVARIATES = 45_714, 384, 1_000, 16
VARIANTS_A_CHROMOSOME = 5_000
VARIANTS = (VARIANTS_A_CHROMOSOME, 2 * VARIANTS_A_CHROMOSOME)
ASSET = ("mae", "embedding_associations")
ORGANS, CODES, PHENOTYPES_A_CELL, BIOBANK_VARIANTS = 10, 700, 2, 10_000_000


def run() -> list[Result]:
    """Basis and all statistics; the statistics alone, as after changed labels; of these the significant ones alone."""
    if shutil.which("plink2") is None:
        print("plink2 is not installed: the projection GWAS is not compared (Debian: apt-get install plink2)")
        return []
    with tempfile.TemporaryDirectory() as folder:
        return _compare(Path(folder))


def _compare(folder: Path) -> list[Result]:
    _write_inputs(folder)
    theirs = seconds(lambda: _plink(folder))
    # Every one in a process of its own, so that its peak memory is its own.
    small, whole, narrow = (
        _measured(folder, n, kind) for n, kind in ((VARIANTS[0], "both"), (VARIANTS[-1], "both"), (VARIANTS[-1], "z"))
    )
    peer = pl.read_csv(folder / "out.y0.glm.linear", separator="\t")
    path = folder / f"both-{VARIANTS[-1]}/lake/mae/gwas_summary_stats/icd10=0/organ=liver/part.parquet"
    ours = pl.read_parquet(path).filter(method="classifier")
    gap = np.abs(peer["LOG10_P"].to_numpy() - ours["neg_log_10_p_value"].to_numpy()).max()
    print(
        f"projection, {VARIANTS[-1]:,} variants ({VARIANTS[0]:,}): products {whole['products']:.2f} s "
        f"({small['products']:.2f} s), coordinates {whole['coordinates']:.2f} s, full statistics {whole['full']:.2f} s "
        f"({small['full']:.2f} s), hits alone {whole['hits']:.2f} s; orthonormal basis, once an organ, "
        f"{whole['whiten']:.2f} s; all through the stages, with scores read from the lake, {whole['stages']:.2f} s; "
        f"{whole['bytes_a_row']:.1f} bytes a row; peak memory {whole['memory']:.2f} GiB"
    )
    _print_biobank(whole)
    results = []
    for what, found in (("[z, z/|z|, volume]", whole), ("z alone", narrow)):
        size = f"{N:,} people x {VARIANTS[-1]:,} variants x {EDPS:,} EDPs, {found['components']:.0f} columns ({what})"
        all_of_it = found["products"] + found["coordinates"] + found["full"]
        results += [
            compare("projection_gwas", all_of_it, "plink2 --glm", theirs, f"{size}: genotypes to Parquet"),
            compare(
                "projection_gwas_refresh",
                found["coordinates"] + found["full"],
                "plink2 --glm",
                theirs,
                "stored products to Parquet",
            ),
            compare(
                "projection_gwas_hits",
                found["coordinates"] + found["hits"],
                "plink2 --glm",
                theirs,
                "stored products to the variants of p < 5e-8",
            ),
        ]
    print(
        f"largest difference from plink2 in -log10 p {gap:.1e}; with the orthonormal basis as well: "
        f"{theirs / (whole['whiten'] + whole['products'] + whole['coordinates'] + whole['full']):.1f} times plink2"
    )
    results.append(
        Result(
            "projection_gwas_memory",
            whole["memory"],
            "GiB",
            "(target)",
            2.0,
            2.0 / whole["memory"],
            "peak of the process",
        )
    )
    return results


def _write_inputs(folder: Path) -> None:
    rng = np.random.default_rng(0)
    write_bed(folder / "g", rng, N, VARIANTS[-1])
    z = (rng.normal(size=(N, DIMS)) @ rng.normal(size=(DIMS, DIMS))).astype(np.float32).astype(float)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    # Half of the scores are classifier-guided, half clustering-guided.
    scores = np.hstack([z @ rng.normal(size=(DIMS, EDPS // 2)), 1 - unit @ rng.normal(size=(DIMS, EDPS // 2))])
    covariates = rng.normal(size=(N, COVARIATES))
    ids = {"#IID": [f"i{i}" for i in range(N)]}
    pl.DataFrame({**ids, **{f"y{k}": scores[:, k] for k in range(EDPS)}}).write_csv(folder / "y.tsv", separator="\t")
    columns = {f"c{k}": covariates[:, k] for k in range(COVARIATES)}
    pl.DataFrame({**ids, **columns}).write_csv(folder / "c.tsv", separator="\t")
    np.save(folder / "both.npy", np.hstack([z, unit, rng.normal(size=(N, 1))]))
    np.save(folder / "z.npy", z)
    np.save(folder / "scores-both.npy", scores)
    np.save(folder / "scores-z.npy", z @ rng.normal(size=(DIMS, EDPS)))
    np.save(folder / "covariates.npy", covariates)


def _measured(folder: Path, n_variants: int, kind: str) -> dict[str, float]:
    """Return what `_ours` measures, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", __name__, str(folder), str(n_variants), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _main(folder: Path, n_variants: int, kind: str) -> None:
    columns, scores, covariates = (
        np.load(folder / f"{name}.npy", mmap_mode="r") for name in (kind, f"scores-{kind}", "covariates")
    )
    found = _ours(folder / f"{kind}-{n_variants}", folder / "g.bed", columns, scores, covariates, n_variants)
    found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(found))


def _ours(
    home: Path, genotypes: Path, columns: np.ndarray, scores: np.ndarray, covariates: np.ndarray, n_variants: int
) -> dict[str, float]:
    from edp_assets.assets.association import embedding_associations, gwas_summary_stats
    from edp_assets.assets.encoders import matrix
    from edp_assets.assets.stage import StageRun
    from edp_assets.science.genetics.covariates import covariate_basis
    from edp_assets.science.genetics.projection import score_coordinates, whitened_basis
    from edp_assets.science.genetics.score_tests import ScoreTests
    from edp_assets.settings import Settings
    from edp_assets.storage.lake import Lake, Stored, Together, cell_of
    from edp_assets.storage.statistics_frame import StatisticsBlock
    from edp_assets.storage.upstream import Partitions

    (home / "lake").mkdir(parents=True)
    lake, found = Lake(home / "lake"), {}
    cohort = SimpleNamespace(genotype_paths=lambda: {"all": genotypes}, genome_build="GRCh37")
    workspace: Any = SimpleNamespace(settings=Settings(), cohort=cohort, home=SimpleNamespace(root=home), lake=lake)
    spec: Any = SimpleNamespace(asset=ASSET)
    made: dict[str, Any] = {}

    def whiten() -> None:
        made["Q"] = covariate_basis(list(covariates.T))
        made["W"] = whitened_basis(columns, made["Q"])

    def products() -> None:
        for chromosome in range(1, n_variants // VARIANTS_A_CHROMOSOME + 1):
            run = StageRun(cell_of({"organ": "liver", "chromosome": str(chromosome)}), spec, workspace)
            lake.write(ASSET, run.cell, "embedding_associations", embedding_associations(run, basis), "")

    def coordinates() -> None:
        made["c"], made["yy"], _ = score_coordinates(scores, made["W"], made["Q"])

    def statistics(asset: str, largest_p: float, chosen: slice = slice(None)) -> None:
        c, yy = made["c"][:, chosen], made["yy"][chosen]
        tests = ScoreTests(c, yy, N, made["Q"].shape[1], np.full(len(yy), largest_p))

        def frames():
            for cell in all_products:
                for part in all_products.partition(cell).batches(16_384):
                    block = StatisticsBlock(part)
                    gz, gg = matrix(part, "products"), part["genotype_ss"].to_numpy()
                    position = part["base_pair_location"].to_numpy()
                    for tested in tests.block(gz, gg, np.zeros(len(gg), int), position):
                        label = _label(tested.score)
                        yield int(label["icd10"]), block.table(label, N, vars(tested.association), tested.rows)

        members = [Stored(()) for _ in range(EDPS // 2)]
        cells = [cell_of({"organ": "liver", "icd10": str(k)}) for k in range(EDPS // 2)]
        lake.write_together(("mae", asset), cells, "gwas_summary_stats", Together(members, frames()), [""] * len(cells))

    def through_stages() -> None:
        cells = [cell_of({"organ": "liver", "icd10": str(k)}) for k in range(EDPS // 2)]
        asset = ("stages", "gwas_summary_stats")
        for start in range(0, len(cells), 128):
            some = cells[start : start + 128]
            runs = [StageRun(cell, spec, workspace) for cell in some]
            inputs = [Partitions(lake, ("mae", "edp_scores"), [cell]).partition(cell) for cell in some]
            everything = gwas_summary_stats(runs, inputs, [basis] * len(some), [all_products] * len(some))
            lake.write_together(asset, some, "gwas_summary_stats", everything, [""] * len(some))

    found["whiten"] = seconds(whiten)
    found["components"] = made["W"].shape[1]
    eids = [f"i{i}" for i in range(N)]
    basis = pl.DataFrame({"organ": "liver", "eid": eids, "sex": 0.0, "basis": made["W"], "covariates": made["Q"]})
    found["products"] = seconds(products)
    all_products = Partitions(lake, ASSET, lake.cells(ASSET))
    found["coordinates"] = seconds(coordinates)
    found["full"] = seconds(lambda: statistics("gwas_summary_stats", 1.0))
    found["hits"] = seconds(lambda: statistics("hits", 5e-8))
    found["code"] = seconds(lambda: statistics("code", 1.0, slice(0, PHENOTYPES_A_CELL)))
    size = sum(f.stat().st_size for f in (home / "lake/mae/gwas_summary_stats").rglob("part.parquet"))
    found["bytes_a_row"] = size / n_variants / EDPS
    found["bytes_a_variant"] = sum(lake.path(ASSET, cell).stat().st_size for cell in all_products) / n_variants
    if n_variants == VARIANTS[-1] and columns.shape[1] > DIMS:
        for k in range(EDPS // 2):
            parts = [
                pl.DataFrame({**_label(i), "eid": eids, "score": scores[:, i], "label_used": False}).with_columns(
                    pl.col("cluster").cast(pl.Int32)
                )
                for i in (k, k + EDPS // 2)
            ]
            lake.write(
                ("mae", "edp_scores"), cell_of({"organ": "liver", "icd10": str(k)}), "edp_scores", Stored(parts), ""
            )
        found["stages"] = seconds(through_stages)
    return found


def _label(score: int) -> dict[str, Any]:
    method = ("classifier", None) if score < EDPS // 2 else ("clustering", 0)
    key = {"encoder": "mae", "organ": "liver", "icd10": str(score % (EDPS // 2))}
    return {**key, "method": method[0], "cluster": method[1]}


def _print_biobank(ours: dict[str, float]) -> None:
    """Print what follows for all of a biobank, by what is linear in variants and in phenotypes."""
    share = BIOBANK_VARIANTS / VARIANTS[-1]
    phenotypes = CODES * PHENOTYPES_A_CELL
    products = ours["products"] * share * ORGANS / 3600
    full = ours["full"] * share * phenotypes / EDPS * ORGANS / 3600
    hits = ours["hits"] * share * phenotypes / EDPS * ORGANS / 3600
    statistics = ours["bytes_a_row"] * BIOBANK_VARIANTS * phenotypes * ORGANS / 1e12
    stored = ours["bytes_a_variant"] * BIOBANK_VARIANTS * ORGANS / 1e12
    code = ours["code"] * share * ORGANS
    print(
        f"{ORGANS} organs x {CODES} codes x {PHENOTYPES_A_CELL} phenotypes x {BIOBANK_VARIANTS:,} variants: products "
        f"{products:.0f} h and {stored:.2f} TB; all statistics {full:.0f} h and {statistics:.1f} TB, or those of "
        f"p < 5e-8 alone {hits:.0f} h; one changed code {code / 60:.0f} min"
    )


def _plink(folder: Path) -> None:
    command = ["plink2", "--bfile", "g", "--pheno", "y.tsv", "--covar", "c.tsv", "--glm", "hide-covar", "log10"]
    command += ["--no-psam-pheno", "--threads", "2", "--covar-variance-standardize", "--out", "out"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)


def write_bed(prefix: Path, rng: np.random.Generator, n_people: int, n_variants: int) -> None:
    """Write random genotypes as PLINK 1 files."""
    code = np.array([3, 2, 0], np.uint8)  # copies of A1 to .bed's two bits
    with prefix.with_suffix(".bed").open("wb") as bed:
        bed.write(b"\x6c\x1b\x01")
        for frequency in rng.uniform(0.05, 0.5, n_variants):
            bits = np.zeros(-(-n_people // 4) * 4, np.uint8)
            bits[:n_people] = code[rng.binomial(2, frequency, n_people)]
            quads = bits.reshape(-1, 4)
            bed.write((quads[:, 0] | quads[:, 1] << 2 | quads[:, 2] << 4 | quads[:, 3] << 6).tobytes())
    chromosome = [1 + i // VARIANTS_A_CHROMOSOME for i in range(n_variants)]
    bim = "".join(f"{chromosome[i]}\trs{i}\t0\t{1000 + i}\tA\tG\n" for i in range(n_variants))
    prefix.with_suffix(".bim").write_text(bim)
    prefix.with_suffix(".fam").write_text("".join(f"0\ti{i}\t0\t0\t1\t-9\n" for i in range(n_people)))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
