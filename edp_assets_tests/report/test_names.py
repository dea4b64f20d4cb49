"""Names of pages and links, whatever the keys hold; and cells and rows of tables."""

from __future__ import annotations

from pathlib import PurePosixPath
from string import ascii_letters, digits
from urllib.parse import unquote, urljoin, urlsplit

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edp_assets.report.html import _cell
from edp_assets.report.names import cell_page, href, organ_page
from edp_assets.report.overview import _hits_first

ORGAN = st.text(ascii_letters + digits + "_-", min_size=1, max_size=20)
CODE = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=80)
BUSY = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@BUSY
@given(ORGAN, CODE, ORGAN, CODE)
def test_href__leads_from_any_page_to_any_other(organ: str, code: str, other: str, other_code: str) -> None:
    page, target = cell_page(organ, code), cell_page(other, other_code)
    base = PurePosixPath("/a report") / page
    found = urlsplit(urljoin(base.as_uri(), href(page, target, "locus-1")))
    assert PurePosixPath(unquote(found.path)) == PurePosixPath("/a report") / target
    assert not set("<>\"' ") & set(href(page, target))


@BUSY
@given(ORGAN, CODE)
def test_cell_page__stays_in_the_folder_of_its_organ(organ: str, code: str) -> None:
    path = PurePosixPath(cell_page(organ, code))
    assert path.parent == PurePosixPath(organ_page(organ)).parent / "codes"
    assert path.suffix == ".html"
    assert len(path.name.encode()) <= 255


@BUSY
@given(st.sets(CODE, min_size=2, max_size=8))
def test_cell_page__two_codes_never_share_one(codes: set[str]) -> None:
    assert len({cell_page("liver", code) for code in codes}) == len(codes)


@pytest.mark.parametrize(
    ("value", "shown", "key"),
    [
        (float("inf"), "inf", "Infinity"), (float("-inf"), "-inf", "-Infinity"), (float("nan"), "", None),
        (1.5, "1.5", "1.5"), (12, "12", "12"), (None, "", None),
    ],
)  # fmt: skip
def test_cell__is_sorted_by_what_javascript_reads_as_its_number(value: object, shown: str, key: str | None) -> None:
    assert _cell(value) == (shown, key)


def test_hits_first__of_thousands_of_rows_those_with_hits_are_at_the_top() -> None:
    rows = {"icd10": ["A", "B", "C", "D"], "selected": [9, 1, 2, 3]}
    genes = pl.DataFrame({**rows, "classifier": [0, 3, None, 0], "clustering": [0, None, 1, 0], "island": [0, 0, 3, 0]})
    assert _hits_first(genes)["icd10"].to_list() == ["C", "B", "A", "D"]
    assert _hits_first(genes.drop("selected"))["icd10"].to_list() == ["B", "C", "A", "D"]
    assert _hits_first(pl.DataFrame()).is_empty()
