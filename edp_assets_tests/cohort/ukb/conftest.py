"""Eight people as UK Biobank exports them, their genotypes and images: what an import is made of."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

EIDS = [1000001 + i for i in range(8)]
IMAGED = EIDS[:6]
CODES = [["K760", "E119"], ["K760"], ["E119", "K769", "I500"], [], ["I500"], [], ["K760"], ["E119"]]
DATES = [[f"20{10 + i:02d}-01-0{k + 1}" for k in range(len(codes))] for i, codes in enumerate(CODES)]


def values() -> dict[tuple[int, int, int | None], list[Any]]:
    """Return the fields by field, instance and array; None is missing, and so is -1 and -3 of the first three."""
    imaged = [eid in IMAGED for eid in EIDS]
    return {
        (31, 0, None): [i % 2 for i in range(8)],
        (34, 0, None): [1950 + i for i in range(8)],
        (52, 0, None): [1 + i for i in range(8)],
        (21003, 0, None): [50 + i for i in range(8)],
        (21003, 2, None): [60 + i if came else None for i, came in enumerate(imaged)],
        (21001, 0, None): [20.5 + i for i in range(8)],
        (21001, 2, None): [25.25 + i if came else None for i, came in enumerate(imaged)],
        (54, 0, None): [11010 + i % 2 for i in range(8)],
        (54, 2, None): [11025 + i % 2 if came else None for i, came in enumerate(imaged)],
        (53, 2, None): [f"2017-03-{i + 1:02d}" if came else None for i, came in enumerate(imaged)],
        (22000, 0, None): [-1, -3, 5, 95, -11, 1, 2, 3],
        **{(22009, 0, k): [round(0.1 * k * i - 1, 3) for i in range(8)] for k in range(1, 11)},
        (30760, 0, None): [1.5 + i for i in range(8)],
    }


def frame(layout: str, packing: str = "bar") -> pl.DataFrame:
    """Return the export as texts: layout rap, participant, ukbconv, r, x or title; packing bar, json or python."""
    with_instance = {53, 54, 21001, 21003, 30760}
    titles = {
        31: "Sex", 34: "Year of birth", 52: "Month of birth", 53: "Date of attending assessment centre",
        54: "UK Biobank assessment centre", 21001: "Body mass index (BMI)",
        21003: "Age when attended assessment centre", 22000: "Genotype measurement batch",
        22009: "Genetic principal components", 41280: "Date of first in-patient diagnosis - ICD10",
        30760: "p30760", 41270: "Diagnoses - ICD10",
    }  # fmt: skip

    def name(field: int, instance: int, array: int | None) -> str:
        if layout in ("rap", "participant"):
            text = f"p{field}" + (f"_i{instance}" if field in with_instance else "")
            text += "" if array is None else f"_a{array}"
            return f"participant.{text}" if layout == "participant" else text
        if layout == "title":
            if field == 30760:
                return f"p30760_i{instance}"
            text = titles[field] + (f" | Instance {instance}" if field in with_instance else "")
            return text + ("" if array is None else f" | Array {array}")
        pattern = {"ukbconv": "{}-{}.{}", "r": "f.{}.{}.{}", "x": "x{}_{}_{}"}[layout]
        return pattern.format(field, instance, array or 0)

    eid = {"participant": "participant.eid", "r": "f.eid", "title": "Participant ID"}.get(layout, "eid")
    columns: dict[str, list[Any]] = {eid: EIDS}
    columns |= {name(*key): column for key, column in values().items()}
    if layout in ("ukbconv", "r", "x"):
        for k in range(3):
            columns[name(41270, 0, k)] = [codes[k] if k < len(codes) else None for codes in CODES]
    else:
        columns[name(41270, 0, None)] = [pack(codes, packing) for codes in CODES]
    for k in range(3):
        columns[name(41280, 0, k)] = [dates[k] if k < len(dates) else None for dates in DATES]
    return pl.DataFrame(columns, strict=False).with_columns(pl.all().cast(pl.String))


def pack(codes: list[str], packing: str) -> str | None:
    """Return an array as one text, in a packing of RAP's tools."""
    if not codes:
        return None
    return {"bar": "|".join(codes), "json": json.dumps(codes, separators=(",", ":")), "python": str(codes)}[packing]


def store(table: pl.DataFrame, path: Path, *, head: bytes = b"", windows: bool = False) -> Path:
    """Write a table by its file's ending, with a byte order mark or Windows line ends where asked."""
    if path.suffix == ".parquet":
        table.write_parquet(path)
        return path
    separator = "," if ".csv" in path.suffixes else "\t"
    text = table.write_csv(
        separator=separator, line_terminator="\r\n" if windows else "\n", null_value="NA" if separator == "\t" else ""
    )
    content = head + text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture(scope="session")
def biobank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with genotypes/all.bed of all eight, and images of six; read only."""
    import nibabel

    folder = tmp_path_factory.mktemp("biobank")
    stem = folder / "genotypes" / "all"
    stem.parent.mkdir()
    codes = np.random.default_rng(0).choice([0b00, 0b10, 0b11], size=(12, 8))
    packed = (codes.reshape(12, -1, 4) << np.array([0, 2, 4, 6])).sum(axis=2).astype(np.uint8)
    stem.with_suffix(".bed").write_bytes(b"\x6c\x1b\x01" + packed.tobytes())
    stem.with_suffix(".bim").write_text("".join(f"1\trs{i}\t0\t{1000 + i}\tA\tG\n" for i in range(12)))
    stem.with_suffix(".fam").write_text("".join(f"{eid} {eid} 0 0 0 -9\n" for eid in EIDS))
    rng = np.random.default_rng(1)
    mask = np.zeros((10, 10, 6), dtype=np.uint8)
    mask[2:8, 3:8, 1:5] = 1
    for eid in IMAGED:
        place = folder / "images" / f"{eid}_20201_2_0"
        place.mkdir(parents=True)
        images = {"liver": mask, "fat": rng.integers(1, 200, mask.shape).astype(np.int16)}
        images["water"] = rng.integers(200, 500, mask.shape).astype(np.int16)
        for name, data in images.items():
            nibabel.save(nibabel.Nifti1Image(data, np.diag([2.0, 2.0, 2.0, 1.0])), place / f"{name}.nii.gz")
    return folder


@pytest.fixture
def imported(biobank: Path, tmp_path: Path) -> Callable[..., Any]:
    """A function that imports tables into tmp_path/cohort and returns the report."""
    from edp_assets.cohort.ukb.folder import Asked
    from edp_assets.cohort.ukb.write import import_ukb

    def run(*tables: Path, **more: Any) -> Any:
        given = {"genotypes": str(biobank / "genotypes" / "all.bed"), "images": (biobank / "images",)}
        return import_ukb(Asked(**{"tables": tables, "out": tmp_path / "cohort", **given, **more}), lambda _: None)

    return run


@pytest.fixture(name="frame")
def _frame() -> Callable[..., pl.DataFrame]:
    return frame


@pytest.fixture(name="store")
def _store() -> Callable[..., Path]:
    return store
