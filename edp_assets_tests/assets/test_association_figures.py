"""Figures of associations as a stage: drawn where a variant is associated, and removed where none is any more."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import polars as pl

from edp_assets.assets.association_figures import association_figures
from edp_assets.assets.stage import REGISTRY, StageRun
from edp_assets.settings import Settings
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Lake, Stored, cell_of
from edp_assets.storage.schemas import conform, empty
from edp_assets.storage.upstream import Partition

CELL = cell_of({"organ": "liver", "icd10": "K76"})
ASSET = ("mae", "gwas_summary_stats")


def drawn(root: Path, *phenotypes: tuple[str, int | None, float]) -> tuple[pl.DataFrame, dict[str, object]]:
    """Draw a cell whose phenotypes (method, cluster) have a best variant of the -log10 p given."""
    frames = [
        pl.DataFrame({"base_pair_location": range(40)}).select(
            encoder=pl.lit("mae"), organ=pl.lit("liver"), icd10=pl.lit("K76"), method=pl.lit(method),
            cluster=pl.lit(cluster, pl.Int32), chromosome=pl.lit("1"), base_pair_location="base_pair_location",
            effect_allele=pl.lit("A"), other_allele=pl.lit("G"), effect_allele_frequency=pl.lit(0.5), beta=pl.lit(0.1),
            standard_error=pl.lit(0.1), rsid=pl.lit("rs1"), n=pl.lit(9),
            neg_log_10_p_value=pl.when(pl.col("base_pair_location") == 7).then(best).otherwise(0.5),
        )
        for method, cluster, best in phenotypes
    ]  # fmt: skip
    lake = Lake(Home(root).lake)
    lake.write(ASSET, CELL, "gwas_summary_stats", Stored([empty("gwas_summary_stats"), *frames]), "")
    workspace = SimpleNamespace(settings=Settings(), home=Home(root))
    run = StageRun(CELL, REGISTRY["mae", "association_figures"].spec, workspace)
    hit = {"method": "classifier", "cluster": None, "gene": "FTO", "chromosome": "1", "base_pair_location": 7,
           "neg_log_10_p_value": 9.0}  # fmt: skip
    genes = pl.concat([empty("gene_hits"), pl.DataFrame([hit])], how="diagonal_relaxed")
    stored = association_figures(run, Partition(lake, ASSET, CELL), genes)
    return conform(stored.frames, "association_figures"), stored.metadata


def test_association_figures__of_phenotypes_that_hit(tmp_path: Path) -> None:
    table, metadata = drawn(tmp_path, ("classifier", None, 9.0), ("clustering", 0, 7.0), ("clustering", 2, 20.0))
    assert table.select("figure", "method", "cluster").rows() == [
        ("manhattan", "clustering", 2), ("qq", "clustering", 2), ("manhattan", "classifier", None),
        ("qq", "classifier", None),
    ]  # fmt: skip
    assert table["path"][0] == "report/figures/mae/liver/K76/manhattan-K76-clustering-2.png"
    assert all((tmp_path / path).read_bytes().startswith(b"\x89PNG") for path in table["path"])
    assert metadata["figures"] == 4
    assert len(metadata) == 5


def test_association_figures__of_what_no_longer_hits_are_removed(tmp_path: Path) -> None:
    drawn(tmp_path, ("classifier", None, 9.0))
    table, metadata = drawn(tmp_path, ("classifier", None, 7.0))
    assert (table.height, metadata) == (0, {"figures": 0})
    assert list((tmp_path / "report/figures/mae/liver/K76").iterdir()) == []
