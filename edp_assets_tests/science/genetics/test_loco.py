"""regenie's predictions: as it published them, and as it may write them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from edp_assets.science.genetics.loco import LocoError, LocoFile, read_prediction_list

TEXT = "FID_IID f_1 2_2 0_a_b\n1 0.5 -1 2\n2 1.5 NA 3\n23 7 8 9\n"


def test_loco_file__regenie_s_own(regenie: Path):
    file = LocoFile(regenie / "fit_lin_out_1.loco")
    assert "1" in file.chromosomes
    iids = ["3", "1"]
    places = file.places(iids, iids)
    names, *rows = [line.split() for line in file.path.read_text().splitlines()]
    (row,) = [row for row in rows if row[0] == "1"]
    assert file.offsets("1", places).tolist() == [float(row[names.index("3_3")]), float(row[names.index("1_1")])]


@pytest.mark.parametrize("packed", [False, True])
def test_loco_file__people_and_chromosomes(tmp_path: Path, packed: bool):
    path = tmp_path / ("a.loco.gz" if packed else "a.loco")
    path.write_bytes(gzip.compress(TEXT.encode()) if packed else TEXT.encode())
    file = LocoFile(path)
    assert file.chromosomes == ["1", "2", "X"]
    # By family and IID; by the IID twice; in family 0; unknown; another family is another person.
    places = file.places(["f", "q", "q", "f", "g"], ["1", "2", "a_b", "9", "1"])
    assert places.tolist() == [0, 1, 2, -1, -1]
    np.testing.assert_array_equal(file.offsets("X", places[:3]), [7, 8, 9])
    np.testing.assert_array_equal(file.offsets("2", places[[2, 1]]), [3, np.nan])
    with pytest.raises(LocoError, match="no row for chromosome 3; it has 1, 2, X"):
        file.offsets("3", places[:3])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begins with FID_IID, found an empty file"),
        ("IID a\n1 2\n", "begins with FID_IID, found IID"),
        ("FID_IID a_a a_a\n1 2 3\n", "people occur more than once"),
        ("FID_IID a_a b_b\n1 2 3\n2 4\n", "at byte 22 has 2 fields, the head 3"),
    ],
)
def test_loco_file__what_is_wrong(tmp_path: Path, text: str, message: str):
    path = tmp_path / "a.loco"
    path.write_text(text)
    with pytest.raises(LocoError, match=message):
        LocoFile(path)


def test_loco_file__a_value_that_is_no_number(tmp_path: Path):
    path = tmp_path / "a.loco"
    path.write_text("FID_IID a_a\n1 x\n")
    with pytest.raises(LocoError, match="chromosome 1: could not convert"):
        LocoFile(path).offsets("1", np.array([0]))


def test_read_prediction_list__files_beside_it_or_where_it_says(tmp_path: Path):
    (tmp_path / "a_1.loco").write_text(TEXT)
    path = tmp_path / "a_pred.list"
    path.write_text(f"Y1 {tmp_path / 'a_1.loco'}\nY2 a_1.loco\nY3 moved/since/a_1.loco\n\n")
    assert read_prediction_list(path) == dict.fromkeys(["Y1", "Y2", "Y3"], tmp_path / "a_1.loco")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Y1\n", "line 1: wanted a phenotype and its .loco file, found 'Y1'"),
        ("Y1 b.loco\n", "line 1: b.loco is missing"),
        ("Y1 a.loco\nY1 a.loco\n", "line 2: phenotype Y1 a second time"),
    ],
)
def test_read_prediction_list__what_is_wrong(tmp_path: Path, text: str, message: str):
    (tmp_path / "a.loco").write_text(TEXT)
    path = tmp_path / "pred.list"
    path.write_text(text)
    with pytest.raises(LocoError, match=message):
        read_prediction_list(path)


def test_read_prediction_list__no_list(tmp_path: Path):
    with pytest.raises(LocoError, match="No such file"):
        read_prediction_list(tmp_path / "pred.list")
