"""The report as people meet it: in a browser, from files, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from edp_assets_tests.report.planted import GENE, VARIANT

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
WAIT = 30_000
"""How long a busy machine may take, ms."""


@dataclass
class Watched:
    """A browser's page, with what it asked for and what went wrong on it."""

    page: Any
    wrong: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: message.type == "error" and self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.asked.add(request.url))

    def go(self, report: Path, path: str) -> Any:
        """Open a page of the report."""
        self.page.goto((report / path).as_uri())
        return self.page


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    found = [path for name in NAMES if (path := shutil.which(name))]
    if not found:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed (make browser)")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")), executable_path=found[0], args=list(QUIET), color_scheme="light"
        )
        opened.set_default_timeout(WAIT)
        yield opened
        opened.close()


@pytest.fixture
def browser(context: Any) -> Iterator[Watched]:
    watched = Watched(context.new_page())
    yield watched
    watched.page.close()
    assert watched.wrong == []
    assert {urlsplit(url).scheme for url in watched.asked} <= {"file", "data"}


def links_of(page: Any) -> list[str]:
    return page.eval_on_selector_all("a[href]", "links => links.map(link => link.href)")


def test_report__every_page_is_reached_by_links_and_every_link_leads_somewhere(browser: Watched, built: Path) -> None:
    ahead, links, ids = [(built / "index.html").as_uri()], set(), {}
    while ahead:
        url = ahead.pop()
        if url in ids:
            continue
        browser.page.goto(url)
        assert browser.page.title().endswith("edp_assets")
        ids[url] = set(browser.page.eval_on_selector_all("[id]", "found => found.map(each => each.id)"))
        found = links_of(browser.page)
        links |= set(found)
        ahead += [urldefrag(link)[0] for link in found]
    assert {Path(unquote(urlsplit(url).path)) for url in ids} == set(built.rglob("*.html"))
    broken = [link for link in links if (part := urldefrag(link)[1]) and unquote(part) not in ids[urldefrag(link)[0]]]
    assert broken == []


def test_report__figures_are_drawn_and_a_hover_tells_the_variant(browser: Watched, built: Path) -> None:
    page = browser.go(built, "organs/liver/codes/K76.html")
    figure = page.locator("#manhattan-mae-classifier")
    figure.scroll_into_view_if_needed()
    figure.locator("canvas").first.wait_for()
    place = page.evaluate(
        """async () => {
            document.getElementById("manhattan-mae-classifier").scrollIntoView({ block: "center" });
            const shown = () => Bokeh.index.roots.find((view) => view.el.closest("#manhattan-mae-classifier"));
            while (!shown() || !shown().frame) { await new Promise((done) => setTimeout(done, 50)); }
            const view = shown(), source = view.model.renderers.map((each) => each.data_source)
                .find((each) => each.get_column("gene"));
            const box = view.el.getBoundingClientRect(), frame = view.frame;
            return [box.x + frame.x_scale.compute(source.get_column("x")[0]),
                    box.y + frame.y_scale.compute(source.get_column("neg_log_10_p_value")[0])];
        }"""
    )
    page.mouse.move(place[0] - 3, place[1] - 3)
    page.mouse.move(*place)
    page.locator(".bk-Tooltip", has_text=f"rs{VARIANT}").first.wait_for()
    page.locator(".bk-Tooltip", has_text=GENE).first.wait_for()


def test_report__a_column_is_sorted_by_click_and_by_key(browser: Watched, built: Path) -> None:
    page = browser.go(built, "organs/liver/index.html")
    head = page.locator("th", has_text="selected").first

    def values(column: int = 5) -> list[str]:
        column_of = f"rows => rows.map(row => row.cells[{column}].textContent)"
        return page.eval_on_selector_all("#codes + .table tbody tr", column_of)

    head.locator("button").click()
    assert (head.get_attribute("aria-sort"), values()) == ("descending", ["2", "1", "0"])
    head.locator("button").press("Enter")
    assert (head.get_attribute("aria-sort"), values()) == ("ascending", ["0", "1", "2"])
    code = page.locator("th", has_text="code").first
    code.locator("button").press("Space")
    assert page.locator("th[aria-sort]").count() == 1
    assert values(0) == ["I10", "K76", """set.<b>&"q'/%2F..é"""]


def test_report__the_keyboard_reaches_content_and_links(browser: Watched, built: Path) -> None:
    page = browser.go(built, "index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.id === 'content'")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "theme"
    page.locator("td a", has_text="K76").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/codes/K76.html")


def test_report__a_gene_leads_back_to_the_scans(browser: Watched, built: Path) -> None:
    page = browser.go(built, "organs/liver/codes/K76.html")
    page.locator("tr", has_text=GENE).locator("a", has_text="back to the scans").click()
    page.wait_for_url("**#lineage-mae")
    steps = page.locator("#lineage-mae + ol > li h4").all_text_contents()
    assert steps[0] == "mae/gene_hits"
    assert steps[-1] == "scans"
    page.locator("#lineage-mae + ol a", has_text="the scans' files").click()
    page.wait_for_url("**/liver/scans.html")
    assert "images/{eid}_mask.nii" in page.content()


def test_report__dark_and_light_are_remembered(browser: Watched, built: Path) -> None:
    page = browser.go(built, "organs/liver/codes/K76.html")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator("#manhattan-mae-classifier canvas").first.wait_for()
    page.locator("#theme").click()
    dark = page.evaluate(ground)
    assert dark != light
    inked = "Bokeh.index.roots[0].model.below[0].axis_label_text_color"
    page.wait_for_function(f"JSON.stringify({inked}).includes('#e4e9f0')")
    browser.go(built, "index.html")
    assert page.evaluate(ground) == dark
    page.locator("#theme").click()
    assert page.evaluate(ground) == light


def test_report__on_paper_nothing_is_cut_and_navigation_is_gone(browser: Watched, built: Path) -> None:
    page = browser.go(built, "organs/liver/codes/K76.html")
    page.emulate_media(media="print")
    assert not page.locator("header").is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.evaluate("getComputedStyle(document.querySelector('.table')).maxHeight") == "none"
