"""Listing of problems."""

from __future__ import annotations

import pickle

import pytest

from edp_assets.cohort.problems import CohortError, Problem, format_problems, refused


def bad_age(row: int, severity: str = "refused") -> Problem:
    return Problem(severity, "people.csv", f"row {row}", "age as a number", 'age is "x"', "write a number")  # type: ignore[arg-type]


def test_format_problems__names_file_row_wanted_found_and_remedy() -> None:
    text = format_problems([bad_age(17)])
    for part in ("REFUSED (1)", "people.csv", "row 17", "age as a number", 'age is "x"', "write a number"):
        assert part in text


def test_format_problems__many_of_one_kind_are_together_and_none_is_dropped() -> None:
    problems = [bad_age(row) for row in range(2, 42)]
    text = format_problems(problems, limit=3)
    assert "and 37 more like it: row 5; row 6" in text
    assert text.count("write a number") == 1
    words = text.replace(";", " ").replace(":", " ").split()
    assert all(str(row) in words for row in range(2, 42))


def test_format_problems__keeps_what_was_found_where_it_differs() -> None:
    problems = [Problem("note", "a.csv", f"row {i}", "w", f"found {i}", "r") for i in range(6)]
    assert "row 5: found 5" in format_problems(problems, limit=2)


def test_format_problems__every_false_only_counts_the_rest() -> None:
    text = format_problems([bad_age(row) for row in range(2, 42)], every=False)
    assert "and 37 more like it" in text
    assert "row 30" not in text


def test_format_problems__refused_first_then_excluded_then_notes() -> None:
    text = format_problems([bad_age(1, "note"), bad_age(2, "excluded"), bad_age(3)])
    assert text.index("REFUSED") < text.index("EXCLUDED") < text.index("NOTES")


def test_format_problems__long_paths_stay_whole() -> None:
    path = "images/" + "a-b" * 60 + ".nii.gz"
    assert path in format_problems([Problem("excluded", "scans.csv", "row 2", "w", f"no file {path}", "r")])


def test_format_problems__nothing() -> None:
    assert format_problems([]) == "no problems found"


def test_cohort_error__lists_and_holds_its_problems_through_pickling() -> None:
    error = pickle.loads(pickle.dumps(CohortError([bad_age(4)])))
    assert error.problems == [bad_age(4)]
    with pytest.raises(CohortError, match=r"row 4: age is"):
        raise error


def test_refused__keeps_only_these() -> None:
    assert refused([bad_age(1, "note"), bad_age(2)]) == [bad_age(2)]
