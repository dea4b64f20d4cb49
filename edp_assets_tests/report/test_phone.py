"""The report on a phone: a page is as wide as the screen, and what is wider scrolls by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from edp_assets_tests.report.watched import Watched

pytestmark = pytest.mark.slow

WIDTH, HEIGHT = 390, 844
PAGES = ("index.html", "evidence.html", "methods.html", "organs/liver/index.html", "organs/liver/codes/K76.html",
         "organs/liver/scans.html")  # fmt: skip
ALL_DRAWN = """async () => {
    document.querySelectorAll("details").forEach((each) => { each.open = true; });
    for (const plot of document.querySelectorAll(".plot")) {
        plot.scrollIntoView();
        while (!plot.firstElementChild) { await new Promise((done) => setTimeout(done, 50)); }
    }
    const { scrollWidth, clientWidth } = document.documentElement;
    return [scrollWidth, clientWidth];
}"""


@pytest.mark.parametrize("path", PAGES)
def test_phone__no_page_scrolls_sideways(browser: Watched, built: Path, path: str) -> None:
    browser.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page = browser.go(built, path)
    assert page.evaluate(ALL_DRAWN) == [WIDTH, WIDTH]


def test_phone__figures_fit_and_the_heat_map_scrolls_by_itself(browser: Watched, built: Path) -> None:
    browser.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page = browser.go(built, "organs/liver/codes/K76.html")
    page.evaluate(ALL_DRAWN)
    ends = "[...document.querySelectorAll('.plot')].map(plot => plot.firstElementChild.getBoundingClientRect().right)"
    assert max(page.evaluate(ends)) <= WIDTH
    page = browser.go(built, "index.html")
    page.evaluate(ALL_DRAWN)
    page.locator("#heat-map").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.getElementById('heat-map').scrollLeft > 0")


def test_phone__what_a_table_shows_is_read_without_scrolling(browser: Watched, built: Path) -> None:
    browser.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page = browser.go(built, "organs/liver/codes/K76.html")
    ends = "texts => texts.map(text => text.getBoundingClientRect().right)"
    assert max(page.eval_on_selector_all("caption span", ends)) <= WIDTH


def test_phone__a_finger_on_a_figure_scrolls_the_page(browser: Watched, built: Path) -> None:
    phone = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": True}
    protocol = browser.page.context.new_cdp_session(browser.page)
    protocol.send("Emulation.setDeviceMetricsOverride", phone)
    protocol.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    page = browser.go(built, "index.html")
    page.evaluate(ALL_DRAWN)
    touched = """() => {
        const events = Bokeh.index.roots.find((each) => each.model.type === "Figure").canvas.events_el;
        return getComputedStyle(events).touchAction;
    }"""
    assert page.evaluate(touched) == "auto"
