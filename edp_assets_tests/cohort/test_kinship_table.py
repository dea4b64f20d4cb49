"""The kinship table: its layouts, what is left out of it, and when a cohort needs one."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from edp_assets.cohort.check import check_cohort
from edp_assets.cohort.config import load_cohort
from edp_assets.cohort.kinship import kinship_needed, read_kinship
from edp_assets.cohort.problems import CohortError, format_problems
from edp_assets.settings import AncestrySettings, Settings

KNOWN = [str(1000001 + i) for i in range(8)]
PAIRS = [("1000001", "1000002", 0.25), ("1000001", "1000003", 0.125)]

LAYOUTS = {
    "ukb_rel.dat": "ID1 ID2 HetHet IBS0 Kinship\n1000002 1000001 0.1 0.0 0.25\n1000001 1000003 0.06 0.01 0.125\n",
    "king.kin0": "FID1\tID1\tFID2\tID2\tN_SNP\tHetHet\tIBS0\tKinship\n"
    "f\t1000001\tg\t1000002\t9\t0.1\t0.0\t0.25\nf\t1000001\tg\t1000003\t9\t0.1\t0.0\t0.125\n",
    "king.kin": "FID\tID1\tID2\tN_SNP\tZ0\tPhi\tHetHet\tIBS0\tKinship\tError\n"
    "f\t1000001\t1000002\t9\t0\t0.25\t0.1\t0\t0.25\t0\nf\t1000001\t1000003\t9\t0\t0.2\t0.1\t0\t0.125\t0\n",
    "plink2.kin0": "#FID1\tIID1\tFID2\tIID2\tNSNP\tHETHET\tIBS0\tKINSHIP\n"
    "f\t1000001\tg\t1000002\t9\t0.1\t0.0\t0.25\nf\t1000001\tg\t1000003\t9\t0.1\t0.0\t0.125\n",
    "plink2_iid.kin0": "#IID1\tIID2\tNSNP\tHETHET\tIBS0\tKINSHIP\n"
    "1000001\t1000002\t9\t0.1\t0\t0.25\n1000001\t1000003\t9\t0.1\t0\t0.125\n",
    "spaces.dat": "  ID1   ID2 Kinship\r\n1000001   1000002  0.25\r\n\r\n1000003 1000001 0.125\r\n",
    "commas.csv": "ID1,ID2,Kinship\n1000001,1000002,0.25\n1000001,1000003,0.125\n",
}


@pytest.fixture
def with_table(cohort_folder: Path, edit: Callable[..., None]) -> Callable[[str, str], Path]:
    """A function that gives the tiny cohort a kinship table."""

    def write(text: str, name: str = "rel.dat") -> Path:
        (cohort_folder / name).write_text(text)
        edit(cohort_folder / "cohort.toml", "[genotypes]\n", f'[genotypes]\nkinship = "{name}"\n')
        return cohort_folder

    return write


@pytest.mark.parametrize("name", LAYOUTS)
def test_read_kinship__every_layout(with_table: Callable[[str, str], Path], name: str) -> None:
    read = read_kinship(load_cohort(with_table(LAYOUTS[name], name)), KNOWN)
    assert read.problems == []
    assert read.table.rows() == PAIRS


def test_read_kinship__gzipped(with_table: Callable[[str, str], Path]) -> None:
    folder = with_table("", "rel.dat.gz")
    (folder / "rel.dat.gz").write_bytes(gzip.compress(LAYOUTS["ukb_rel.dat"].encode()))
    assert read_kinship(load_cohort(folder), KNOWN).table.rows() == PAIRS


def test_read_kinship__others_are_counted_and_a_pair_counts_once(with_table: Callable[[str], Path]) -> None:
    text = (
        LAYOUTS["ukb_rel.dat"]
        + "1000001 1000002 0 0 0.2\n-1 1000002 0 0 0.25\n1000009 -2 0 0 0.25\n1000004 1000004 0 0 0.5\n"
    )
    folder = with_table(text)
    read = read_kinship(load_cohort(folder), KNOWN)
    assert read.table.rows() == PAIRS
    (problem,) = read.problems
    assert problem.severity == "note"
    assert problem.found == "2 of 4 pairs with people who are no participants"
    assert read_kinship(load_cohort(folder), None).table.height == 4
    assert [p.found for p in check_cohort(folder, deep=False)] == [problem.found]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ID1 ID2 HetHet\n1000001 1000002 0.1\n", "the header 'ID1 ID2 HetHet'"),
        ("1000001 1000002 0.1 0 0.25\n", "the header '1000001 1000002 0.1 0 0.25'"),
        ("", "an empty file"),
        ("ID1 ID2 Kinship\n1000001 1000002 high\n", 'row 2: kinship "high"'),
        ("ID1 ID2 Kinship\n1000001 1000002\n", 'row 2: kinship ""'),
        ("ID1 ID2 Kinship\n1000001 1000002 nan\n", 'row 2: kinship "nan"'),
    ],
)
def test_read_kinship__what_cannot_be_used_is_refused(with_table: Callable[[str], Path], text: str, found: str) -> None:
    problems = check_cohort(with_table(text), deep=False)
    assert [p.severity for p in problems] == ["refused"]
    assert found in format_problems(problems)
    assert "ID1, ID2, Kinship" in problems[0].wanted


def test_read_kinship__no_such_file(with_table: Callable[[str], Path]) -> None:
    folder = with_table("x")
    (folder / "rel.dat").rename(folder / "rel.txt")
    with pytest.raises(CohortError, match=r'no file rel\.dat, did you mean "rel\.txt"\?'):
        read_kinship(load_cohort(folder), KNOWN).require()


def test_read_kinship__none_is_no_pairs(cohort_folder: Path) -> None:
    read = read_kinship(load_cohort(cohort_folder), KNOWN)
    assert (read.table.height, read.problems) == (0, [])


def test_kinship_needed__above_so_many_people_before_any_work(
    cohort_folder: Path, edit: Callable[..., None], with_table: Callable[[str], Path]
) -> None:
    toml = cohort_folder / "cohort.toml"
    with toml.open("a") as file:
        file.write("[ancestry]\nmax_people = 7\n")
    (problem,) = check_cohort(cohort_folder, deep=False)
    assert problem.severity == "refused"
    assert problem.wanted.startswith("a kinship table, where there are more than 7 participants")
    assert 'give kinship = "ukb_rel.dat"' in problem.remedy
    edit(toml, "max_people = 7", 'max_people = 7\nmax_kinship = "none"')
    assert check_cohort(cohort_folder, deep=False) == []
    edit(toml, 'max_people = 7\nmax_kinship = "none"', "max_people = 7")
    assert check_cohort(with_table(LAYOUTS["ukb_rel.dat"]), deep=False) == []


def test_kinship_needed__tells_the_hours_of_uk_biobank(cohort_folder: Path) -> None:
    (problem,) = kinship_needed(load_cohort(cohort_folder), 408_961)
    assert "408,961 participants: kinship of all pairs would take about 46 hours on two cores" in problem.found
    assert kinship_needed(load_cohort(cohort_folder), 45_714) == []


def test_settings__nobody_is_left_out_by_the_word_none() -> None:
    assert Settings.from_toml({"ancestry": {"max_kinship": "none"}}).ancestry.max_kinship is None
    assert AncestrySettings().max_kinship == 0.0884
    with pytest.raises(ValueError, match=r"ancestry.max_kinship"):
        Settings.from_toml({"ancestry": {"max_kinship": "nobody"}})
    with pytest.raises(ValueError, match=r"greater than or equal to 0.02"):
        Settings.from_toml({"ancestry": {"max_kinship": 0.0}})
