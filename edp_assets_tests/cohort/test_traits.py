"""PheWAS traits and their dictionary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from edp_assets.cohort.config import Cohort, load_cohort
from edp_assets.cohort.problems import CohortError
from edp_assets.cohort.traits import read_trait_dictionary, read_traits

DICTIONARY = "trait,description,kind,category\nheight,Height,continuous,body\njob,Job,categorical,life\n"


@pytest.fixture
def cohort(cohort_folder: Path, edit: Callable[..., None]) -> Cohort:
    edit(
        cohort_folder / "cohort.toml", "scans =", 'traits = "traits.csv"\ntrait_dictionary = "dictionary.csv"\nscans ='
    )
    (cohort_folder / "traits.csv").write_text("eid,height,job\n1000002,,7\n1000001,170.5,8\n")
    (cohort_folder / "dictionary.csv").write_text(DICTIONARY)
    return load_cohort(cohort_folder)


def test_read_traits__typed_by_the_dictionary(cohort: Cohort) -> None:
    read = read_traits(cohort)
    assert read.problems == []
    assert read.table.schema == {"eid": pl.String, "height": pl.Float64, "job": pl.String}
    assert read.table.rows() == [("1000001", 170.5, "8"), ("1000002", None, "7")]


def test_read_traits__none_in_the_cohort(cohort_folder: Path) -> None:
    cohort = load_cohort(cohort_folder)
    assert read_traits(cohort).require().shape == (0, 1)
    assert read_trait_dictionary(cohort).require().height == 0


def test_read_traits__text_for_a_number_and_two_rows_of_an_eid_are_refused(cohort: Cohort) -> None:
    assert cohort.traits is not None
    cohort.traits.write_text("eid,height,job\n1,tall,7\n2,170,8\n2,171,8\n")
    with pytest.raises(CohortError, match=r'(?s)several rows of one eid.*height is "tall"'):
        read_traits(cohort).require()


def test_read_traits__what_the_dictionary_and_the_table_lack_is_noted(cohort: Cohort) -> None:
    assert cohort.traits is not None
    cohort.traits.write_text("eid,heigth,job\n1,170,7\n")
    notes = [p.found for p in read_traits(cohort).problems]
    assert notes == [
        'trait "heigth" has no row, did you mean "height"?', 'no column "height", did you mean "heigth"?'
    ]  # fmt: skip


def test_read_trait_dictionary__wrong_kind_and_repeated_trait_are_refused(cohort: Cohort) -> None:
    assert cohort.trait_dictionary is not None
    cohort.trait_dictionary.write_text(DICTIONARY + "job,Job,number,life\n")
    with pytest.raises(CohortError, match=r'(?s)row 4: kind "number".*row 4: trait "job" again'):
        read_trait_dictionary(cohort).require()
