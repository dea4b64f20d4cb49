"""Names of pages and links, whatever the keys hold."""

from __future__ import annotations

from pathlib import PurePosixPath
from string import ascii_letters, digits
from urllib.parse import unquote, urljoin, urlsplit

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edp_assets.report.names import cell_page, href, organ_page

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
