"""The report on paper: printed as soon as a page is loaded, everything is there and nothing is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edp_assets_tests.report.watched import Watched

pytestmark = pytest.mark.slow

PAGES = ("index.html", "evidence.html", "organs/liver/index.html", "organs/liver/codes/K76.html")
WATCH = """addEventListener("afterprint", () => {
    const page = document.querySelector("main").getBoundingClientRect();
    const fits = (each) => {
        const { left, right, width } = each.getBoundingClientRect();
        return width > 100 && left >= page.left && right <= page.right + 1;
    };
    const inked = (canvas) => new Set(new Uint32Array(
        canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size > 3;
    const told = (each) => [each.id, [...each.querySelectorAll(".printed")].map((at) => [inked(at), fits(at)])];
    window.onPaper = {
        width: page.width, folded: document.querySelectorAll("details:not([open])").length,
        plots: [...document.querySelectorAll(".plot")].map(told),
        tables: [...document.querySelectorAll("table")].map(fits),
        heads: [...document.querySelectorAll("th")].map((each) => getComputedStyle(each.firstElementChild).display),
    };
});"""
"""Notes what was on paper: it comes before the page's own script, which then makes it one for the screen again."""


def printed(browser: Watched, report: Path, path: str) -> dict[str, Any]:
    """Print a page as soon as it is loaded; return what was on paper."""
    browser.page.add_init_script(WATCH)
    page = browser.go(report, path)
    page.context.new_cdp_session(page).send("Page.printToPDF")
    found: dict[str, Any] = page.evaluate("onPaper")
    return found


@pytest.mark.parametrize("path", PAGES)
def test_print__straight_after_load_has_every_figure_and_table_whole(browser: Watched, built: Path, path: str) -> None:
    paper = printed(browser, built, path)
    assert paper["width"] <= 718  # of A4 without its margins, in CSS pixels
    assert paper["folded"] == 0
    assert [plot for plot in paper["plots"] if plot[1] != [[True, True]]] == []
    assert all(paper["tables"])


def test_print__a_table_that_is_wider_than_paper_is_made_smaller(browser: Watched, built: Path) -> None:
    browser.page.add_init_script(WATCH)
    page = browser.go(built, "organs/liver/codes/K76.html")
    page.evaluate("document.querySelectorAll('#genes + .table td').forEach(cell => cell.textContent = 'x'.repeat(30))")
    page.context.new_cdp_session(page).send("Page.printToPDF")
    assert all(page.evaluate("onPaper.tables"))
    assert page.evaluate("[...document.querySelectorAll('table')].every(table => table.style.zoom === '')")


def test_print__heads_are_text_which_a_browser_repeats_on_each_page(browser: Watched, built: Path) -> None:
    # Of a button in a repeated head only the ground is printed.
    assert set(printed(browser, built, "organs/liver/codes/K76.html")["heads"]) == {"contents"}


def test_print__leaves_the_page_as_it_was(browser: Watched, built: Path) -> None:
    page = browser.go(built, "organs/liver/codes/K76.html")
    page.locator("#theme").click()
    page.locator("#manhattan-mae-classifier canvas").first.wait_for()
    state = """() => [document.querySelectorAll("details:not([open])").length, document.documentElement.dataset.theme,
        document.documentElement.className, document.querySelectorAll(".printed").length]"""
    before = page.evaluate(state)
    page.context.new_cdp_session(page).send("Page.printToPDF")
    assert page.evaluate(state) == before
    assert before[0] > 0
    page.locator("#theme").click()
