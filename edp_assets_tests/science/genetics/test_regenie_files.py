"""regenie's files: published results read as pandas reads them, inputs written as its documentation has them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from edp_assets.science.genetics.genotypes import GenotypeError, open_genotypes
from edp_assets.science.genetics.regenie_files import (
    RegenieFileError,
    own_sample,
    read_people,
    read_step2,
    write_keep,
    write_sample,
    write_table,
)
from edp_assets_tests.science.genetics.bgen_writer import hard_calls, write_bgen

HEAD = (
    "CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ A1FREQ_CASES A1FREQ_CONTROLS INFO N N_CASES N_CONTROLS "
    "TEST BETA SE CHISQ LOG10P EXTRA"
)
ROWS = [
    "1 100 rs1 G A 0.25 0.3 0.2 0.9 480 80 400 ADD 0.5 0.1 25 6.24 NA",
    "1 100 rs1 G A 0.25 0.3 0.2 0.9 480 80 400 DOM 0.6 0.1 36 8.7 NA",
    "1 200 . G AT 0.25 0.3 0.2 NA 480 80 400 ADD 0.5 0.1 NA NA TEST_FAIL",
    "23 300 NA C T 1e-05 0 2e-05 1 500 100 400 ADD -1e-3 0.1 0.0001 0.0035 NA",
    "23 310 . C T 0.5 0.5 0.5 1 500 100 400 ADD NA NA NA NA NA",
    "23 320 . C T 0.5 0.5 0.5 1 500 100 400 ADD 0.1 0.1 1 330.5 NA",
]


def write(path: Path, lines: list[str], end: str = "\n") -> Path:
    text = ("\n".join(lines) + end).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.mark.parametrize("name", ["test_lin_out_Y1", "test_lin_out_Y2", "test_bin_out_firth_Y1"])
@pytest.mark.parametrize("suffix", [".regenie", ".regenie.gz"])
def test_read_step2__published_results_are_as_pandas_reads_them(
    regenie: Path, tmp_path: Path, name: str, suffix: str
) -> None:
    published = regenie / f"{name}.regenie"
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(gzip.compress(published.read_bytes()) if suffix.endswith("gz") else published.read_bytes())
    counts: dict[str, int] = {}
    found = pl.concat(list(read_step2(path, counts, n=500)))
    expected = pd.read_csv(published, sep=" ", dtype={"CHROM": str, "ID": str, "ALLELE0": str, "ALLELE1": str})
    assert counts == {"variants_read": len(expected), "other_tests": 0, "test_failed": 0}
    assert found.columns == [
        "chromosome", "base_pair_location", "effect_allele", "other_allele", "effect_allele_frequency", "beta",
        "standard_error", "neg_log_10_p_value", "rsid", "n",
    ]  # fmt: skip
    pairs = {
        "chromosome": "CHROM", "base_pair_location": "GENPOS", "effect_allele": "ALLELE1", "other_allele": "ALLELE0",
        "effect_allele_frequency": "A1FREQ", "beta": "BETA", "standard_error": "SE", "neg_log_10_p_value": "LOG10P",
        "rsid": "ID",
    }  # fmt: skip
    for ours, theirs in pairs.items():
        assert found[ours].to_list() == expected[theirs].tolist(), ours
    assert found["n"].unique().to_list() == [500]


def test_read_step2__without_n_in_the_file_or_the_call_it_is_null(regenie: Path) -> None:
    frame = next(read_step2(regenie / "test_lin_out_Y1.regenie", {}))
    assert frame["n"].null_count() == frame.height == 1000


@pytest.mark.parametrize("suffix", [".regenie", ".regenie.gz"])
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_read_step2__failed_and_other_tests_are_counted(tmp_path: Path, suffix: str, rows: int) -> None:
    counts: dict[str, int] = {"variants_read": 10}
    frames = list(read_step2(write(tmp_path / f"a{suffix}", [HEAD, *ROWS]), counts, rows=rows))
    assert counts == {"variants_read": 16, "other_tests": 1, "test_failed": 2}
    assert all(0 < frame.height <= rows for frame in frames)
    found = pl.concat(frames)
    assert found.rows() == [
        ("1", 100, "A", "G", 0.25, 0.5, 0.1, 6.24, "rs1", 480),
        ("X", 300, "T", "C", 1e-5, -1e-3, 0.1, 0.0035, "NA", 500),
        ("X", 320, "T", "C", 0.5, 0.1, 0.1, 330.5, None, 500),
    ]


UNDERFLOWED = ["1 100 rs1 G A 0.25 500 ADD 0.5 0.01 2500 inf", "1 110 rs2 G A 0.25 500 ADD 0.5 0.1 25 6.24"]
INFINITE = ["1 120 rs3 G A 0.25 500 ADD 0.5 0 inf inf", "1 130 rs4 G A 0.25 500 ADD inf 0.1 25 6.24",
            "1 140 rs5 G A 0.25 500 ADD 0.5 0.1 25 -inf", "1 150 rs6 G A 0.25 500 ADD NA NA NA inf"]  # fmt: skip


@pytest.mark.parametrize("statistic", ["CHISQ", "OTHER"])  # of a file without it: beta over its error
def test_read_step2__a_p_that_underflowed_is_that_of_its_statistic_and_no_other_infinity_is_let_in(
    tmp_path: Path, statistic: str
) -> None:
    head = f"CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ N TEST BETA SE {statistic} LOG10P"
    counts: dict[str, int] = {}
    found = pl.concat(list(read_step2(write(tmp_path / "a.regenie", [head, *UNDERFLOWED, *INFINITE]), counts)))
    # -log10 of erfc(50 / sqrt(2)), which is 0 in a double, by mpmath.
    assert found["neg_log_10_p_value"].to_list() == [pytest.approx(544.665306, abs=1e-5), 6.24]
    assert found["rsid"].to_list() == ["rs1", "rs2"]
    assert counts == {"variants_read": 6, "other_tests": 0, "test_failed": 4}


@pytest.mark.parametrize("rows", [20_000, 131_072])
def test_read_step2__frames_are_bounded_and_keep_the_order(tmp_path: Path, rows: int) -> None:
    lines = [f"1 {i} rs{i} G A 0.25 0.3 0.2 0.9 480 80 400 ADD 0.5 0.1 25 6.24 NA" for i in range(250_000)]
    frames = list(read_step2(write(tmp_path / "a.regenie", [HEAD, *lines]), {}, rows=rows))
    assert [frame.height for frame in frames[:-1]] == [rows] * (len(frames) - 1)
    assert len(frames) == -(-250_000 // rows)
    assert pl.concat(frames)["base_pair_location"].to_list() == list(range(250_000))


def test_read_step2__a_header_alone_is_no_variant(tmp_path: Path) -> None:
    counts: dict[str, int] = {}
    for name in ("a.regenie", "a.regenie.gz"):
        assert list(read_step2(write(tmp_path / name, [HEAD]), counts)) == []


@pytest.mark.parametrize("cut", [1, 2, 30, 70])
@pytest.mark.parametrize("suffix", [".regenie", ".regenie.gz"])
def test_read_step2__a_file_that_is_cut_off_is_refused(tmp_path: Path, cut: int, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", [HEAD, *ROWS])
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(RegenieFileError, match=r"cut off.*run regenie again"):
        list(read_step2(path, {}))


def test_read_step2__other_layouts_are_refused(tmp_path: Path) -> None:
    combined = write(tmp_path / "all.regenie", ["CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ N TEST BETA.Y1 SE.Y1"])
    with pytest.raises(RegenieFileError, match=r"one phenotype a file; BETA, SE, LOG10P not found"):
        list(read_step2(combined, {}))
    with pytest.raises(RegenieFileError, match=r"is missing: wanted regenie's results"):
        list(read_step2(tmp_path / "none.regenie", {}))
    (tmp_path / "empty.regenie").touch()
    with pytest.raises(RegenieFileError, match="it is empty"):
        list(read_step2(tmp_path / "empty.regenie", {}))
    with pytest.raises(RegenieFileError, match="cut off or damaged"):
        list(read_step2(write(tmp_path / "word.regenie", [HEAD, ROWS[0].replace("6.24", "high")]), {}))


def test_read_people__fid_and_iid_of_every_format(regenie: Path, tmp_path: Path) -> None:
    fam = pd.read_csv(regenie / "example.fam", sep=r"\s+", header=None, dtype=str)
    for suffix in (".bed", ".pgen"):
        people = read_people(regenie / f"example{suffix}")
        assert people["FID"].to_list() == fam[0].tolist()
        assert people["IID"].to_list() == fam[1].tolist()
    assert read_people(regenie / "example.bgen").equals(read_people(regenie / "example.bed"))  # FID = IID in both
    bgen = write_bgen(tmp_path / "a.bgen", hard_calls(np.array([[0.0, 1.0]])), ["x", "y"])
    assert own_sample(bgen) is None
    assert read_people(bgen).rows() == [("x", "x"), ("y", "y")]
    sample = tmp_path / "a.sample"
    sample.write_text("ID_1 ID_2 missing\n0 0 0\nf1 x 0\nf2 y 0\n")
    assert own_sample(bgen) == sample
    assert read_people(bgen).rows() == [("f1", "x"), ("f2", "y")]
    sample.write_text("ID missing\n0 0\nx 0\ny 0\n")  # read here, refused by regenie
    assert own_sample(bgen) is None
    assert read_people(bgen).rows() == [("x", "x"), ("y", "y")]


def test_read_people__a_psam_without_fid_is_refused_as_regenie_does(regenie: Path, tmp_path: Path) -> None:
    for suffix in (".pgen", ".pvar", ".psam"):
        (tmp_path / f"e{suffix}").write_bytes((regenie / f"example{suffix}").read_bytes())
    lines = (regenie / "example.psam").read_text().splitlines()
    (tmp_path / "e.psam").write_text("\n".join(line.split("\t", 1)[1] for line in lines).replace("IID", "#IID", 1))
    with pytest.raises(GenotypeError, match=r"wants a header of #FID, IID and a further column, found #IID SEX"):
        read_people(tmp_path / "e.pgen")


def test_write_table__is_the_documented_layout_and_loses_no_digit(tmp_path: Path) -> None:
    people = pl.DataFrame({"FID": ["f", "g", "h"], "IID": ["a", "b", "c"]})
    values = [0.1 + 0.2, 1 / 3, None]
    write_table(tmp_path / "p", people, pl.DataFrame({"Y1": values, "Y2": [1, 0, 1], "Y3": [np.nan, 1e-300, 2.0]}))
    lines = (tmp_path / "p").read_text().splitlines()
    assert lines[0] == "FID IID Y1 Y2 Y3"
    assert lines[3] == "h c NA 1.0 2.0"
    read = pd.read_csv(tmp_path / "p", sep=" ", na_values="NA", float_precision="round_trip")
    assert read["Y1"].tolist()[:2] == values[:2]
    assert read["Y3"].isna().tolist() == [True, False, False]
    write_keep(tmp_path / "k", people)
    assert (tmp_path / "k").read_text() == "f a\ng b\nh c\n"


def test_write_table__refuses_what_regenie_misreads(tmp_path: Path) -> None:
    people = pl.DataFrame({"FID": ["f"], "IID": ["a"]})
    with pytest.raises(RegenieFileError, match="column names without white space, found 'Y 1'"):
        write_table(tmp_path / "p", people, pl.DataFrame({"Y 1": [1.0]}))
    with pytest.raises(RegenieFileError, match="Y1 is infinite for 1 people"):
        write_table(tmp_path / "p", people, pl.DataFrame({"Y1": [np.inf]}))


def test_write_sample__is_read_as_the_bgen_s_people(tmp_path: Path) -> None:
    bgen = write_bgen(tmp_path / "a.bgen", hard_calls(np.array([[0.0, 1.0]])), ["x", "y"])
    write_sample(tmp_path / "a.sample", read_people(bgen)["IID"].to_list())
    with open_genotypes(bgen) as file:
        assert file.sample_ids == ["x", "y"]
    assert own_sample(bgen) == tmp_path / "a.sample"
