"""Regional plots as a stage: the most significant loci of a cell, from their own rows and genotypes alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from edp_assets.assets import regional_figures as module
from edp_assets.assets.association import ASSOCIATIONS
from edp_assets.assets.regional_figures import regional_figures
from edp_assets.assets.stage import REGISTRY, StageRun
from edp_assets.settings import Settings
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Lake, Stored, cell_of
from edp_assets.storage.schemas import conform, empty
from edp_assets.storage.upstream import Partition
from edp_assets_tests.assets.test_hits import write_genotypes

ORGAN, CELL = cell_of({"organ": "liver"}), cell_of({"organ": "liver", "icd10": "K76"})
STATISTICS, BASIS = ASSOCIATIONS["mae"].gwas_summary_stats.spec.asset, ASSOCIATIONS["mae"].association_basis.spec.asset
N, VARIANTS = 60, 40
LABEL = {"encoder": "mae", "organ": "liver", "icd10": "K76"}


@pytest.fixture
def workspace(tmp_path: Path) -> SimpleNamespace:
    """40 variants 1,000 base pairs apart; among the people associated the 8th is the 7th."""
    G = np.random.default_rng(0).binomial(2, 0.4, (VARIANTS, N))
    G[7, : N // 2] = G[6, : N // 2]
    bed = write_genotypes(tmp_path / "g", G)
    home = Home(tmp_path / "home")
    lake = Lake(home.lake)
    one = [[1.0]] * (N // 2)
    eids = [f"{i:03d}" for i in range(N // 2)]
    basis = pl.DataFrame({"organ": "liver", "eid": eids, "sex": 0.0, "basis": one, "covariates": one})
    lake.write(BASIS, ORGAN, "association_basis", Stored(basis), "")
    cohort = SimpleNamespace(genotype_paths=lambda: {"1": bed, "2": tmp_path / "not opened.bed"}, genome_build="GRCh37")
    return SimpleNamespace(lake=lake, home=home, cohort=cohort, settings=Settings())


def rows(method: str, cluster: int | None, lead: int, best: float) -> pl.DataFrame:
    index = pl.col("i")
    return pl.DataFrame({"i": range(VARIANTS)}).select(
        **{name: pl.lit(value) for name, value in LABEL.items()}, method=pl.lit(method),
        cluster=pl.lit(cluster, pl.Int32), chromosome=pl.lit("1"), base_pair_location=1000 * (index + 1),
        effect_allele=pl.lit("A"), other_allele=pl.lit("G"), effect_allele_frequency=pl.lit(0.4), beta=pl.lit(0.1),
        standard_error=pl.lit(0.1), neg_log_10_p_value=pl.when(index == lead).then(best).otherwise(0.5),
        rsid=pl.format("rs{}", index), n=pl.lit(9),
    )  # fmt: skip


def drawn(workspace: SimpleNamespace, *phenotypes: tuple[str, int | None, int, float]) -> tuple[pl.DataFrame, dict]:
    statistics = pl.concat([empty("gwas_summary_stats"), *(rows(*p) for p in phenotypes)], how="diagonal_relaxed")
    workspace.lake.write(STATISTICS, CELL, "gwas_summary_stats", Stored(statistics), "")
    leads = statistics.filter(pl.col("neg_log_10_p_value") > 7.3).with_columns(
        locus_start=pl.col("base_pair_location"), locus_end=pl.col("base_pair_location")
    )
    run = StageRun(CELL, REGISTRY["mae", "regional_figures"].spec, workspace)
    partitions = (Partition(workspace.lake, STATISTICS, CELL), Partition(workspace.lake, BASIS, ORGAN))
    stored = regional_figures(run, partitions[0], leads, partitions[1], empty("genes"))
    return conform(stored.frames, "association_figures"), stored.metadata


def test_regional_figures__of_each_locus_the_strongest_first(workspace: SimpleNamespace) -> None:
    table, metadata = drawn(workspace, ("classifier", None, 6, 9.0), ("clustering", 2, 30, 20.0))
    assert table.select("figure", "method", "cluster", "chromosome", "base_pair_location").rows() == [
        ("regional", "clustering", 2, "1", 31_000), ("regional", "classifier", None, "1", 7000)
    ]  # fmt: skip
    assert table["path"][1] == "report/figures/mae/liver/K76/regional/regional-K76-classifier-1-7000.png"
    for path in table["path"]:
        assert (workspace.home.root / path).read_bytes().startswith(b"\x89PNG")
    assert set(metadata) == {"figures", "regional_K76_clustering_2_1_31000", "regional_K76_classifier_1_7000"}


def test_regional_figures__r2_is_of_the_people_associated(
    workspace: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edp_assets.figures import drawing
    from edp_assets.figures import regional as figures

    seen = []
    original = figures.regional
    monkeypatch.setattr(drawing, "_processes", lambda: 1)
    monkeypatch.setattr(
        figures, "regional", lambda stats, *args, **kw: seen.append(stats) or original(stats, *args, **kw)
    )
    monkeypatch.setattr(module, "FLANK", 5000)
    drawn(workspace, ("classifier", None, 6, 9.0), ("clustering", 1, 6, 8.0))
    assert [len(stats) for stats in seen] == [11, 11]  # 2 kb to 12 kb, of the one phenotype
    r2 = dict(zip(seen[0]["rsid"], seen[0]["r2"], strict=True))
    assert r2["rs7"] == pytest.approx(1.0)
    assert max(value for name, value in r2.items() if name not in ("rs6", "rs7")) < 0.5


def test_regional_figures__what_is_not_drawn_is_counted(
    workspace: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LOCI", 1)
    monkeypatch.setattr(module, "MAX_VARIANTS", 30)
    table, metadata = drawn(workspace, ("classifier", None, 6, 9.0), ("clustering", 2, 30, 20.0))
    assert table["method"].to_list() == ["clustering"]
    assert (metadata["loci_left_out"], metadata["weaker_variants_not_drawn"]) == (1, 10)


def test_regional_figures__without_a_hit_no_genotype_is_opened(workspace: SimpleNamespace) -> None:
    drawn(workspace, ("classifier", None, 6, 9.0))
    workspace.cohort.genotype_paths = lambda: {"1": Path("not there.bed")}
    table, metadata = drawn(workspace, ("classifier", None, 6, 1.0))
    assert (table.height, metadata) == (0, {"figures": 0})
    assert list((workspace.home.root / "report/figures/mae/liver/K76/regional").iterdir()) == []
