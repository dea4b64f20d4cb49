"""Factors of the embeddings: where they are found, how they are typed, and what is told of unknown ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from edp_assets.cohort.check import check_cohort
from edp_assets.cohort.config import load_cohort
from edp_assets.cohort.factors import read_factors
from edp_assets.cohort.problems import CohortError

TRAITS = "eid,bmd,job,visits,handed,bmi\n1000001,1.2,8,3,left,99\n1000003,,7,4,right,99\n1000002,0.9,7,,,99\n"


@pytest.fixture
def adjusted_for(cohort_folder: Path, edit: Callable[..., None]) -> Callable[..., Path]:
    """A function that gives the cohort traits, and the liver these factors."""

    def write(*factors: str, traits: bool = True) -> Path:
        edit(cohort_folder / "cohort.toml", "[organs.liver]", f"[organs.liver]\nadjust_for = {list(factors)}")
        if traits:
            named = 'traits = "traits.csv"\ntrait_dictionary = "dictionary.csv"\nscans ='
            edit(cohort_folder / "cohort.toml", "scans =", named)
            (cohort_folder / "traits.csv").write_text(TRAITS)
            (cohort_folder / "dictionary.csv").write_text(
                "trait,description,kind,category\nbmd,Density,continuous,bone\njob,Job,categorical,life\n"
            )
        return cohort_folder

    return write


def read(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return each factor's rows: eid, value, level."""
    table = read_factors(load_cohort(folder), "liver")
    assert table["eid"].dtype == pl.String
    return {
        name: table.filter(factor=name).select("eid", "value", "level").rows()
        for name in table["factor"].unique(maintain_order=True)
    }


def test_read_factors__covariates_are_typed_as_the_participants_are(adjusted_for: Callable[..., Path]) -> None:
    found = read(adjusted_for("bmi", "imaging_centre", "genotyping_array", traits=False))
    assert list(found) == ["bmi", "imaging_centre", "genotyping_array"]
    assert found["bmi"][0] == ("1000001", 22.25, None)
    assert found["imaging_centre"][:2] == [("1000001", None, "11026"), ("1000002", None, "11025")]
    assert len(found["genotyping_array"]) == 8


def test_read_factors__traits_are_what_the_dictionary_or_their_values_say(adjusted_for: Callable[..., Path]) -> None:
    found = read(adjusted_for("bmd", "job", "visits", "handed", "bmi"))
    assert found["bmd"] == [("1000001", 1.2, None), ("1000002", 0.9, None)]
    assert [level for _, _, level in found["job"]] == ["8", "7", "7"]
    assert [value for _, value, _ in found["visits"]] == [3.0, 4.0]
    assert found["handed"] == [("1000001", None, "left"), ("1000003", None, "right")]
    assert found["bmi"][0][1] == 22.25  # the participants' own, not the trait of that name


def test_read_factors__dates_are_days_and_age_squared_is_about_the_mean(adjusted_for: Callable[..., Path]) -> None:
    found = read(adjusted_for("imaging_date", "age_squared", traits=False))
    days = [value for _, value, _ in found["imaging_date"]]
    assert [day - days[0] for day in days] == list(range(8))
    assert [value for _, value, _ in found["age_squared"]] == [(k - 3.5) ** 2 for k in range(8)]


def test_read_factors__components_of_embeddings_are_not_read(adjusted_for: Callable[..., Path]) -> None:
    assert read(adjusted_for("embedding_pc1", traits=False)) == {}


def test_read_factors__an_unknown_name_is_refused_with_what_there_is(adjusted_for: Callable[..., Path]) -> None:
    folder = adjusted_for("bmdx")
    with pytest.raises(CohortError, match=r'(?s)adjust_for names "bmdx", did you mean "bmd"') as refused:
        read(folder)
    (problem,) = refused.value.problems
    assert problem.wanted.startswith("one of embedding_pc1, embedding_pc2, ...; of the participants: age, sex, bmi,")
    assert problem.wanted.endswith("of the traits: bmd, job, visits, handed, bmi")
    (told,) = [p for p in check_cohort(folder, deep=False) if p.severity == "refused"]
    assert told == problem


def test_check_cohort__an_unknown_factor_without_traits(adjusted_for: Callable[..., Path]) -> None:
    (told,) = [p for p in check_cohort(adjusted_for("bmd", traits=False), deep=False) if p.severity == "refused"]
    assert (told.file, told.where) == ("cohort.toml", "[organs.liver]")
    assert told.wanted.endswith("pc10; there is no table of traits")


def test_check_cohort__a_trait_as_factor_is_no_problem(adjusted_for: Callable[..., Path]) -> None:
    problems = check_cohort(adjusted_for("bmd", "bmi", "embedding_pc2"), deep=False)
    assert [p for p in problems if p.severity == "refused"] == []
