"""The report as people meet it: in a browser, from files, without a network."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import polars as pl
import pytest

from edp_assets.figures.thinning import Thinned, thin
from edp_assets_tests.report.planted import EIDS, GENE, N_VARIANTS, THRESHOLD, VARIANT, statistics
from edp_assets_tests.report.watched import Watched

pytestmark = pytest.mark.slow

DRAWN = """async (name) => {
    const place = document.getElementById(name), folded = place.closest("details");
    if (folded) { folded.open = true; }
    place.scrollIntoView({ block: "center" });
    const shown = () => Bokeh.index.roots.find((each) => each.model.type === "Figure" && place.contains(each.el));
    while (!shown() || !shown().is_idle || !shown().frame) { await new Promise((done) => setTimeout(done, 50)); }
    const view = shown();
    return view.model.renderers.map((each) => {
        const { glyph } = view.views.get_one(each), across = glyph.sx ?? glyph.sleft ?? glyph.sx1;
        const seen = [...across].filter(Number.isFinite).length;
        return [each.glyph.type, seen, Object.fromEntries(Object.entries(each.data_source.data).map(
            ([column, values]) => [column, [...values]]))];
    });
}"""
"""What a figure's marks are, how many of them have a place on the screen, and their data, once it is drawn."""


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


def chosen(method: str) -> Thinned:
    """Return what is drawn of a GWAS of the first cell."""
    rows = statistics("liver", "K76", seed=0)
    cluster = None if method == "classifier" else 2
    return thin(lambda: [rows], THRESHOLD)[method, cluster]


def gwas_figures() -> dict[str, list[tuple[str, int]]]:
    found = {}
    for method, name, genes in (("classifier", "classifier", 1), ("clustering", "clustering-2", 0)):
        drawn = chosen(method)
        low, high = drawn.spans["2"]
        odd = drawn.pixels["x"].is_between(low, high).sum()
        hits = (drawn.notable["neg_log_10_p_value"] >= THRESHOLD).sum()
        points = (drawn.pixels.height - odd, odd, drawn.notable.height - hits, hits, genes)
        found[f"manhattan-mae-{name}"] = [("Scatter", count) for count in points]
        ranks = drawn.quantiles.height
        found[f"qq-mae-{name}"] = [("VArea", ranks), ("Line", 2), ("Scatter", ranks)]
        found[f"score-mae-{name}"] = [("Quad", 40), ("Quad", 40)]
    return found | {"phewas-mae-classifier": [("Scatter", 3)]}


FIGURES = {
    "index.html": {"heat-map": [("Rect", 3), ("Text", 3)]},
    "organs/liver/index.html": {
        "umap-mae": [("Scatter", 20)] * 3, "auc-pval-mae": [("Scatter", 3)], "percentage-pval-mae": [("Scatter", 3)],
    },
    "organs/liver/codes/K76.html": gwas_figures(),
}  # fmt: skip


@pytest.mark.parametrize("path", FIGURES)
def test_report__each_figure_is_drawn_with_all_its_points(browser: Watched, built: Path, path: str) -> None:
    page = browser.go(built, path)
    there = page.eval_on_selector_all(".plot", "plots => plots.map(plot => plot.id)")
    assert sorted(there) == sorted(FIGURES[path])
    drawn = {name: page.evaluate(DRAWN, name) for name in there}
    assert {name: [(kind, seen) for kind, seen, _ in marks] for name, marks in drawn.items()} == FIGURES[path]


def test_report__the_data_of_figures_arrives_as_it_was(browser: Watched, built: Path) -> None:
    page = browser.go(built, "organs/liver/codes/K76.html")
    whole = chosen("classifier")
    even, odd, others, hits, genes = (data for _, _, data in page.evaluate(DRAWN, "manhattan-mae-classifier"))
    points = [*zip(even["x"], even["neg_log_10_p_value"], strict=True),
              *zip(odd["x"], odd["neg_log_10_p_value"], strict=True)]  # fmt: skip
    assert sorted(points) == [pytest.approx(row, rel=1e-6) for row in sorted(whole.pixels.rows())]
    assert others["rsid"] + hits["rsid"] == sorted(whole.notable["rsid"], key=(others["rsid"] + hits["rsid"]).index)
    assert (
        others["chromosome"] == whole.notable.filter(pl.col("neg_log_10_p_value") < THRESHOLD)["chromosome"].to_list()
    )
    assert (hits["chromosome"], hits["base_pair_location"]) == (["2"], [VARIANT * 1000])
    assert (genes["gene"], genes["rsid"]) == ([GENE], [f"rs{VARIANT}"])
    ranks = page.evaluate(DRAWN, "qq-mae-classifier")[2][2]["rank"]
    assert ranks == whole.quantiles["rank"].to_list()
    assert ranks[-1] == N_VARIANTS
    bars = [data["people"] for _, _, data in page.evaluate(DRAWN, "score-mae-classifier")]
    assert [sum(people) for people in bars] == [len(EIDS) - 12, 12]


def test_report__a_click_on_the_heat_map_opens_the_cell_and_a_hover_tells_it(browser: Watched, built: Path) -> None:
    page = browser.go(built, "index.html")
    ((_, _, cells), _) = page.evaluate(DRAWN, "heat-map")
    row = cells["href"].index("organs/liver/codes/K76.html")
    place = page.evaluate(
        """([organ, code]) => {
            const view = Bokeh.index.roots.find((each) => each.model.type === "Figure");
            const box = view.el.getBoundingClientRect(), { x_scale, y_scale } = view.frame;
            return [box.x + x_scale.compute(organ), box.y + y_scale.compute(code)];
        }""",
        [cells["organ"][row], cells["code"][row]],
    )
    page.mouse.move(place[0] - 3, place[1] - 3)
    page.mouse.move(*place)
    page.locator(".bk-Tooltip", has_text="K76 what K76 is called").first.wait_for()
    page.mouse.click(*place)
    page.wait_for_url("**/organs/liver/codes/K76.html")


def test_report__a_click_on_the_legend_hides_what_it_stands_for(browser: Watched, built: Path) -> None:
    page = browser.go(built, "organs/liver/codes/K76.html")
    page.evaluate(DRAWN, "score-mae-classifier")
    visible = (
        "Bokeh.index.roots.find(root => root.model.renderers && root.el.closest('#score-mae-classifier'))"
        ".model.renderers.map(each => each.visible)"
    )
    assert page.evaluate(visible) == [True, True]
    page.locator("#score-mae-classifier .bk-Legend .bk-item", has_text="cases (12)").click()
    page.wait_for_function(f"JSON.stringify({visible}) === '[true,false]'")


def test_report__a_figure_that_the_script_does_not_know_says_so_and_the_others_are_drawn(
    browser: Watched, built: Path, tmp_path: Path
) -> None:
    path = "organs/liver/codes/K76.html"
    (tmp_path / path).parent.mkdir(parents=True)
    shutil.copytree(built / "assets", tmp_path / "assets")
    (tmp_path / path).write_text((built / path).read_text().replace('"kind":"varea"', '"kind":"pie"', 1))
    page = browser.go(tmp_path, path)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    told = "A mark is a pie, which this page's script does not know"
    page.locator("#qq-mae-classifier", has_text=f"This figure could not be drawn. {told}").wait_for()
    page.locator("#qq-mae-clustering-2 canvas").first.wait_for()
    assert browser.wrong == [told]
    browser.wrong.clear()
    axis = {"label": "", "range": [None, None], "opposite": False}
    whole = {"x": axis, "y": axis, "height": 300, "width": None, "tables": [{}], "marks": [], "lines": [],
             "labels": [], "legend": None}  # fmt: skip
    line = {"kind": "line", "table": 0, "at": {}, "colour": "red"}
    unknown: tuple[tuple[dict[str, Any], str], ...] = (
        ({"title": "a"}, "A figure has title"),
        ({"x": {**axis, "log": True}}, "An axis has log"),
        ({"lines": [{"at": 1, "dash": True}]}, "A line has dash"),
        ({"tables": [{"x": {"f16": ""}}]}, "A column has f16"),
        ({"marks": [{**line, "at": {"z": 1}}]}, "A mark (line) has z"),
        ({"marks": [{**line, "glow": 1}]}, "A mark has glow"),
        ({"marks": [{**line, "legend": "a"}], "legend": "below"}, "A figure has its legend at below"),
    )
    for wrong, told in unknown:
        said = page.evaluate(
            "async (wanted) => { try { await edpPlots.figure(wanted); } catch (error) { return error.message; } }",
            {**whole, **wrong},
        )
        assert said == f"{told}, which this page's script does not know"


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


def test_report__a_link_to_what_columns_mean_opens_the_list_and_what_it_is_folded_into(
    browser: Watched, built: Path
) -> None:
    page = browser.go(built, "methods.html")
    page.locator("a", has_text="What the columns mean").first.press("Enter")
    page.locator("dt", has_text="setting").first.wait_for()
    page = browser.go(built, "organs/liver/codes/K76.html")
    name = page.evaluate("document.querySelector('details details.columns').id")
    page.locator("summary", has_text="mae, classifier").click()
    assert not page.locator(f"#{name}").is_visible()
    page.evaluate("(name) => { location.hash = name; }", name)
    page.locator(f"#{name} dd").first.wait_for()


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
    for name in page.eval_on_selector_all(".plot", "plots => plots.map(plot => plot.id)"):
        page.locator(f"#{name} canvas").first.wait_for()
    assert page.evaluate("getComputedStyle(document.querySelector('.table')).maxHeight") == "none"
