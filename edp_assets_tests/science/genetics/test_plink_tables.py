from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edp_assets.science.genetics.plink_tables import (
    GenotypeError,
    normalise_chromosome,
    read_bim,
    read_fam,
    read_psam,
    read_pvar,
    read_sample,
)

BIM = "1 rs1 0 10 A G\n1 rs2 0 20 C T\n"
word = st.text(st.characters(codec="ascii", categories=["L", "N"], include_characters="_:-"), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(word, st.integers(0, 2**40), word, word), min_size=1, max_size=5),
    blank=st.sampled_from(["\t", " ", "  ", " \t "]),
    newline=st.sampled_from(["\n", "\r\n"]),
    end=st.sampled_from(["", "\n", "\n\n"]),
)
def test_read_bim__any_blanks_and_newlines(folder, rows, blank, newline, end):
    path = folder / "any.bim"
    lines = [blank.join(["2", rsid, "0", str(position), a1, a2]) for rsid, position, a1, a2 in rows]
    path.write_bytes((newline.join(lines) + end).encode())
    assert read_bim(path).rows() == [("2", position, rsid, a1, a2) for rsid, position, a1, a2 in rows]


@settings(max_examples=30, deadline=None)
@given(iids=st.lists(word, min_size=1, max_size=6))
def test_read_fam__iids_once_each(folder, iids):
    path = folder / "any.fam"
    path.write_text("".join(f"f\t{iid} 0 0\t1 -9\n" for iid in iids))
    if len(set(iids)) == len(iids):
        assert read_fam(path) == iids
    else:
        with pytest.raises(GenotypeError, match="IIDs occur more than once"):
            read_fam(path)


def test_normalise_chromosome__spellings():
    given = ["1", "chr1", "01", "CHR22", "23", "x", "chrX", "24", "25", "XY", "26", "M", "chrMT", "PAR1", "GL000192.1"]
    wanted = ["1", "1", "1", "22", "X", "X", "X", "Y", "X", "X", "MT", "MT", "MT", "X", "GL000192.1"]
    assert pl.DataFrame({"c": given}).select(normalise_chromosome(pl.col("c")))["c"].to_list() == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BIM + "1 rs3 0 30 A\n", r"line 3: wanted 6 fields .* found 5; 1 such"),
        (BIM + "\n1 rs3 0 30 A G T\n", r"line 4: wanted 6 fields .* found 7"),
        ("1 rs1 0 1e6 A G\n", "line 1: wanted a position of 0 or above in base pairs, found '1e6'"),
        (BIM + "1 rs3 0 -5 A G\n", "line 3: .* found '-5'"),
        ("\n", "is empty"),
    ],
)
def test_read_bim__malformed_lines(tmp_path, text, message):
    path = tmp_path / "bad.bim"
    path.write_text(text)
    with pytest.raises(GenotypeError, match=message):
        read_bim(path)


def test_read_bim__not_text(tmp_path):
    path = tmp_path / "bad.bim"
    path.write_bytes(b"1\xff\xfe")
    with pytest.raises(GenotypeError, match="byte 1 is not UTF-8"):
        read_bim(path)


def test_read_fam__repeated_iids_are_counted(tmp_path):
    path = tmp_path / "bad.fam"
    path.write_text("".join(f"1 {iid} 0 0 1 1\n" for iid in ("a", "b", "c", "b", "a")))
    with pytest.raises(GenotypeError, match="2 IIDs occur more than once, the first is a"):
        read_fam(path)


def test_read_pvar__without_header_is_a_bim(tmp_path):
    path = tmp_path / "x.pvar"
    path.write_text(BIM)
    assert read_pvar(path).rows() == [("1", 10, "rs1", "A", "G"), ("1", 20, "rs2", "C", "T")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1\t5\trs1\tG\n", r"line 2: wanted at least 5 fields .* found 4"),
        ("1\tx\trs1\tG\tA\n", "line 2: wanted a position .* found 'x'"),
        (
            "1\t5\trs1\tG\tA\n1\t6\trs2\tG\tA,T\n",
            r"1 variants have several ALT alleles, the first on line 3; split them",
        ),
    ],
)
def test_read_pvar__malformed_lines(tmp_path, rows, message):
    path = tmp_path / "x.pvar"
    path.write_text("#CHROM\tPOS\tID\tREF\tALT\n" + rows)
    with pytest.raises(GenotypeError, match=message):
        read_pvar(path)


def test_read_psam__headers(tmp_path):
    path = tmp_path / "x.psam"
    for text in ("##x\n#FID IID SEX\n1 a 2\n2 b 1\n", "#IID\na\nb\n", "1 a 0 0 1 1\n1 b 0 0 1 1\n"):
        path.write_text(text)
        assert read_psam(path) == ["a", "b"]
    path.write_text("#FID SEX\n1 2\n")
    with pytest.raises(GenotypeError, match="line 1: the header names no IID"):
        read_psam(path)
    path.write_text("#FID IID SEX\n1 a 2\n1 b\n")
    with pytest.raises(GenotypeError, match=r"line 3: wanted 3 fields .* found 2"):
        read_psam(path)


def test_read_sample__the_second_id(tmp_path: Path):
    path = tmp_path / "x.sample"
    path.write_text("ID_1 ID_2 missing sex\n0 0 0 D\nf1 i1 0 1\nf1 i2 0 2\n\n")
    assert read_sample(path) == ["i1", "i2"]
    path.write_text("ID missing\n0 0\ni1 0\ni2 0\n")
    assert read_sample(path) == ["i1", "i2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"x\.sample: wanted two lines of head .*, found an empty file"),
        ("ID_1 ID_2 missing\nf1 i1 0\n", r"wanted two lines of head .*, found ID_1 ID_2 missing / f1 i1 0"),
        ("ID_1 ID_2 missing\n0 0 0\nf1 i1\n", r"line 3: wanted 3 fields \(ID_1 ID_2 missing\), found 2; 1 such lines"),
        ("ID_1 ID_2 missing\n0 0 0\nf1 i1 0\nf2 i1 0\n", "1 IIDs occur more than once, the first is i1"),
    ],
)
def test_read_sample__says_what_is_wrong(tmp_path: Path, text: str, message: str):
    (tmp_path / "x.sample").write_text(text)
    with pytest.raises(GenotypeError, match=message):
        read_sample(tmp_path / "x.sample")
