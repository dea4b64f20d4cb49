"""`edp export --phewas`: a file a phenotype, what is not in it, and what is not there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from edp_assets.export import Asked, ExportError
from edp_assets.export_phewas import export_phewas
from edp_assets.storage.lake import Lake, Stored, cell_of
from edp_assets.storage.schemas import empty


@pytest.fixture
def workspace(tmp_path: Path) -> SimpleNamespace:
    lake = Lake(tmp_path / "lake")
    label = {
        "encoder": "mae",
        "organ": "liver",
        "icd10": "K76",
        "n": 900,
        "category": "blood",
        "kind": "continuous",
        "source": "0",
    }
    rows = [
        {**label, "method": method, "cluster": cluster, "trait": trait, "description": trait, **statistics}
        for method, cluster in (("classifier", None), ("clustering", 2))
        for trait, statistics in (
            ("fat", {"model": "linear", "beta": 0.5, "standard_error": 0.1, "neg_log_10_p_value": 6.2}),
            (
                "diet",
                {
                    "model": "multinomial",
                    "neg_log_10_p_value": 1.0,
                    "levels": ["meat", "fish"],
                    "level_n": [800, 100],
                    "level_betas": [0.1],
                    "level_standard_errors": [0.1],
                },
            ),
            ("rare", {"reason": "43 people: at least 500 are needed"}),
            ("rarer", {"reason": "40 people: at least 500 are needed"}),
        )
    ]
    frame = pl.DataFrame(rows, schema=empty("phewas").schema)
    cell = cell_of({"organ": "liver", "icd10": "K76"})
    lake.write(("mae", "phewas"), cell, "phewas", Stored(frame), "")
    return SimpleNamespace(lake=lake)


def test_export_phewas__a_file_for_each_phenotype(workspace: SimpleNamespace, tmp_path: Path) -> None:
    said: list[str] = []
    files = export_phewas(workspace, Asked("liver", "K76"), tmp_path / "out", said.append)  # type: ignore[arg-type]
    assert [file.name for file in files] == [
        "mae-liver-K76-classifier-phewas.txt", "mae-liver-K76-classifier-phewas-categories.txt",
        "mae-liver-K76-clustering-2-phewas.txt", "mae-liver-K76-clustering-2-phewas-categories.txt",
    ]  # fmt: skip
    assert said[0].endswith("classifier-phewas.txt: 2 traits; 2 not tested: people: at least 500 are needed")
    assert said[1].endswith("phewas-categories.txt: 1 categories of unordered traits, each against the reference")
    assert "diet-meat#fish\tcontinuous\t800#100\t0.1\t" in files[1].read_text()
    head, row, _ = files[0].read_text().splitlines()
    assert head.startswith("varName\tvarType\tn\tbeta\tlower\tupper\tpvalue\tresType")
    assert row.startswith("fat\tcontinuous\t900\t0.5\t0.304\t0.696\t6.310e-07\tLINEAR")


def test_export_phewas__one_method(workspace: SimpleNamespace, tmp_path: Path) -> None:
    file, _ = export_phewas(workspace, Asked("liver", "K76", method="clustering"), tmp_path)  # type: ignore[arg-type]
    assert file.name == "mae-liver-K76-clustering-2-phewas.txt"


def test_export_phewas__a_cohort_without_a_phenome_is_told_so(workspace: SimpleNamespace, tmp_path: Path) -> None:
    cell = cell_of({"organ": "liver", "icd10": "E11"})
    workspace.lake.write(("mae", "phewas"), cell, "phewas", Stored(empty("phewas")), "")
    with pytest.raises(ExportError, match=r"no trait whose kind is known and no phecode .*; give traits and"):
        export_phewas(workspace, Asked("liver", "E11"), tmp_path)  # type: ignore[arg-type]
    told = {"trait": "fat", "description": "fat", "category": "blood", "kind": "continuous", "place": 0}
    frame = pl.DataFrame([told], schema=empty("phenome_dictionary").schema)
    workspace.lake.write(("phenome_dictionary",), cell_of({}), "phenome_dictionary", Stored(frame), "")
    with pytest.raises(ExportError, match="no phenotype of it was scanned"):
        export_phewas(workspace, Asked("liver", "E11"), tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (Asked("liver", None), "--organ and --icd10 must be given"),
        (Asked("heart", "K76"), "mae, heart, K76: no phenome-wide scan is stored; stored are .*K76 x liver"),
        (Asked("heart", "K76", "vit"), "vit, heart, K76: no phenome-wide scan is stored; no encoder is called vit"),
        (Asked("liver", "K76", method="island"), "liver, K76: no phenotype of it was scanned"),
    ],
)
def test_export_phewas__what_is_not_there(workspace: SimpleNamespace, tmp_path: Path, asked: Asked, told: str) -> None:
    with pytest.raises(ExportError, match=told):
        export_phewas(workspace, asked, tmp_path)  # type: ignore[arg-type]
