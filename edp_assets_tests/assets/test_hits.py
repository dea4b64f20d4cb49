"""Lead variants as a stage, by distance and by LD in the association's own people."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from edp_assets.assets.association import ASSOCIATIONS
from edp_assets.assets.hits import leads_function, people_of_basis, significant
from edp_assets.assets.stage import REGISTRY, StageRun
from edp_assets.settings import Settings
from edp_assets.storage.lake import Lake, Stored, cell_of
from edp_assets.storage.schemas import conform, empty
from edp_assets.storage.upstream import Partition

ORGAN, CELL = cell_of({"organ": "liver"}), cell_of({"organ": "liver", "icd10": "K76"})
STATISTICS, BASIS = ASSOCIATIONS["mae"].gwas_summary_stats.spec.asset, ASSOCIATIONS["mae"].association_basis.spec.asset
N = 80


def write_genotypes(stem: Path, G: np.ndarray) -> Path:
    """Write (n_variants, n_participants) counts of A, the positions 1000 base pairs apart."""
    codes = np.full((len(G), -(-G.shape[1] // 4) * 4), 0, dtype=np.uint8)
    codes[:, : G.shape[1]] = np.select([G == 2, G == 1], [0, 2], 3)
    packed = codes.reshape(len(G), -1, 4) @ np.array([1, 4, 16, 64], dtype=np.uint8)
    stem.with_suffix(".bed").write_bytes(b"\x6c\x1b\x01" + packed.astype(np.uint8).tobytes())
    stem.with_suffix(".bim").write_text("".join(f"1 rs{i} 0 {1000 * (i + 1)} A G\n" for i in range(len(G))))
    stem.with_suffix(".fam").write_text("".join(f"{i:03d} {i:03d} 0 0 0 -9\n" for i in range(G.shape[1])))
    return stem.with_suffix(".bed")


@pytest.fixture
def workspace(tmp_path: Path) -> SimpleNamespace:
    """Three variants: among the people associated the first two are the same, among the others they are not."""
    rng = np.random.default_rng(0)
    G = rng.binomial(2, 0.4, (3, N))
    G[1, : N // 2] = G[0, : N // 2]
    bed = write_genotypes(tmp_path / "g", G)
    lake = Lake(tmp_path / "lake")
    eids = [f"{i:03d}" for i in range(N // 2)]
    one = [[1.0]] * (N // 2)
    basis = pl.DataFrame({"organ": "liver", "eid": eids, "sex": 0.0, "basis": one, "covariates": one})
    lake.write(BASIS, ORGAN, "association_basis", Stored(basis), "")
    label = {"encoder": "mae", "organ": "liver", "icd10": "K76", "method": "classifier"}
    rows = [
        {**label, "chromosome": "1", "base_pair_location": 1000 * (i + 1), "effect_allele": "A", "other_allele": "G",
         "rsid": f"rs{i}", "neg_log_10_p_value": p, "n": 40, "beta": 1.0, "standard_error": 0.1,
         "effect_allele_frequency": 0.4}
        for i, p in enumerate((9.0, 5.0, 8.0))
    ]  # fmt: skip
    frame = pl.concat([empty("gwas_summary_stats"), pl.DataFrame(rows)], how="diagonal_relaxed")
    lake.write(STATISTICS, CELL, "gwas_summary_stats", Stored(frame), "")
    cohort = SimpleNamespace(genotype_paths=lambda: {"1": bed, "2": tmp_path / "not opened.bed"})
    return SimpleNamespace(lake=lake, cohort=cohort, settings=Settings())


def leads(workspace: SimpleNamespace, **loci: object) -> list[tuple[object, ...]]:
    workspace.settings = Settings.from_toml({"loci": loci})
    run = StageRun(CELL, REGISTRY["mae", "lead_variants"].spec, workspace)
    partitions = (Partition(workspace.lake, STATISTICS, CELL), Partition(workspace.lake, BASIS, ORGAN))
    stored = leads_function(people_of_basis)(run, partitions[0], association_basis=partitions[1])
    return conform(stored.frames, "lead_variants").select("rsid", "locus_start", "locus_end").rows()


def test_lead_variants__by_distance(workspace: SimpleNamespace) -> None:
    assert leads(workspace) == [("rs0", 1000, 3000)]


def test_lead_variants__by_ld_in_the_people_associated(workspace: SimpleNamespace) -> None:
    assert leads(workspace, clumping="ld") == [("rs0", 1000, 2000), ("rs2", 3000, 3000)]
    assert leads(workspace, clumping="ld", max_p=1e-6) == [("rs0", 1000, 1000), ("rs2", 3000, 3000)]
    # Members of stricter p than a lead's own lose no lead.
    assert leads(workspace, clumping="ld", max_p=1e-10) == [("rs0", 1000, 1000), ("rs2", 3000, 3000)]


def test_lead_variants__none_opens_no_genotypes(workspace: SimpleNamespace) -> None:
    workspace.lake.write(STATISTICS, CELL, "gwas_summary_stats", Stored(empty("gwas_summary_stats")), "")
    workspace.cohort = None
    assert leads(workspace, clumping="ld") == []


def test_significant__is_of_each_phenotype_by_itself(workspace: SimpleNamespace) -> None:
    stored = Partition(workspace.lake, STATISTICS, CELL).scan().collect()
    parts = [
        stored.with_columns(
            method=pl.lit("clustering"), cluster=pl.lit(cluster, pl.Int32), rsid=pl.lit(f"of {cluster}")
        )
        for cluster in (0, 1)
    ]
    workspace.lake.write(STATISTICS, CELL, "gwas_summary_stats", Stored(pl.concat([stored, *parts])), "")
    found = significant(Partition(workspace.lake, STATISTICS, CELL), 7.3)
    assert [frame["rsid"].to_list() for frame in found] == [["rs0", "rs2"], ["of 0"] * 2, ["of 1"] * 2]
    assert leads(workspace) == [("rs0", 1000, 3000), ("of 0", 1000, 3000), ("of 1", 1000, 3000)]
