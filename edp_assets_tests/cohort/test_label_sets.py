"""Binary labels beside ICD-10: both table layouts, what is wrong in them, and which become phenotypes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edp_assets.cohort.check import check_cohort
from edp_assets.cohort.config import load_cohort
from edp_assets.cohort.label_sets import choose_labels, label_set, read_label_sets
from edp_assets.cohort.problems import CohortError
from edp_assets.cohort.reading import Read

SET = '[labels.sets.medication]\ntable = "medication.csv"\nmin_cases = 2\n[organs.liver]'
KNOWN = {str(1000001 + i) for i in range(8)}


@pytest.fixture
def read(cohort_folder: Path, edit: Callable[..., None]) -> Callable[[str], Read]:
    """A function that reads a medication table of a given text."""
    edit(cohort_folder / "cohort.toml", "[organs.liver]", SET)

    def read_text(text: str) -> Read:
        (cohort_folder / "medication.csv").write_text(text)
        return read_label_sets(load_cohort(cohort_folder), KNOWN)

    return read_text


LONG = "eid,label\n1000002,metformin\n1000001,metformin\n1000001,metformin\n1000003,insulin\n"
WIDE = "eid,metformin,insulin\n1000001,1,0\n1000002,1,\n1000003,0,1.0\n1000004,0,0\n"


def test_read_label_sets__long_and_wide_say_the_same(read: Callable[[str], Read]) -> None:
    rows = [
        ("medication.insulin", "1000003", "medication"),
        ("medication.metformin", "1000001", "medication"),
        ("medication.metformin", "1000002", "medication"),
    ]
    long, wide = read(LONG), read(WIDE)
    assert long.table.rows() == wide.table.rows() == rows
    assert long.problems == []
    assert [(p.severity, p.found) for p in wide.problems] == [("note", "1 empty fields")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("eid,metformin\n1000001,2\n", 'metformin is "2"'),
        ("eid,metformin\n1000001,yes\n", 'metformin is "yes"'),
        ("eid,metformin\n1000001,1\n1000001,0\n", "several rows of one eid"),
        ("eid,met/../formin\n1000001,1\n", "met/../formin"),
        ("eid,label\n1000001,met formin\n", '"met formin"'),
        ("eid,label\n1000001,\n", '""'),
        ("eid\n1000001\n", "eid alone"),
        ("person,label\n1000001,x\n", 'no column "eid"'),
    ],
)
def test_read_label_sets__what_is_wrong_is_refused_with_its_row(
    read: Callable[[str], Read], text: str, found: str
) -> None:
    result = read(text)
    assert any(p.severity == "refused" and found in p.found for p in result.problems), result.problems
    with pytest.raises(CohortError):
        result.require()


def test_read_label_sets__people_unknown_are_counted(read: Callable[[str], Read]) -> None:
    result = read("eid,label\n1000001,metformin\n7,metformin\n")
    assert result.table["eid"].to_list() == ["1000001"]
    assert result.excluded["eid"].to_list() == ["7"]


def test_read_label_sets__none_is_an_empty_table(cohort_folder: Path) -> None:
    assert read_label_sets(load_cohort(cohort_folder), KNOWN).table.height == 0


def test_choose_labels__enough_imaged_or_told(read: Callable[[str], Read], cohort_folder: Path) -> None:
    table = read(LONG).table
    settings = load_cohort(cohort_folder).settings.labels
    assert choose_labels(table, ["1000001", "1000002"], settings) == (["medication.metformin"], [])
    chosen, (problem,) = choose_labels(table, ["1000003"], settings)
    assert (chosen, problem.severity) == ([], "excluded")


def test_check_cohort__tells_of_a_label_that_is_not_there(
    read: Callable[[str], Read], cohort_folder: Path, edit: Callable[..., None]
) -> None:
    read(LONG)
    edit(cohort_folder / "cohort.toml", 'table = "medication.csv"', 'table = "medication.csv"\nlabels = ["metformine"]')
    found = [p for p in check_cohort(cohort_folder, deep=False) if "labels.sets" in p.where]
    assert [p.severity for p in found] == ["excluded"]
    assert "did you mean" in found[0].found


def test_load_cohort__a_set_without_a_table_or_of_a_wrong_name(cohort_folder: Path, edit: Callable[..., None]) -> None:
    edit(cohort_folder / "cohort.toml", "[organs.liver]", "[labels.sets.medication]\n[organs.liver]")
    with pytest.raises(CohortError, match=r"medication\.table"):
        load_cohort(cohort_folder)
    edit(cohort_folder / "cohort.toml", "[labels.sets.medication]", '[labels.sets."a.b"]\ntable = "x.csv"')
    with pytest.raises(CohortError, match="String should match pattern"):
        load_cohort(cohort_folder)


@given(st.text(min_size=1, max_size=5))
def test_label_set__of_codes_and_others(label: str) -> None:
    assert label_set("I30-I52") == label_set("K76") == "icd10"
    assert label_set(f"medication.{label}") == "medication"


def test_read_label_sets__reads_parquet_numbers(cohort_folder: Path, edit: Callable[..., None]) -> None:
    edit(cohort_folder / "cohort.toml", "[organs.liver]", SET.replace(".csv", ".parquet"))
    pl.DataFrame({"eid": [1000001, 1000002], "statin": [1, 0]}).write_parquet(cohort_folder / "medication.parquet")
    read = read_label_sets(load_cohort(cohort_folder), KNOWN)
    assert read.table.rows() == [("medication.statin", "1000001", "medication")]
