"""Phenotype tables as plink2 and regenie take them, and what is wrong with others."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from edp_assets.cohort.phenotype_tables import PhenotypeTableError, read_phenotype_table

WANTED = pl.DataFrame({"FID": ["f1", "f2"], "IID": ["i1", "i2"], "a": [1.5, None], "b": [None, -9.0]})


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "FID IID a b\nf1 i1 1.5 NA\nf2 i2 nan -9.0\n",
        "#FID\tIID\ta\tb\nf1\ti1\t1.5\t\nf2\ti2\tNaN\t-9.0",
        "  FID   IID a  b \n f1 i1\t1.5 na\nf2  i2 NA -9.0  \n\n",
        "#FID IID a b\r\nf1 i1 1.5 NA\r\nf2 i2 NA -9.0\r\n",
        "FID\tIID\ta\tb\nf1\ti1\t1.5 \t NA\nf2\ti2\t-NaN\t-9.0\n",
        "\ufeffFID IID a b\nf1 i1 15e-1 NA\nf2 i2 NA -9.0\n",
    ],
)
def test_read_phenotype_table__delimiters_and_missing_values(tmp_path: Path, text: str):
    table = read_phenotype_table(write(tmp_path / "y.txt", text), text=False)
    assert table.frame.equals(WANTED)
    assert (table.columns, table.missing_codes) == (["a", "b"], 0)


@pytest.mark.parametrize("head", ["IID a", "#IID a"])
def test_read_phenotype_table__without_families(tmp_path: Path, head: str):
    path = tmp_path / "y.txt.gz"
    path.write_bytes(gzip.compress(f"{head}\n007 1\n8 2\n".encode()))
    frame = read_phenotype_table(path, text=False).frame
    assert frame.rows() == [("007", "007", 1.0), ("8", "8", 2.0)]


def test_read_phenotype_table__minus_9_is_missing_and_counted(tmp_path: Path):
    table = read_phenotype_table(write(tmp_path / "y.txt", "IID a b\n1 -9 2\n2 -9.0 -9\n"), text=False)
    assert table.missing_codes == 2
    assert table.frame.select("a", "b").rows() == [(None, 2.0), (-9.0, None)]


def test_read_phenotype_table__categories_of_covariates(tmp_path: Path):
    path = write(tmp_path / "c.txt", "IID a b\n1 x 2\n2 NA 3\n3 y -9\n")
    assert read_phenotype_table(path, text=True).frame["a"].to_list() == ["x", None, "y"]
    with pytest.raises(PhenotypeTableError, match=r"column a, line 2: wanted a number or NA, found 'x'; 2 such of 2"):
        read_phenotype_table(path, text=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "wanted a head of FID IID or IID"),
        ("1 1 0.5\n2 2 0.7\n", "wanted a head of FID IID or IID .* found '1 1 0.5'"),
        ("FID a\n1 2\n", "wanted a head"),
        ("FID IID a\n", "a head and no people"),
        ("FID IID a a\n1 1 2 3\n", r"columns must have one name each; found \['a'\]"),
        ("#FID IID FID\n1 1 2\n", r"columns must have one name each; found \['FID'\]"),
        ("FID\tIID\t\n1\t1\t2\n", "an empty name"),
        ("IID a\n1 2\n2 3\n1 4\n3 5\n2 6\n", "2 IIDs occur more than once, the first is 1"),
        ("IID a b\n1 2 3\n2 3\n", "line 3: wanted 3 fields as in the head, found 2"),
        ("IID a b\n1 2\n2 3 4 5\n", "line 2: wanted 3 fields as in the head, found 2"),
        ("IID a\n1 2\n2 3,5\n", "column a, line 3: wanted a number or NA, found '3,5'; 1 such of 2 values"),
        ("IID a\n1 2\n2 inf\n", "column a, line 3: wanted a number or NA, found 'inf'"),
        ("IID\ta\n1\t2\n\t3\n", "1 lines have no IID"),
    ],
)
@pytest.mark.parametrize("categories", [False, True])
def test_read_phenotype_table__what_is_wrong(tmp_path: Path, text: str, message: str, categories: bool):
    with pytest.raises(PhenotypeTableError, match=message):
        read_phenotype_table(write(tmp_path / "y.txt", text), text=categories)


def test_read_phenotype_table__no_such_file(tmp_path: Path):
    with pytest.raises(PhenotypeTableError, match="No such file"):
        read_phenotype_table(tmp_path / "y.txt", text=False)
    with pytest.raises(PhenotypeTableError, match="is not gzip"):
        read_phenotype_table(write(tmp_path / "y.gz", "IID a\n1 2\n"), text=False)
    (tmp_path / "b").write_bytes(b"IID a\n\xff 1\n")
    with pytest.raises(PhenotypeTableError, match="byte 6 is not UTF-8"):
        read_phenotype_table(tmp_path / "b", text=False)
