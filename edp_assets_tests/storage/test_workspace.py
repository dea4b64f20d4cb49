"""What a workspace reads of the genotypes: their chromosomes, and what tells that they were replaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edp_assets.assets.stage import REGISTRY
from edp_assets.storage.home import Home
from edp_assets.storage.lake import cell_of
from edp_assets.storage.workspace import Fingerprints, Workspace
from edp_assets_tests.science.genetics.bgen_writer import hard_calls, write_bgen
from edp_assets_tests.tiny_toml import COHORT

TOML = (
    COHORT
    + """
[genotypes]
path = "all.bgen"
[organs.liver]
"""
)
G = np.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    folder = tmp_path / "cohort"
    folder.mkdir()
    (folder / "cohort.toml").write_text(TOML)
    variants = [hard_calls(G[:1], chromosome=c)[0] for c in ("23", "chr10", "02", "NA", "26")]
    write_bgen(folder / "all.bgen", variants, ["a", "b", "c"])
    home = Home(tmp_path / "home")
    home.root.mkdir()
    home.bind(folder)
    return Workspace(home)


def test_chromosomes__of_a_bgen_in_natural_order(workspace: Workspace) -> None:
    assert workspace.chromosomes == ["2", "10", "X", "MT"]


def test_files__a_replaced_bgen_or_sample_file_shows(workspace: Workspace) -> None:
    folder = workspace.cohort.folder
    seen = [workspace.files("genotypes", ())]
    write_bgen(folder / "all.bgen", hard_calls(G, chromosome="1"), ["a", "b", "c"])
    seen.append(workspace.files("genotypes", ()))
    (folder / "all.sample").write_text("ID_1 ID_2 missing\n0 0 0\na a 0\nb b 0\nc c 0\n")
    seen.append(workspace.files("genotypes", ()))
    assert len(set(seen)) == 3
    (folder / "all.bgen.bgi").write_bytes(b"made later")  # an index changes no result
    assert workspace.files("genotypes", ()) == seen[-1]


@pytest.mark.parametrize("asset", ["evidence/hits_by_disease", "evidence/hits_by_organ", "evidence/sizes",
                                   "mae/few_shot_comparison"])  # fmt: skip
def test_fingerprints__counts_of_genes_change_with_a_table_of_genes_and_are_else_what_they_were(
    workspace: Workspace, asset: str
) -> None:
    spec = REGISTRY[tuple(asset.split("/"))].spec
    keys = {"organ": "liver", "icd10": "K76"}
    cell = cell_of({name: keys[name] for name in spec.dimensions})

    def fingerprint() -> dict[str, str]:
        return dict(Fingerprints(Workspace(workspace.home), spec).of(cell).parts)

    assert "file genes_unknown" in fingerprint()
    toml = workspace.cohort.folder / "cohort.toml"
    toml.write_text(TOML.replace("[cohort]\n", '[cohort]\nvariant_to_gene = "v2g.parquet"\n'))
    # As before there was such a thing to know: a home with a table of genes makes none of its tables anew.
    assert "file genes_unknown" not in fingerprint()
