"""Figures of phenotypes as a stage: which are drawn, where they lie, and that no more is read than is drawn."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from edp_assets.assets.phenotype_figures import BEST, phenotype_figures
from edp_assets.assets.stage import REGISTRY, StageRun
from edp_assets.figures import drawing, render
from edp_assets.settings import Settings
from edp_assets.storage.cells import LakeError
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Lake, Stored, cell_of
from edp_assets.storage.schemas import conform, empty
from edp_assets.storage.upstream import Partitions

SELECTION, SCORES, CASES = ("mae", "phenotype_selection"), ("mae", "edp_scores"), ("icd10_cases",)
N = 300


class Organ:
    """The stored tables of one organ: codes of falling rank-sum p, the first `selected` of them selected."""

    def __init__(self, root: Path, codes: list[str], selected: int, clusters: int = 8) -> None:
        self.home, self.lake = Home(root), Lake(Home(root).lake)
        rng = np.random.default_rng(0)
        eids = [f"{i:04d}" for i in range(N)]
        for k, code in enumerate(codes):
            chosen = k < selected
            label = {"encoder": "mae", "organ": "liver", "icd10": code}
            rows = [
                {
                    **label,
                    "method": "classifier",
                    "roc_auc_out_of_fold": 0.8 - 0.002 * k,
                    "p_rank_sum": 10.0 ** (k / 20 - 40),
                },
                *(
                    {
                        **label,
                        "method": "clustering",
                        "cluster": c,
                        "percentage": 5.0 + c,
                        "p_fisher": 10.0 ** (k / 40 - 30 - c),
                    }
                    for c in range(clusters)
                ),
            ]
            frame = pl.concat([empty("phenotype_selection"), pl.DataFrame(rows)], how="diagonal_relaxed")
            frame = frame.with_columns(cases=20, controls=N - 20, selected=pl.lit(chosen), reason=pl.lit("")).cast(
                {"cluster": pl.Int32}
            )
            self.write(SELECTION, "phenotype_selection", frame, organ="liver", icd10=code)
            scores = pl.DataFrame({**label, "method": "classifier", "eid": eids, "score": rng.normal(size=N)})
            scores = scores.with_columns(label_used=pl.lit(True))
            frame = pl.concat([empty("edp_scores"), scores.head(N if chosen else 0)], how="diagonal_relaxed")
            self.write(SCORES, "edp_scores", frame, organ="liver", icd10=code)
            self.write(CASES, "icd10_cases", pl.DataFrame({"icd10": code, "eid": eids[:20]}), icd10=code)
        cells = [{"organ": "liver", "icd10": code} for code in [*codes, "Z99"]]  # the last was never materialised
        self.selection, self.scores = (
            Partitions(self.lake, asset, [cell_of(cell) for cell in cells]) for asset in (SELECTION, SCORES)
        )
        self.cases = Partitions(self.lake, CASES, [cell_of({"icd10": code}) for code in codes])
        names = {
            "icd10": codes,
            "cases": 20,
            "cases_imaged": 20,
            "studied": True,
            "retired": False,
            "label_set": "icd10",
            "chapter": "XI",
        }
        self.codes = conform(pl.DataFrame({**names, "description": "a disease"}), "icd10_codes")
        umap = rng.normal(size=(2, N))
        table = {"encoder": "mae", "organ": "liver", "eid": eids, "cluster": np.arange(N) % clusters}
        self.clusters = pl.DataFrame({**table, "umap_1": umap[0], "umap_2": umap[1]})

    def write(self, asset: tuple[str, ...], table: str, frame: pl.DataFrame, **cell: str) -> None:
        self.lake.write(asset, cell_of(cell), table, Stored(frame), "")

    def drawn(self) -> tuple[pl.DataFrame, dict[str, object]]:
        workspace = SimpleNamespace(settings=Settings(), home=self.home)
        run = StageRun((("organ", "liver"),), REGISTRY["mae", "phenotype_figures"].spec, workspace)
        stored = phenotype_figures(run, self.selection, self.scores, self.cases, self.codes, self.clusters)
        return conform(stored.frames, "phenotype_figures"), stored.metadata


def test_phenotype_figures__draws_the_best_as_files_and_metadata(tmp_path: Path) -> None:
    organ = Organ(tmp_path, [f"K{k:02d}" for k in range(12)], selected=9)
    table, metadata = organ.drawn()
    histograms = table.filter(figure="score_histogram")["icd10"].to_list()
    assert histograms == [f"K{k:02d}" for k in range(BEST)]
    assert table.filter(figure="cluster_enrichment")["cluster"].to_list() == [7, 6, 5]
    assert table["figure"].to_list()[:2] == ["auc_pval", "percentage_pval"]
    assert metadata["figures"] == table.height == 2 + 2 * BEST
    for path in table["path"]:
        assert path.startswith("report/figures/mae/liver/")
        assert (tmp_path / path).read_bytes().startswith(b"\x89PNG")
    images = [value.md_str for value in metadata.values() if not isinstance(value, int)]
    assert len(images) == table.height
    assert all(image.startswith("![") for image in images)
    assert sum(map(len, images)) < 1_000_000


def test_phenotype_figures__draws_again_only_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = ["K00", "K01", "K02"]
    table, metadata = Organ(tmp_path, codes, selected=3, clusters=2).drawn()
    drawn: list[bytes] = []
    monkeypatch.setattr(drawing, "_processes", lambda: 1)
    monkeypatch.setattr(
        render, "to_png", lambda *given, to_png=render.to_png: drawn.append(to_png(*given)) or drawn[-1]
    )
    again = Organ(tmp_path, codes, selected=3, clusters=2).drawn()
    assert (again[0].equals(table), again[1], drawn) == (True, metadata, [])
    fewer = Organ(tmp_path, codes, selected=2, clusters=2).drawn()[0]
    changed = {path for path in fewer["path"] if (tmp_path / path).read_bytes() in drawn}
    assert len(changed) == len(drawn)
    assert changed == {path for path in fewer["path"] if "score_histogram" not in path}


def test_phenotype_figures__of_what_is_no_longer_drawn_are_removed(tmp_path: Path) -> None:
    Organ(tmp_path, ["K00", "K01", "medication/metformin"], selected=3, clusters=2).drawn()
    folder = tmp_path / "report/figures/mae/liver"
    assert "score_histogram-medication%2Fmetformin.png" in {file.name for file in folder.iterdir()}
    table, _ = Organ(tmp_path, ["K00", "K01", "medication/metformin"], selected=0, clusters=2).drawn()
    assert table["figure"].to_list() == ["auc_pval", "percentage_pval"]
    assert {file.name for file in folder.iterdir()} == {"auc_pval.png", "percentage_pval.png"}


def test_phenotype_figures__without_a_code_there_are_none(tmp_path: Path) -> None:
    table, metadata = Organ(tmp_path, [], selected=0).drawn()
    assert table.height == 0
    assert metadata == {"figures": 0}


def test_phenotype_figures__reads_the_scores_of_no_other_codes(tmp_path: Path) -> None:
    organ = Organ(tmp_path, [f"K{k:02d}" for k in range(9)], selected=9, clusters=1)
    for k in range(BEST, 9):
        organ.lake.path(SCORES, cell_of({"organ": "liver", "icd10": f"K{k:02d}"})).unlink()
    assert organ.drawn()[0].filter(figure="score_histogram").height == BEST
    organ.lake.path(SCORES, cell_of({"organ": "liver", "icd10": "K02"})).unlink()
    with pytest.raises(LakeError, match="K02"):
        organ.drawn()
