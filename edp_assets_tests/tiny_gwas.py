"""A tiny organ whose EDPs are linear in three columns: genotypes, association basis, scores, GWAS by the stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from edp_assets.assets.association import ASSOCIATIONS, embedding_associations, gwas_summary_stats
from edp_assets.assets.stage import REGISTRY, StageRun
from edp_assets.science.genetics.covariates import covariate_basis
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Cell, Stored, Together, cell_of
from edp_assets.storage.schemas import conform, empty
from edp_assets.storage.upstream import Partition, Partitions
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.tiny_toml import COHORT

N, VARIANTS = 200, 12
EIDS = [f"{100 + i}" for i in range(N)]
RNG = np.random.default_rng(4)
Z = RNG.normal(size=(N, 3))
AGE = RNG.normal(60, 5, N)
CELL = cell_of({"organ": "liver", "icd10": "K76"})
KEY = ["method", "cluster", "chromosome", "base_pair_location", "rsid"]
HEAD = (
    COHORT
    + """
[genotypes]
path = "chr{chromosome}.bed"
[organs.liver]
[association]
covariates = ["age"]
"""
)
TOML = f"{HEAD}min_maf = 0.05\nmin_mac = 10\nblock_variants = 4\n"


def trouble(seed: int) -> np.ndarray:
    """Draw twelve variants: the second repeats the first, two are rare, one is called in half the people."""
    dosages = np.random.default_rng(seed).binomial(2, 0.4, (VARIANTS, N)).astype(float)
    dosages[1] = dosages[0]
    dosages[2] = np.arange(N) < 15
    dosages[3, ::2] = np.nan
    dosages[4] = np.arange(N) < 5
    return dosages


def write_bed(path: Path, chromosome: str, dosages: np.ndarray, positions: list[int], sexes: list[int]) -> None:
    """Write dosages (n_variants, n_participants; 4 divides the people), NaN where missing, of people 100, 101, ..."""
    codes = np.select([np.isnan(dosages), dosages == 2, dosages == 1], [1, 0, 2], 3)
    packed = codes.reshape(len(dosages), -1, 4) @ np.array([1, 4, 16, 64], dtype=np.uint8)
    path.write_bytes(b"\x6c\x1b\x01" + packed.astype(np.uint8).tobytes())
    path.with_suffix(".bim").write_text(
        "".join(f"{chromosome} rs{chromosome}_{i} 0 {position} A G\n" for i, position in enumerate(positions))
    )
    path.with_suffix(".fam").write_text("".join(f"f{100 + i} {100 + i} 0 0 {sex} -9\n" for i, sex in enumerate(sexes)))


def write_folder(root: Path) -> Path:
    """Write the cohort's cohort.toml and genotypes."""
    folder = root / "cohort"
    folder.mkdir()
    (folder / "cohort.toml").write_text(TOML)
    for seed, chromosome in enumerate(("1", "2")):
        positions = [5_000_000 + max(i, 1) for i in range(VARIANTS)]
        write_bed(folder / f"chr{chromosome}.bed", chromosome, trouble(seed), positions, [i % 2 + 1 for i in range(N)])
    return folder


def workspace(folder: Path, toml: str = "") -> Workspace:
    """Return a workspace of the cohort as its cohort.toml is now, with more of it."""
    (folder / "cohort.toml").write_text(TOML + toml)
    home = Home(folder.parent / "home")
    home.root.mkdir(exist_ok=True)
    home.bind(folder)
    return Workspace(home)


def basis() -> pl.DataFrame:
    """Return an association basis of z itself: scores are linear in it."""
    from edp_assets.science.genetics.projection import whitened_basis

    covariates = covariate_basis([AGE])
    return pl.DataFrame(
        {"organ": "liver", "eid": EIDS, "sex": [float(i % 2) for i in range(N)],
         "basis": pl.Series(whitened_basis(Z, covariates)), "covariates": pl.Series(covariates)}
    )  # fmt: skip


def scores() -> pl.DataFrame:
    """Return two EDPs of the cell, people in another order than the basis's, one of them outside it."""
    label = {"encoder": "mae", "organ": "liver", "icd10": "K76"}
    parts = []
    for method, cluster, weights in (("classifier", None, [1.0, 0, 2]), ("clustering", 3, [0.0, 1, 1])):
        parts.append(pl.DataFrame({**label, "method": method, "cluster": cluster, "eid": ["x", *EIDS[::-1]],
                                   "score": [9.0, *(Z @ weights)[::-1]], "label_used": True},
                                  schema_overrides={"cluster": pl.Int32}))  # fmt: skip
    return pl.concat(parts)


SCORES = ("mae", "edp_scores")


def stage_run(workspace: Workspace, asset: str = "mae/gwas_summary_stats", cell: Any = CELL) -> StageRun:
    return StageRun(cell, REGISTRY[tuple(asset.split("/"))].spec, workspace)


def made(where: Workspace, edps: pl.DataFrame, cells: list[Cell] = [CELL]) -> Together:  # noqa: B006
    """Return the GWAS of the cells, as the stage makes it of the stored scores."""
    stored = ASSOCIATIONS["mae"].embedding_associations.spec.asset
    of_organ = Partitions(where.lake, stored, [cell_of({"organ": "liver", "chromosome": c}) for c in where.chromosomes])
    partitions = []
    for cell in cells:
        where.lake.write(SCORES, cell, "edp_scores", Stored(edps.filter(icd10=dict(cell)["icd10"])), "")
        partitions.append(Partition(where.lake, SCORES, cell))
    runs = [stage_run(where, cell=cell) for cell in cells]
    return gwas_summary_stats(runs, partitions, [basis()] * len(cells), [of_organ] * len(cells))


def tables(together: Together) -> list[pl.DataFrame]:
    """Return what each cell is stored as."""
    parts: list[list[pl.DataFrame]] = [[empty("gwas_summary_stats")] for _ in together.members]
    for place, frame in together.frames:
        frame = frame if isinstance(frame, pl.DataFrame) else pl.DataFrame(frame)
        parts[place].append(conform(frame, "gwas_summary_stats"))
    return [pl.concat(frames) for frames in parts]


def projected(where: Workspace, edps: pl.DataFrame) -> tuple[pl.DataFrame, Stored]:
    """Return the cell's GWAS as the projection engine makes it."""
    spec = ASSOCIATIONS["mae"].embedding_associations.spec
    for chromosome in where.chromosomes:
        cell = cell_of({"organ": "liver", "chromosome": chromosome})
        products = embedding_associations(StageRun(cell, spec, where), basis())
        where.lake.write(spec.asset, cell, "embedding_associations", products, "")
    together = made(where, edps)
    return tables(together)[0], together.members[0]
