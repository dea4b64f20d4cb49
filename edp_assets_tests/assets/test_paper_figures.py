"""Figure 4: drawn where an EDP hits a gene, of the strongest cluster, beside the code."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from edp_assets.assets.paper_figures import paper_figures, strongest
from edp_assets.assets.stage import REGISTRY, StageRun
from edp_assets.settings import Settings
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Lake, Stored, cell_of
from edp_assets.storage.schemas import conform, empty
from edp_assets.storage.upstream import Partition

CELL = cell_of({"organ": "liver", "icd10": "K76"})


def hits(*rows: tuple[str, int | None, str | None, float]) -> pl.DataFrame:
    columns = pl.DataFrame(rows, schema=["method", "cluster", "gene", "neg_log_10_p_value"], orient="row")
    place = {"rsid": "rs1", "chromosome": "1", "base_pair_location": 500_000, "variants": 1}
    return conform(pl.concat([empty("gene_hits"), columns.with_columns(**{k: pl.lit(v) for k, v in place.items()})],
                             how="diagonal_relaxed"), "gene_hits")  # fmt: skip


HITS = hits(("clustering", 0, "A", 9.0), ("clustering", 3, "B", 20.0), ("clustering", 4, None, 90.0),
            ("island", 0, "C", 99.0), ("classifier", None, "A", 8.0))  # fmt: skip


def test_strongest__is_the_best_gene_of_classifier_and_clustering() -> None:
    assert strongest(HITS).rows() == [("classifier", None), ("clustering", 3)]
    assert strongest(HITS.filter(pl.col("method") == "island")).height == 0


@pytest.fixture
def run(tmp_path: Path) -> StageRun:
    workspace = SimpleNamespace(settings=Settings(), home=Home(tmp_path), lake=Lake(tmp_path / "lake"))
    return StageRun(CELL, REGISTRY["mae", "paper_figures"].spec, workspace)


def statistics(run: StageRun, name: str, *phenotypes: tuple[str, int | None]) -> Partition:
    rng, frames = np.random.default_rng(0), [empty("gwas_summary_stats")]
    for method, cluster in phenotypes:
        rows = {"chromosome": "1", "base_pair_location": np.arange(1, 200) * 5000, "effect_allele": "A",
                "other_allele": "G", "effect_allele_frequency": 0.3, "beta": 0.1, "standard_error": 0.1,
                "neg_log_10_p_value": -np.log10(rng.uniform(size=199)), "rsid": "rs", "n": 1199, "method": method,
                "cluster": cluster}  # fmt: skip
        frames.append(pl.DataFrame(rows, schema_overrides={"cluster": pl.Int32}))
    frame = conform(pl.concat(frames, how="diagonal_relaxed"), "gwas_summary_stats")
    run.workspace.lake.write((name, "gwas_summary_stats"), CELL, "gwas_summary_stats", Stored(frame), "")
    return Partition(run.workspace.lake, (name, "gwas_summary_stats"), CELL)


@pytest.mark.parametrize(("found", "figures"), [(HITS, 1), (HITS.clear(), 0)])
def test_paper_figures__where_an_edp_hits_a_gene(run: StageRun, found: pl.DataFrame, figures: int) -> None:
    inputs: dict[str, Any] = {"whole_hits": HITS.clear(), "imaging_hits": HITS.clear()}
    inputs["whole_gwas"] = statistics(run, "icd10_whole_cohort", ("icd10_whole_cohort", None))
    inputs["imaging_gwas"] = statistics(run, "icd10_imaging_cohort")  # too few cases: it has no rows
    own = statistics(run, "mae", ("classifier", None), ("clustering", 0), ("clustering", 3))
    stored = paper_figures(run, own, found, **inputs)
    table = conform(stored.frames, "paper_figures")
    assert table.height == stored.metadata["figures"] == figures
    for path in table["path"]:
        assert path == "report/figures/mae/liver/K76/paper/figure_4-K76.png"
        assert (run.workspace.home.root / path).read_bytes().startswith(b"\x89PNG")
