"""A tiny valid cohort folder: 8 participants, 6 scans of 10 x 10 x 6 voxels, 12 variants. Tests copy and break it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from edp_assets_tests.tiny_toml import COHORT

EIDS = [str(1000001 + i) for i in range(8)]
IMAGED = EIDS[:6]

TOML = (
    COHORT
    + """
variant_to_gene = "variant_to_gene.csv"
[genotypes]
path = "genotypes/all.bed"
[labels]
codes = ["K76", "I50"]
min_cases = 2
[organs.liver]
"""
)


def write_nifti(path: Path, data: np.ndarray, spacing: float = 2.0) -> None:
    """Write an array as NIfTI with isotropic voxels."""
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(data, np.diag([spacing, spacing, spacing, 1.0])), path)


def write_bed(stem: Path, eids: list[str], n_variants: int = 12) -> None:
    """Write random genotypes as a PLINK 1 .bed, .bim and .fam."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    codes = np.random.default_rng(0).choice([0b00, 0b10, 0b11], size=(n_variants, -(-len(eids) // 4) * 4))
    packed = (codes.reshape(n_variants, -1, 4) << np.array([0, 2, 4, 6])).sum(axis=2).astype(np.uint8)
    stem.with_suffix(".bed").write_bytes(b"\x6c\x1b\x01" + packed.tobytes())
    stem.with_suffix(".bim").write_text("".join(f"1\trs{i}\t0\t{1000 + i}\tA\tG\n" for i in range(n_variants)))
    stem.with_suffix(".fam").write_text("".join(f"{eid} {eid} 0 0 0 -9\n" for eid in eids))


def participants_frame() -> pl.DataFrame:
    """Return the participants, every column filled."""
    n = len(EIDS)
    return pl.DataFrame(
        {
            "eid": EIDS,
            "age": [50.5 + i for i in range(n)],
            "sex": [i % 2 for i in range(n)],
            "bmi": [22.25 + i for i in range(n)],
            "genotyping_array": ["BiLEVE" if i % 3 else "Axiom" for i in range(n)],
            "imaging_centre": ["11025" if i % 2 else "11026" for i in range(n)],
            "imaging_date": [f"2017-03-{i + 1:02d}" for i in range(n)],
            **{f"pc{k}": [round(0.1 * k * i - 0.3, 3) for i in range(n)] for k in range(1, 11)},
        }
    )


def build(folder: Path) -> None:
    """Write the whole folder."""
    folder.mkdir()
    (folder / "cohort.toml").write_text(TOML)
    participants_frame().write_csv(folder / "participants.csv")
    (folder / "diagnoses.csv").write_text(
        "eid,icd10\n"
        "1000001,K760\n1000002,K76.0\n1000003,K769\n1000007,K760\n"
        "1000001,I500\n1000004,I509\n1000008,E119\n"
    )  # fmt: skip
    rng = np.random.default_rng(1)
    rows = ["eid,organ,mask,image_fat,image_water"]
    for eid in IMAGED:
        mask = np.zeros((10, 10, 6), dtype=np.uint8)
        mask[2:8, 3:8, 1:5] = 1
        files = [f"images/{eid}_{kind}.nii.gz" for kind in ("mask", "fat", "water")]
        write_nifti(folder / files[0], mask)
        for file in files[1:]:
            write_nifti(folder / file, rng.integers(1, 500, size=mask.shape).astype(np.int16))
        rows.append(",".join([eid, "liver", *files]))
    (folder / "scans.csv").write_text("\n".join(rows) + "\n")
    (folder / "variant_to_gene.csv").write_text(
        "variant_id,rsid,gene,gene_id,score\n1_1001_A_G,rs1,PNPLA3,ENSG00000100344,0.7\n"
    )
    write_bed(folder / "genotypes" / "all", EIDS)


@pytest.fixture(scope="session")
def cohort_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The valid folder; read only."""
    folder = tmp_path_factory.mktemp("template") / "cohort"
    build(folder)
    return folder


@pytest.fixture
def cohort_folder(cohort_template: Path, tmp_path: Path) -> Path:
    """A copy of the valid folder, free to be broken."""
    return Path(shutil.copytree(cohort_template, tmp_path / "cohort"))


@pytest.fixture
def edit() -> Callable[..., None]:
    """A function that replaces text in a file and fails where it is not there."""

    def replace(path: Path, old: str, new: str) -> None:
        text = path.read_text()
        assert old in text, f"{old!r} is not in {path.name}"
        path.write_text(text.replace(old, new))

    return replace


@pytest.fixture(name="write_nifti")
def _write_nifti() -> Callable[..., None]:
    return write_nifti


@pytest.fixture(name="participants_frame")
def _participants_frame() -> pl.DataFrame:
    return participants_frame()


@pytest.fixture(name="write_bed")
def _write_bed() -> Callable[..., None]:
    return write_bed
