"""Export files: what cannot be read is one message, and nothing shifts unseen."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from edp_assets.cohort.ukb.columns import Key
from edp_assets.cohort.ukb.exports import ImportRefusedError, open_export


def read(path: Path, *keys: Key) -> pl.DataFrame:
    return pl.concat(list(open_export(path).read(keys))).drop("row_hash")


def test_read__quoted_separators_line_ends_and_foreign_letters(tmp_path: Path) -> None:
    path = tmp_path / "ukb.csv"
    lines = [b'\xef\xbb\xbf"eid","20-0.0","31-0.0"', b'"1000001","a, ""b""\r\nc",1', b'"1000002","caf\xe9",NA', b""]
    path.write_bytes(b"\r\n".join(lines))
    frame = read(path, Key(31, 0, 0))
    assert frame.rows() == [(1000001, "1"), (1000002, None)]


@pytest.mark.parametrize("row", ["1000002,a,b,1", "1000002,a"])
def test_read__a_row_of_another_length_is_refused(tmp_path: Path, row: str) -> None:
    (tmp_path / "ukb.csv").write_text(f"eid,20-0.0,31-0.0\n1000001,a,1\n{row}\n")
    with pytest.raises(ImportRefusedError, match=r"as many fields as the header, found: .*xpected 3 columns"):
        read(tmp_path / "ukb.csv", Key(20, 0, 0))


def test_read__a_cut_off_gz_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(("eid,31-0.0\n" + "".join(f"{1000000 + i},{i % 2}\n" for i in range(9999))).encode())
    (tmp_path / "ukb.csv.gz").write_bytes(whole[:-2000])
    with pytest.raises(ImportRefusedError, match="wanted a whole table"):
        read(tmp_path / "ukb.csv.gz", Key(31, 0, 0))


def test_open_export__a_cut_off_parquet_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "ukb.parquet"
    pl.DataFrame({"eid": [1000001], "31-0.0": ["1"]}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ImportRefusedError, match=r"ukb.parquet: wanted a whole table, .* export it again"):
        open_export(path)


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("ukb.xlsx", "x", "wanted a table that ends in .csv"),
        ("ukb.enc_ukb", "x", "run ukbconv on it first"),
        ("ukb.csv", "id,p31\n1,0\n", "wanted a column eid, f.eid, .* found 2 columns"),
        ("ukb.csv", "eid,p31,31-0.0\n1,0,0\n", "wanted field 31 once, found it as 'p31' and as '31-0.0'"),
        ("ukb.csv", "eid,p31,p31\n1,0,0\n", "found 2 columns 'p31'"),
        ("ukb.csv", "eid,p31\n1e+06,0\n", "wanted eids as whole numbers in 'eid', found '1e.06'"),
        ("ukb.csv", "", "wanted a column eid"),
    ],
)
def test_open_export__what_cannot_be_used_says_so(tmp_path: Path, name: str, text: str, match: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ImportRefusedError, match=match):
        read(tmp_path / name, Key(31, 0, None))


def test_open_export__a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ImportRefusedError, match="found no such file; correct --tables"):
        open_export(tmp_path / "nowhere.csv")


def test_open_export__tabs_in_a_csv(tmp_path: Path) -> None:
    (tmp_path / "ukb.csv").write_text("eid\tp31\n1000001\t0\n")
    assert read(tmp_path / "ukb.csv", Key(31, 0, None)).rows() == [(1000001, "0")]
