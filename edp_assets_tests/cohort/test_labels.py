"""ICD-10 codes."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edp_assets.cohort.labels import case_table, choose_codes, normalise_code, normalise_codes, roll_up
from edp_assets.settings import LabelSettings

codes = st.from_regex(r"[A-Z][0-9][0-9A-Z][0-9A-Z]{0,4}", fullmatch=True)


@given(codes, st.booleans(), st.booleans(), st.sampled_from(["", " ", "\t", "  "]))
def test_normalise_code__dot_case_and_blanks_do_not_matter(code: str, dot: bool, lower: bool, blank: str) -> None:
    written = f"{code[:3]}.{code[3:]}" if dot else code
    written = blank + (written.lower() if lower else written) + blank
    assert normalise_code(written) == code


@given(st.lists(st.one_of(codes, st.text(max_size=9), st.from_regex(r"\s?[A-Za-z][0-9]{2}\.?[0-9]?", fullmatch=True))))
def test_normalise_codes__is_normalise_code_of_each_and_idempotent(texts: list[str]) -> None:
    spelled = normalise_codes(pl.Series("icd10", texts, dtype=pl.String))
    assert spelled.to_list() == [normalise_code(text) for text in texts]
    sound = spelled.drop_nulls()
    assert normalise_codes(sound).equals(sound)


@pytest.mark.parametrize(
    "text", ["", "K", "K7", "76", "K.76", "K7.60", "K76.0.", "K76|E11", "K7612345", "Kx6", "K76 0", "ı50"]
)
def test_normalise_code__malformed(text: str) -> None:
    assert normalise_code(text) is None


@given(st.lists(codes, min_size=1), st.integers(3, 7), st.integers(3, 7))
def test_roll_up__coarser_of_finer_is_coarser(texts: list[str], a: int, b: int) -> None:
    series = pl.Series("icd10", texts)
    assert roll_up(roll_up(series, max(a, b)), min(a, b)).equals(roll_up(series, min(a, b)))
    assert all(text.startswith(rolled) for text, rolled in zip(texts, roll_up(series, a), strict=True))


@pytest.mark.parametrize("level", [2, 8])
def test_roll_up__level_out_of_range(level: int) -> None:
    with pytest.raises(ValueError, match="wanted 3 to 7"):
        roll_up(pl.Series(["K76"]), level)


def test_roll_up__to_blocks_and_chapters() -> None:
    codes = pl.Series("icd10", ["K760", "I50", "C7A", "Z99", "A99"])
    assert roll_up(codes, "block").to_list() == ["K70-K77", "I30-I52", "C76-C80", "Z80-Z99", "A92-A99"]
    assert roll_up(codes, "chapter").to_list() == ["XI", "IX", "II", "XXI", "I"]


def test_case_table__a_code_that_stands_in_no_block_counts_for_none() -> None:
    diagnoses = pl.DataFrame({"eid": ["1", "2"], "icd10": ["K760", "B999"]})
    assert case_table(diagnoses, "block").rows() == [("B99-B99", "2"), ("K70-K77", "1")]
    nowhere = pl.DataFrame({"eid": ["1"], "icd10": ["E95"]})  # between two blocks of WHO's
    assert case_table(nowhere, "block").rows() == []


def test_choose_codes__blocks_and_chapters_are_asked_for_by_name() -> None:
    table = case_table(DIAGNOSES, "block")
    by_block = LabelSettings(codes=("k70-k77", "K76"), level="block", min_cases=1)
    chosen, (problem,) = choose_codes(table, {"1"}, by_block)
    assert chosen == ["K70-K77"]
    assert problem.remedy == 'write "K70-K77", or set [labels] level = 3'
    by_chapter = LabelSettings(codes=("XI",), level="chapter", min_cases=1)
    assert choose_codes(case_table(DIAGNOSES, "chapter"), {"1"}, by_chapter) == (["XI"], [])


DIAGNOSES = pl.DataFrame(
    {"eid": ["1", "1", "2", "3", "4", "5"], "icd10": ["K760", "K769", "K76", "I500", "I500", "K760"]}
)


def test_case_table__counts_each_person_once() -> None:
    table = case_table(DIAGNOSES, 3)
    assert table.rows() == [("I50", "3"), ("I50", "4"), ("K76", "1"), ("K76", "2"), ("K76", "5")]
    assert case_table(DIAGNOSES, 4).filter(icd10="K760")["eid"].to_list() == ["1", "5"]


def test_choose_codes__those_with_enough_imaged_cases() -> None:
    chosen, problems = choose_codes(case_table(DIAGNOSES, 3), ["1", "2", "3"], LabelSettings(min_cases=2))
    assert chosen == ["K76"]
    assert [problem.severity for problem in problems] == ["note"]
    assert "1 codes with fewer" in problems[0].found


def test_choose_codes__asked_for_keep_their_order_once_and_any_spelling() -> None:
    settings = LabelSettings(codes=("k76", "I50", "K76"), min_cases=1)
    assert choose_codes(case_table(DIAGNOSES, 3), pl.Series(["1", "3"]), settings) == (["K76", "I50"], [])


def test_choose_codes__too_few_cases_are_excluded_with_counts() -> None:
    settings = LabelSettings(codes=("K76", "I50", "Z99"), min_cases=2)
    chosen, problems = choose_codes(case_table(DIAGNOSES, 3), {"1", "2", "3"}, settings)
    assert chosen == ["K76"]
    assert {p.severity for p in problems} == {"excluded"}
    assert ["'I50'" in problems[0].where, "1 of its 2 cases" in problems[0].found] == [True, True]
    assert "0 of its 0 cases" in problems[1].found


def test_choose_codes__code_finer_than_the_level() -> None:
    settings = LabelSettings(codes=("K76.0",), min_cases=1)
    _, (problem,) = choose_codes(case_table(DIAGNOSES, 3), {"1"}, settings)
    assert problem.remedy == 'write "K76", or set [labels] level = 4'


@pytest.mark.parametrize("code", ["K76/..", "", "K-6", "K76 I50", "Ä12", "."])
def test_choose_codes__characters_outside_a_code_are_refused(code: str) -> None:
    chosen, (problem,) = choose_codes(case_table(DIAGNOSES, 3), {"1"}, LabelSettings(codes=(code,), min_cases=1))
    assert chosen == []
    assert problem.severity == "refused"


def test_choose_codes__nobody_imaged() -> None:
    chosen, (problem,) = choose_codes(case_table(DIAGNOSES, 3), [], LabelSettings())
    assert (chosen, problem.severity) == ([], "excluded")
