"""The published phecode tables: their layouts, line ends, and what is refused."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from edp_assets.cohort.check import check_cohort as check
from edp_assets.cohort.config import Cohort, load_cohort
from edp_assets.cohort.phecodes import read_phecode_map
from edp_assets.cohort.problems import CohortError, format_problems
from edp_assets.science.phenome.phecodes import PhecodeMap

MAP = "ICD10,ICD10 String,PHECODE,Phenotype,Excl. Phecodes,Excl. Phenotypes\n"
ROWS = 'K76.0,"Fatty, liver",571.50,Fatty liver,570-573.99,x\nA00,Cholera,008,Infection,001-009.99,x\nZ99,x,,,,\n'


@pytest.fixture
def cohort(cohort_folder: Path, edit: Callable[..., None]) -> Cohort:
    edit(cohort_folder / "cohort.toml", "scans =", 'phecode_map = "map.csv"\nscans =')
    (cohort_folder / "map.csv").write_text(MAP + ROWS)
    return load_cohort(cohort_folder)


def read(cohort: Cohort) -> PhecodeMap:
    found, problems = read_phecode_map(cohort)
    if problems:
        raise CohortError(problems)
    assert found is not None
    return found


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_read_phecode_map__of_any_line_end(cohort: Cohort, end: str) -> None:
    assert cohort.phecode_map is not None
    cohort.phecode_map.write_bytes((MAP + ROWS).replace("\n", end).encode())
    found = read(cohort)
    assert found.codes.rows() == [("K760", "571.5"), ("A00", "8"), ("Z99", None)]
    assert found.definitions.rows() == [
        ("571.5", "Fatty liver", None, None, "570-573.99", True), ("8", "Infection", None, None, "001-009.99", True)
    ]  # fmt: skip


def test_read_phecode_map__definitions_and_exclusions(
    cohort: Cohort, cohort_folder: Path, edit: Callable[..., None]
) -> None:
    names = 'phecode_definitions = "definitions.csv.gz"\nphecode_exclusions = "exclusions.csv"\nscans ='
    edit(cohort_folder / "cohort.toml", "scans =", names)
    definitions = (
        "phecode,phenotype,phecode_exclude_range,sex,rollup,leaf,category_number,category\n"
        "571.5,Chronic fatty liver,570-573.99,Both,1,1,10,digestive\n"
        "185,Prostate cancer,185-187.99,Male,0,1,2,neoplasms\n"
    )
    (cohort_folder / "definitions.csv.gz").write_bytes(gzip.compress(definitions.encode()))
    (cohort_folder / "exclusions.csv").write_bytes(b"phewas_code,exclusion_criteria\r571.5,571.8\r571.5,572\r")
    found = read(load_cohort(cohort_folder))
    assert found.definitions.rows() == [
        ("571.5", "Chronic fatty liver", "digestive", None, "570-573.99", True),
        ("185", "Prostate cancer", "neoplasms", 1.0, "185-187.99", False),
        ("8", "Infection", None, None, "001-009.99", True),
    ]
    assert found.excluded == {"571.5": {"571.8", "572"}}


def test_read_phecode_map__none_in_the_cohort(cohort_folder: Path) -> None:
    assert read_phecode_map(load_cohort(cohort_folder)) == (None, [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("code,phecode\nK76,571\n", r"(?s)map\.csv.*found:  header: code, phecode.*wanted: a column icd10"),
        (MAP + "K76,x,GU_582,y,,\n", r"(?s)found:  'GU_582'.*wanted: phecodes 1\.2, as numbers such as 250\.2"),
        (MAP + "K76,x,571,y,liver,\n", r"(?s)found:  phecode 571: 'liver'.*wanted: exclusions as 249-250\.99"),
        (MAP + "K76,x,571,y,1-2,,,,,\n", r"(?s)map\.csv.*wanted: a table of text"),
    ],
)
def test_read_phecode_map__what_is_no_map_is_refused(cohort: Cohort, text: str, told: str) -> None:
    assert cohort.phecode_map is not None
    cohort.phecode_map.write_text(text)
    with pytest.raises(CohortError, match=told):
        read(cohort)


def test_check__tells_of_a_map_that_is_not_there(cohort: Cohort) -> None:
    assert cohort.phecode_map is not None
    cohort.phecode_map.unlink()
    problems = [p for p in check(cohort.folder, deep=False) if p.file == "map.csv"]
    assert "no file map.csv" in format_problems(problems)
    assert [p.severity for p in problems] == ["refused"]
