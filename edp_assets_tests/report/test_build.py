"""Which pages there are, what they hold, and that only those are written again of which something has changed."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
import pytest

from edp_assets.assets.stage import REGISTRY
from edp_assets.cli import _close
from edp_assets.report import cell, organ, overview
from edp_assets.report.build import build_report
from edp_assets.report.lineage import Lineage
from edp_assets.report.names import cell_page, organ_page, scans_page
from edp_assets.report.numbers import numbers
from edp_assets.report.phenotype import Phenotypes
from edp_assets.report.results import Results
from edp_assets.report.sources import Sources
from edp_assets.runner import bring_warehouse_up_to_date
from edp_assets.storage import warehouse
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Lake, cell_of
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.report.planted import (
    CODES,
    EIDS,
    GENE,
    N_VARIANTS,
    ORGANS,
    SHOWN,
    Planted,
    filled,
    phenotypes,
    statistics,
)

LIMIT = 5_000_000
"""Bytes of a page, scripts included."""


def build(planted: Planted) -> tuple[str, Path]:
    """Build the report; return what was told, and its folder."""
    told: list[str] = []
    path = build_report(Workspace(planted.home), told.append)
    return told[-1].partition(", in")[0], path.parent


def times(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.html")}


def test_build_report__has_a_page_for_each_cell_with_a_selected_phenotype(built: Path) -> None:
    cells = {cell_page(*cell) for cell in SHOWN}
    organs = {page(organ) for page in (organ_page, scans_page) for organ in ORGANS}
    assert set(times(built)) == {"index.html", "methods.html", "evidence.html"} | cells | organs
    assert "AUC below &lt;0.6&gt;" in (built / organ_page("liver")).read_text()


def test_build_report__pages_are_small(built: Path) -> None:
    shared = sum(path.stat().st_size for path in (built / "assets").iterdir())
    assert all(path.stat().st_size + shared < LIMIT for path in built.rglob("*.html"))


def test_build_report__holds_no_id_of_a_participant(built: Path) -> None:
    text = {path: path.read_text() for path in built.rglob("*") if path.suffix in (".html", ".json")}
    assert not [path for path, page in text.items() if any(eid in page for eid in EIDS)]
    assert sum(GENE.replace("<", "&lt;").replace(">", "&gt;") in page for page in text.values()) >= 3


def test_build_report__names_no_place_of_the_machine(built: Path) -> None:
    assert not [path for path in built.rglob("*.html") if str(built.parent.parent) in path.read_text()]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def test_build_report__names_of_codes_and_genes_are_text_not_markup(built: Path) -> None:
    for path in built.rglob("*.html"):
        seen = _Tags()
        seen.feed(path.read_text())
        assert {"i", "cohort"}.isdisjoint(seen.tags)  # of the planted names
        assert seen.tags.count("script") == seen.tags.count("figure") - seen.tags.count("img") + 4


def test_build_report__again_writes_the_first_page_alone(planted: Planted) -> None:
    assert build(planted)[0] == "report: 10 pages written, 0 current, 0 removed"
    before = times(planted.home.report)
    assert build(planted)[0] == "report: 1 pages written, 9 current, 0 removed"
    after = times(planted.home.report)
    assert [path for path in before if before[path] != after[path]] == ["index.html"]


def test_build_report__a_changed_gwas_writes_its_cell_again(planted: Planted) -> None:
    _, folder = build(planted)
    before = times(folder)
    planted.plant_gwas("liver", "K76", statistics("liver", "K76", seed=99, hit=20.0))
    planted.mirror()
    build(planted)
    after = times(folder)
    assert {path for path in before if before[path] != after[path]} == {"index.html", cell_page("liver", "K76")}


def test_build_report__a_changed_label_or_setting_reaches_what_shows_it(planted: Planted) -> None:
    _, folder = build(planted)
    before = times(folder)
    planted.plant_cases("K76", EIDS[:11])
    build(planted)
    changed = {path for path, time in times(folder).items() if before[path] != time}
    assert changed == {"index.html", *(cell_page(organ, "K76") for organ in ORGANS)}
    toml = planted.cohort / "cohort.toml"
    toml.write_text(toml.read_text() + "[classifier]\nmin_auc = 0.55\n")
    before = times(folder)
    build(planted)
    changed = {path for path, time in times(folder).items() if before[path] != time}
    assert {"methods.html", organ_page("liver")} <= changed
    assert scans_page("liver") not in changed


def test_build_report__a_table_of_the_whole_cohort_writes_no_cell_of_another_code_again(planted: Planted) -> None:
    cases = filled("diagnoses", [{"eid": "1", "icd10": "K76"}])
    planted.store("diagnoses", "diagnoses", cases)
    _, folder = build(planted)
    before = times(folder)
    planted.store("diagnoses", "diagnoses", pl.concat([cases, filled("diagnoses", [{"eid": "2", "icd10": "I10"}])]))
    planted.mirror()
    assert build(planted)[0] == "report: 2 pages written, 8 current, 0 removed"
    after = times(folder)
    assert {path for path in before if before[path] != after[path]} == {"index.html", "methods.html"}
    stored = planted.lake.provenance(("diagnoses",), ())
    assert stored is not None
    assert stored.version[:16] in (folder / "methods.html").read_text()


@pytest.mark.parametrize(("value", "pages"), [(0.12341, 1), (0.125, 2)])
def test_build_report__a_number_that_shows_the_same_writes_no_page(planted: Planted, value: float, pages: int) -> None:
    label = {"encoder": "mae", "organ": "liver", "icd10": "K76", "method": "classifier"}
    for r in (0.1234, value):
        rows = filled("score_correlations", [{**label, "pearson_r": r}])
        planted.store("mae/score_correlations", "score_correlations", rows, organ="liver")
        planted.mirror()
        told, _ = build(planted)
    assert told.startswith(f"report: {pages} pages written")


def test_build_report__pages_of_retired_codes_go_and_other_files_stay(planted: Planted) -> None:
    _, folder = build(planted)
    (folder / "notes.html").write_text("mine")
    codes = planted.lake.read(("icd10_codes",), ())
    retired = codes.with_columns(retired=pl.col("icd10") == "K76", studied=pl.col("icd10") != "K76")
    planted.store("icd10_codes", "icd10_codes", retired)
    planted.mirror()
    assert build(planted)[0].endswith("2 removed")
    assert not list(folder.rglob("K76.html"))
    assert (folder / "notes.html").read_text() == "mine"
    assert "K76" not in (folder / organ_page("liver")).read_text()


def test_build_report__goes_on_where_it_was_killed(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    render, done = cell._render, []

    def dies(*arguments: object) -> str:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(arguments)
        return render(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cell, "_render", dies)
    with pytest.raises(KeyboardInterrupt):
        build(planted)
    monkeypatch.setattr(cell, "_render", render)
    assert build(planted)[0] == "report: 2 pages written, 8 current, 0 removed"


def test_build_report__says_how_many_variants_are_drawn(built: Path) -> None:
    page = (built / cell_page("liver", "K76")).read_text()
    drawn = re.findall(r"([\d,]+) points stand for ([\d,]+) variants: all ([\d,]+) hits", page)
    assert [(total, hits) for _, total, hits in drawn] == [(f"{N_VARIANTS:,}", "1"), (f"{N_VARIANTS:,}", "0")]


def test_build_report__of_a_warehouse_without_results_says_so(planted: Planted) -> None:
    with warehouse.connect(planted.home.warehouse) as connection:
        for table in (
            "phenotype_selection",
            "gene_hits",
            "lead_variants",
            "icd10_codes",
            "organ_volumes",
            "evidence_hits_by_disease",
        ):
            connection.execute(f"DELETE FROM {table}")
    told, folder = build(planted)
    assert told == "report: 7 pages written, 0 current, 0 removed"
    assert "No code has been studied yet." in (folder / "index.html").read_text()


def test_build_report__shows_tables_of_other_stages_where_there_are_any(planted: Planted) -> None:
    _, folder = build(planted)
    page, evidence = folder / cell_page("liver", "K76"), folder / "evidence.html"
    assert "mae/phewas is not stored: it failed, is held by a check, or is still to come." in page.read_text()
    cell, label = {"organ": "liver", "icd10": "K76"}, {"encoder": "mae", "organ": "liver", "icd10": "K76"}
    phenotype = {**label, "method": "classifier"}
    planted.plant_phewas("liver", "K76")
    ages = filled("evidence_age", [{"organ": "liver", "mean_absolute_error": 3.25}])
    planted.store("evidence/age", "evidence_age", ages)
    figure = folder / "figures/interpretation/tails.png"
    figure.parent.mkdir(parents=True)
    figure.write_bytes(b"png")
    (figure.parent / "occlusion.png").write_bytes(b"png")
    shown = [{**phenotype, "figure": "tails", "path": "report/figures/interpretation/tails.png"},
             {**phenotype, "figure": "occlusion", "path": "report/figures/interpretation/occlusion.png"},
             {**phenotype, "figure": "gone", "path": "report/figures/gone.png"}]  # fmt: skip
    planted.store("mae/interpretation_figures", "interpretation_figures",
                  filled("interpretation_figures", shown), **cell)  # fmt: skip
    planted.mirror()
    assert build(planted)[0] == "report: 4 pages written, 6 current, 0 removed"  # its stages are methods, too
    text = page.read_text()
    assert "PheWAS of 4 traits: effect and -log10 p of the 3 that have one effect" in text
    assert "trait &lt;3&gt;" in text
    assert re.search(r"too few</td><td class=\"number\" data-key=\"1\">1<", text)
    assert "../../../figures/interpretation/tails.png" in text
    assert "gone.png" not in text
    assert 'alt="Slices of the 4 least and the 4 most affected people by the score of liver, K76, mae, ' in text
    assert "crops of the 4 people of 60 with a score who count as least affected" in text
    assert "Red: with it hidden the person counts as less affected (the score falls)" in text
    assert "Table 3 of the paper" in evidence.read_text()
    assert "3.25" in evidence.read_text()


def papers_figures(page: Path) -> list[str]:
    """Return the numbers of the paper's figures that a page shows, all of which have their file."""
    found = re.findall(r'<figure><img src="([^"]*)" [^>]*><figcaption>(Figure \d)', page.read_text())
    assert all((page.parent / unquote(link)).exists() for link, _ in found)
    return [number for _, number in found]


def test_build_report__the_papers_figures_stand_on_the_pages_of_their_code_and_organ(planted: Planted) -> None:
    organ, code = SHOWN[0]
    label = {"encoder": "mae", "organ": organ}

    def store(asset: str, table: str, figures: dict[str, dict[str, Any]], **cell: str) -> None:
        rows = []
        for name, more in figures.items():
            place = planted.home.figures / f"mae/{name}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(b"a picture")
            rows.append({**label, **more, "figure": name, "path": str(place.relative_to(planted.home.root))})
        planted.store(asset, table, filled(table, rows), **cell)

    of_code = {"icd10": code}
    kinds: dict[str, dict[str, Any]] = {"percentage_pval": {}, "auc_pval": {}, "score_histogram": of_code}
    store("mae/phenotype_figures", "phenotype_figures", kinds, organ=organ)
    store("mae/few_shot_figures", "paper_figures", {"figure_6": of_code}, organ=organ, icd10=code)
    store("mae/paper_figures", "paper_figures", {"figure_4": of_code}, organ=organ, icd10=code)
    figure_7 = {"figure_7": {**of_code, "method": "classifier"}}
    store("mae/phewas_figures", "phewas_figures", figure_7, organ=organ, icd10=code)
    planted.mirror()
    _, folder = build(planted)
    assert papers_figures(folder / cell_page(organ, code)) == ["Figure 2", "Figure 4", "Figure 6", "Figure 7"]
    assert papers_figures(folder / organ_page(organ)) == ["Figure 2", "Figure 3"]


def test_build_report__a_synthetic_cohort_is_called_one_on_every_page(planted: Planted) -> None:
    def pages_that_say_so() -> list[bool]:
        _, folder = build(planted)
        return ["nobody in it is a real person" in page.read_text() for page in folder.rglob("*.html")]

    assert not any(pages_that_say_so())
    toml = Workspace(planted.home).cohort.folder / "cohort.toml"
    toml.write_text(toml.read_text().replace("[cohort]\n", "[cohort]\nsynthetic = true\n", 1))
    assert all(pages_that_say_so())


def test_build_report__of_a_home_of_an_earlier_version_is_built(planted: Planted) -> None:
    with warehouse.connect(planted.home.warehouse) as connection:
        connection.execute("ALTER TABLE evidence_hits_by_disease DROP COLUMN reason")
    assert warehouse.is_behind(planted.home.warehouse, planted.lake)
    bring_warehouse_up_to_date(Workspace(planted.home), print)
    assert not warehouse.is_behind(planted.home.warehouse, planted.lake)
    assert build(planted)[1].exists()


def test_close__of_a_cohort_without_a_table_of_genes_says_why_they_are_not_counted(
    planted: Planted, capsys: pytest.CaptureFixture[str]
) -> None:
    _close(planted.home)
    assert "Genes are not counted" not in capsys.readouterr().out
    with warehouse.connect(planted.home.warehouse) as connection:
        connection.execute("UPDATE evidence_hits_by_disease SET genes = NULL, loci = 1, reason = 'no table of genes'")
    _close(planted.home)
    told = capsys.readouterr().out
    assert told.count("Genes are not counted, loci are: no table of genes\n") == 1


def test_bring_warehouse_up_to_date__of_a_home_that_was_moved_has_views_of_its_own_lake(planted: Planted) -> None:
    moved = Home(planted.home.root.rename(planted.home.root.with_name("moved 'to' [another] place")))
    bring_warehouse_up_to_date(Workspace(moved), print)
    assert not warehouse.is_behind(moved.warehouse, Lake(moved.lake))
    rows = warehouse.query(moved.warehouse, "SELECT count(*) AS n FROM gwas_summary_stats")
    assert rows["n"][0] == N_VARIANTS * sum(len(phenotypes(*cell)) for cell in SHOWN)


def test_build_report__the_untrained_control_is_no_discovery(planted: Planted) -> None:
    def numbers() -> list[str]:
        _, folder = build(planted)
        return re.findall(r"<li><b>([^<]*)</b>", (folder / "index.html").read_text())

    organ, code = SHOWN[0]
    before = numbers()
    label = {"encoder": "untrained", "organ": organ, "icd10": code, "method": "classifier"}
    for table, row in (("phenotype_selection", {"selected": True}), ("gene_hits", {"gene": "CONTROL"})):
        frame = filled(table, [{**label, **row}])
        planted.store(f"untrained/{table}", table, frame, organ=organ, icd10=code)
    planted.mirror()
    assert len(before) == 7
    assert numbers() == before


def _cells(page: str, caption: str) -> dict[str, list[str]]:
    """Return the columns of a page's table by their heads, as texts."""
    table = page.partition(f"<caption><span>{caption}")[2].partition("</table>")[0]
    heads = re.findall(r"<th [^>]*><button[^>]*>([^<]*)<", table)
    rows = [
        [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td.*?</td>", row)] for row in table.split("<tr>")[2:]
    ]
    return {head: [row[place] for row in rows] for place, head in enumerate(heads)}


def test_build_report__an_organ_s_codes_leave_the_control_out_and_name_who_says_what(planted: Planted) -> None:
    label = {"organ": "liver", "icd10": "K76"}
    control = {**label, "encoder": "untrained", "method": "classifier", "roc_auc_out_of_fold": 0.95, "selected": True,
               "reason": "by luck"}  # fmt: skip
    planted.store("untrained/phenotype_selection", "phenotype_selection", filled("phenotype_selection", [control]),
                  **label)  # fmt: skip
    cluster = {**label, "encoder": "video", "method": "clustering"}
    rows = [
        {**label, "encoder": "video", "method": "classifier", "roc_auc_out_of_fold": 0.6, "reason": "weak"},
        {**cluster, "cluster": 0, "odds_ratio": 0.0, "p_fisher": 1e-4, "reason": "no case"},
        {**cluster, "cluster": 1, "odds_ratio": 2.0, "p_fisher": 0.06, "reason": "just above"},
        {**cluster, "cluster": 2, "odds_ratio": 2.0, "p_fisher": 0.5, "reason": "far above"},
    ]
    planted.store("video/phenotype_selection", "phenotype_selection", filled("phenotype_selection", rows), **label)
    planted.mirror()
    found = _cells((build(planted)[1] / organ_page("liver")).read_text(), "All studied codes")
    place = found["code"].index("K76")
    assert {head: column[place] for head, column in found.items() if head not in ("description", "cases", "genes")} == {
        "code": "K76", "best AUC": "0.7", "untrained AUC": "0.95", "candidates": "6", "selected": "2",
        "classifier says": "mae: AUC and p; video: weak",
        "clusters say": "mae: 2 selected; video: none of 3 (nearest is 1: just above)",
    }  # fmt: skip


def test_build_report__what_a_score_goes_with_is_told_by_strength_and_its_auc_is_in_sample(planted: Planted) -> None:
    label = {"encoder": "mae", "organ": "liver", "icd10": "K76", "method": "classifier"}
    found = [("age", 0.1, None), ("bmi", None, None), ("I10", 0.3, 0.7), ("volume", -0.8, None)]
    rows = [{**label, "with_what": name, "pearson_r": r, "roc_auc": auc} for name, r, auc in found]
    planted.store("mae/score_correlations", "score_correlations", filled("score_correlations", rows), organ="liver")
    candidate = {**label, "selected": True, "roc_auc": 0.875}
    planted.store("mae/phenotype_selection", "phenotype_selection", filled("phenotype_selection", [candidate]),
                  organ="liver", icd10="K76")  # fmt: skip
    planted.mirror()
    page = (build(planted)[1] / cell_page("liver", "K76")).read_text()
    table = _cells(page, "What the score goes with")
    assert table["with what"] == ["volume", "I10", "age", "bmi"]
    assert table["AUC, all people, in sample"] == ["", "0.7", "", ""]
    assert not [head for head in table if "fold" in head]
    assert _cells(page, "Candidate phenotypes")["AUC, best fold"] == ["0.875"]


def _hits(planted: Planted, asset: str, *hits: tuple[str, str | None], more: dict[str, Any], **keys: str) -> None:
    """Store gene hits: method and gene of each."""
    rows = [
        {**keys, **more, "method": method, "gene": gene, "neg_log_10_p_value": 20.0 - k}
        for k, (method, gene) in enumerate(hits)
    ]
    planted.store(f"{asset}/gene_hits", "gene_hits", filled("gene_hits", rows), **keys)


def _sources(planted: Planted) -> Sources:
    workspace = Workspace(planted.home)
    return Sources(workspace, Results(planted.home.warehouse), Lineage(workspace, REGISTRY))


@pytest.fixture
def beside_baselines(planted: Planted) -> Planted:
    """A home whose first cell hits genes that the whole cohort, volume or fat hit, or nothing else; the control too."""
    organ, code = SHOWN[0]
    of_cell = {"organ": organ, "icd10": code}
    edps = [("classifier", GENE), ("clustering", GENE), ("clustering", "NEW"), ("clustering", "VOLUME"),
            ("clustering", "FAT"), ("clustering", "RARE"), ("classifier", None)]  # fmt: skip
    _hits(planted, "mae", *edps, more={"encoder": "mae"}, **of_cell)
    _hits(planted, "untrained", ("classifier", "CONTROL"), more={"encoder": "untrained"}, **of_cell)
    _hits(planted, "icd10_imaging_cohort", ("icd10_imaging_cohort", "RARE"), more={}, icd10=code)
    _hits(planted, "organ_volume", ("organ_volume", "VOLUME"), more={}, organ=organ)
    _hits(planted, "hand_made", ("fat_fraction", "FAT"), more={}, organ=organ)
    planted.mirror()
    return planted


def test_overview__its_numbers_count_people_phenotypes_and_genes_once(beside_baselines: Planted) -> None:
    found = [number for number, _ in numbers(_sources(beside_baselines))]
    # 60 people, two organs, three codes, four phenotypes; five genes, of which FAT and NEW are beyond code and volume.
    assert found == [60, 2, 3, 4, 5, 2, 1]


def test_cell__genes_stand_beside_the_baselines_that_hit_them(beside_baselines: Planted) -> None:
    found = _cells(cell._genes(_sources(beside_baselines), *SHOWN[0], {}), "Genes hit, the strongest first")
    rows = zip(found["gene"], found["whole cohort"], found["imaging cohort"], found["hand made"], strict=True)
    named = [row for row in rows if row[0] and row[0] != "CONTROL"]
    shown = GENE.replace("<", "&lt;").replace(">", "&gt;")
    assert named == [
        (shown, "yes", "no", "no"), (shown, "yes", "no", "no"), ("NEW", "no", "no", "no"),
        ("VOLUME", "no", "no", "yes"), ("FAT", "no", "no", "yes"), ("RARE", "no", "yes", "no"),
    ]  # fmt: skip


def test_organ__codes_count_a_gene_once_and_cases_as_the_classifier_has_them(beside_baselines: Planted) -> None:
    planted, label = beside_baselines, {"organ": "liver", "icd10": "K76"}
    rows = [{**label, "encoder": "video", "method": "classifier", "cases": 14, "roc_auc_out_of_fold": 0.6},
            {**label, "encoder": "video", "method": "island", "cases": 55}]  # fmt: skip
    planted.store("video/phenotype_selection", "phenotype_selection", filled("phenotype_selection", rows), **label)
    planted.mirror()
    sources = _sources(planted)
    page = organ._codes(sources, "liver", organ_page("liver"), organ._named(sources, "liver"))
    found = _cells(page, "All studied codes")
    place = found["code"].index("K76")
    assert (found["genes"][place], found["cases"][place], found["best AUC"][place]) == ("5", "14", "0.7")
    assert found["genes"][found["code"].index("I10")] == "0"


def test_overview__the_heat_map_has_the_cells_whose_hits_are_stored(
    beside_baselines: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edp_assets.figures import interactive

    planted, drawn = beside_baselines, []
    draw = interactive.heat_map
    monkeypatch.setattr(interactive, "heat_map", lambda cells: drawn.append(cells) or draw(cells))
    planted.lake.path(("mae", "gene_hits"), cell_of({"organ": "liver", "icd10": CODES[1]})).unlink()
    planted.mirror()
    overview._heat_map(_sources(planted))
    (cells,) = drawn
    assert set(cells.select("organ", "icd10", "genes").rows()) == {("liver", CODES[0], 5), (ORGANS[1], CODES[0], 1)}


def test_overview__the_rows_that_hit_most_are_first() -> None:
    frame = pl.DataFrame({"classifier": [0, None, 1, 0], "clustering": [2, None, 0, 0], "island": [0, None, 9, 0],
                          "selected": [1, 7, 2, 3], "icd10": ["A", "B", "C", "D"]})  # fmt: skip
    assert overview._hits_first(frame)["icd10"].to_list() == ["C", "A", "B", "D"]


def test_checks__those_that_failed_are_shown_and_the_others_counted() -> None:
    rows = [{"check_name": name, "passed": name != "lambda_gc"} for name in ("lambda_gc", "sample_size", "finite")]
    found = cell._checks(filled("asset_checks", rows))
    assert found["passed"] == 2
    assert "lambda_gc</td>" in found["failed"]
    assert "sample_size</td>" not in found["failed"]


def test_phenotypes__their_own_people_loci_and_genes(
    beside_baselines: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edp_assets.figures import interactive

    planted, (name, code) = beside_baselines, SHOWN[0]
    cell_keys = {"organ": name, "icd10": code}
    own = {"encoder": "mae", **cell_keys}
    leads = [
        {**own, "method": method, "cluster": cluster, "rsid": rsid, "neg_log_10_p_value": p}
        for method, cluster, rsid, p in (
            ("classifier", None, "rs_weak", 8.0), ("clustering", 2, "rs_strong", 30.0), ("clustering", 2, "rs_mid", 9.0)
        )
    ]  # fmt: skip
    planted.store("mae/lead_variants", "lead_variants", filled("lead_variants", leads), **cell_keys)
    note = {"n": 60, "variants": 9_999_999, "lambda_gc": 1.02}
    notes = [{"method": method, "cluster": cluster, **note} for method, cluster in phenotypes(name, code)]
    rows = statistics(name, code, 0)
    planted.store("mae/gwas_summary_stats", "gwas_summary_stats", rows, {"phenotypes": notes}, **cell_keys)
    planted.mirror()
    drawn: list[Any] = []
    draw = interactive.score_distribution
    monkeypatch.setattr(
        interactive, "score_distribution", lambda score, cases: drawn.append((score, cases)) or draw(score, cases)
    )
    sources = _sources(planted)
    selected = sources.results.of("phenotype_selection", name, code).filter("selected")
    first, second = Phenotypes(sources, name, code, cell_page(name, code), selected, {}).parts()
    assert (first["title"], second["title"]) == ("mae, clustering 2", "mae, classifier")
    assert (first["loci"], second["loci"]) == ("2 loci", "1 loci")
    assert first["loci_table"].index("rs_strong") < first["loci_table"].index("rs_mid")
    assert second["genes"] == "1 genes"  # a variant without a gene is none
    for score, cases in drawn:
        assert (len(score), cases.sum()) == (60, 12)
        assert score[cases].tolist() == [k / 10 + 1 for k in range(12)]
    assert "(9,999,999 were tested, those of small p are stored)" in second["gwas"]["manhattan"]
