"""What is not stored is said to be so, with the reason: never shown as none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import edp_assets.graph  # noqa: F401
from edp_assets import summary
from edp_assets.assets.stage import REGISTRY
from edp_assets.report.build import pages
from edp_assets.report.cell import cell
from edp_assets.report.lineage import Lineage
from edp_assets.report.names import cell_page, organ_page, scans_page
from edp_assets.report.results import Results
from edp_assets.report.sources import Sources
from edp_assets.storage import warehouse
from edp_assets.storage.lake import Stored, cell_of
from edp_assets.storage.workspace import Fingerprints, Workspace
from edp_assets_tests.report.planted import SHOWN, Planted, filled

LIVER, K76 = SHOWN[0]
K76_OF_LIVER = {"organ": LIVER, "icd10": K76}
HITS, GWAS, WHOLE = "mae/gene_hits", "mae/gwas_summary_stats", "icd10_whole_cohort/gene_hits"
UNEXPLAINED = "is not stored: it failed, is held by a check, or is still to come."


def sources(planted: Planted) -> Sources:
    return Sources(Workspace(planted.home), Results(planted.home.warehouse), Lineage(Workspace(planted.home), REGISTRY))


def page(planted: Planted, path: str = cell_page(LIVER, K76)) -> str:
    """Return a page, by default that of liver and K76."""
    return next(each.render() for each in pages(sources(planted)) if each.path == path)


def content(planted: Planted) -> Any:
    """Return what decides whether the page of liver and K76 is written again."""
    return cell(sources(planted), LIVER, K76).content


def columns(page: str, caption: str) -> dict[str, str]:
    """Return the first row of a page's table, by its heads."""
    table = page.partition(f"<caption><span>{caption}")[2].partition("</table>")[0]
    row = re.findall(r"<td.*?</td>", table)
    heads = re.findall(r"<th [^>]*><button[^>]*>([^<]*)<", table)
    return {head: re.sub("<[^>]*>", "", text) for head, text in zip(heads, row, strict=False)}


def numbers(planted: Planted) -> dict[str, str]:
    """Return the numbers of the first page by what they count."""
    found = re.findall(r"<li><b>([^<]*)</b>([^<]*)</li>", page(planted, "index.html"))
    return {what: number for number, what in found}


def said_first(page: str, heading: str) -> str:
    """Return what stands under a heading in place of a table."""
    place = page.partition(f'<h2 id="{heading}">')[2]
    return re.sub("<[^>]*>", "", re.findall(r'<p class="none">(.*?)</p>', place)[0]).partition(". ")[2]


@pytest.mark.parametrize(
    ("asset", "column"),
    [(WHOLE, "whole cohort"), ("organ_volume/gene_hits", "hand made"), ("hand_made/gene_hits", "hand made")],
)
def test_cell__a_gene_is_not_denied_a_baseline_that_is_not_stored(planted: Planted, asset: str, column: str) -> None:
    found = columns(page(planted), "Genes hit")
    assert [found[name] for name in ("whole cohort", "imaging cohort", "hand made")] == ["yes", "no", "no"]
    before = content(planted)
    planted.forget(asset)
    assert content(planted) != before
    text = page(planted)
    others = {"whole cohort": "yes", "imaging cohort": "no", "hand made": "no"} | {column: ""}
    found = columns(
        text, "Genes hit, the strongest first, and whether the baselines hit them as well; empty: not known"
    )
    assert {name: found[name] for name in others} == others
    assert f"{asset} {UNEXPLAINED}" in text


def test_cell__a_gene_that_a_stored_hand_made_phenotype_hits_is_hit_whatever_else_is_missing(planted: Planted) -> None:
    hit = filled("gene_hits", [{"organ": LIVER, "method": "organ_volume", "gene": "FTO<i>"}])
    planted.store("organ_volume/gene_hits", "gene_hits", hit, organ=LIVER)
    planted.forget("hand_made/gene_hits")
    assert columns(page(planted), "Genes hit")["hand made"] == "yes"


def test_numbers__a_gene_is_new_only_where_its_own_baselines_are_stored(planted: Planted) -> None:
    code_and_volume = "of these by neither the code itself nor organ volume"
    by_hand = "of those by no hand-made phenotype either: surface, intensity, fat fraction"
    assert list(numbers(planted).items())[-2:] == [(code_and_volume, "0"), (by_hand, "0")]
    planted.forget(WHOLE)
    codes = "set.&lt;b&gt;&amp;&#34;q&#39;/%2F..é"
    missing = f"gene hits are not stored of K76 in the whole cohort, of {codes} in the whole cohort"
    assert list(numbers(planted).items())[-2:] == [
        (f"{code_and_volume}; {missing}", "not known"), (f"{by_hand}; {missing}", "not known")
    ]  # fmt: skip


def test_numbers__without_hand_made_hits_the_other_number_is_known(planted: Planted) -> None:
    for code in (K76, SHOWN[1][1]):  # so that a gene is new
        planted.store(WHOLE, "gene_hits", filled("gene_hits", []), icd10=code)
    planted.forget("hand_made/gene_hits")
    (_, code_and_volume), (by_hand, why) = list(numbers(planted).items())[-2:]
    assert (code_and_volume, why) == ("1", "not known")
    assert by_hand.endswith(
        "; gene hits are not stored of hand-made phenotypes of left_kidney-2, of hand-made phenotypes of liver"
    )


@pytest.mark.parametrize(
    ("asset", "keys"),
    [
        ("icd10_whole_cohort/gwas_summary_stats", {"icd10": K76}),
        ("organ_volume/gwas_summary_stats", {"organ": LIVER}),
        ("hand_made/gwas_summary_stats", {"organ": LIVER}),
    ],
)
def test_cell__lists_failed_checks_of_its_baselines(planted: Planted, asset: str, keys: dict[str, str]) -> None:
    before = content(planted)
    planted.plant_failure(asset, "lambda_gc", "warn", **keys)
    assert content(planted) != before
    text = page(planted)
    assert columns(text, "Checks that failed or warn")["asset"] == asset
    assert "None: all passed." not in text


def test_cell__hits_that_are_not_stored_are_not_none(planted: Planted) -> None:
    planted.forget(HITS, "mae/lead_variants")
    text = page(planted)
    assert said_first(text, "genes") == "Not known."
    assert text.count(f"{HITS} {UNEXPLAINED}") == 1
    assert text.count(f"mae/lead_variants {UNEXPLAINED}") == 2  # of the two phenotypes
    assert "12 cases, genes not known, loci not known" in text
    assert "genes hit are not known." in text
    assert "No variant reaches" not in text
    assert "0 genes" not in text


def test_cell__names_the_failed_check_that_holds_what_is_not_stored(planted: Planted) -> None:
    planted.forget(HITS)
    planted.plant_failure("mae/few_shot_gwas_summary_stats", "sample_size", **K76_OF_LIVER)  # not above it
    planted.plant_failure(GWAS, "lambda_gc", **K76_OF_LIVER)
    assert f"{HITS} is not stored: a failed check holds it, lambda_gc of {GWAS}." in page(planted)
    planted.plant_failure(GWAS, "lambda_gc", "warn", **K76_OF_LIVER)
    assert f"{HITS} {UNEXPLAINED}" in page(planted)


def test_cell__of_stored_hits_that_are_none_says_so(planted: Planted) -> None:
    planted.store(HITS, "gene_hits", filled("gene_hits", []), **K76_OF_LIVER)
    planted.mirror()
    text = page(planted)
    assert said_first(text, "genes") == "No variant reaches genome-wide significance."
    assert "12 cases, 0 genes, 1 loci" in text


def test_cell__a_gwas_or_phewas_that_is_not_stored_is_said_in_its_place(planted: Planted) -> None:
    planted.plant_phewas(*SHOWN[0])
    planted.mirror()
    text = page(planted)
    assert "mae/phewas has nothing of this phenotype." in text  # of the second
    assert UNEXPLAINED not in text
    before = content(planted)
    planted.forget(GWAS, "mae/phewas")
    assert content(planted) != before
    text = page(planted)
    assert text.count(f"{GWAS} {UNEXPLAINED}") == 2
    assert text.count(f"mae/phewas {UNEXPLAINED}") == 2


def test_cell__a_phenotype_that_the_stored_gwas_has_not_hits_what_is_not_known(planted: Planted) -> None:
    rows = [{**K76_OF_LIVER, "encoder": "mae", "method": "clustering", "cluster": 7, "selected": True}]
    planted.store("mae/phenotype_selection", "phenotype_selection", filled("phenotype_selection", rows), **K76_OF_LIVER)
    planted.mirror()
    text = page(planted)
    assert "genes not known, loci not known" in text
    assert f"{GWAS} has nothing of this phenotype." in text


def test_numbers__count_phenotypes_whose_gwas_is_stored(planted: Planted) -> None:
    whole = "embedding-derived phenotypes with a GWAS"
    assert numbers(planted)[whole] == "4"
    planted.lake.path(("mae", "gwas_summary_stats"), cell_of(K76_OF_LIVER)).unlink()
    planted.lake.path(("mae", "gene_hits"), cell_of(K76_OF_LIVER)).unlink()
    planted.mirror()
    found = numbers(planted)
    assert found[f"{whole}, of 4 selected"] == "2"
    assert found["genes hit by them; of 2 selected the gene hits are not stored"] == "1"
    planted.forget(HITS)
    assert [number for what, number in numbers(planted).items() if "hit by them" in what] == ["not known"]


def test_heat_map__has_no_cell_whose_gene_hits_are_not_stored(planted: Planted) -> None:
    data = re.compile(r'data-plot="heat-map">(.*?)</script>', re.DOTALL)
    assert cell_page(LIVER, K76) in data.findall(page(planted, "index.html"))[0]
    planted.store("video_mae/gene_hits", "gene_hits", filled("gene_hits", []), **K76_OF_LIVER)  # of none selected
    planted.lake.path(("mae", "gene_hits"), cell_of(K76_OF_LIVER)).unlink()
    planted.mirror()
    assert cell_page(LIVER, K76) not in data.findall(page(planted, "index.html"))[0]


def make_synthetic(planted: Planted) -> None:
    toml = planted.cohort / "cohort.toml"
    toml.write_text(toml.read_text().replace("[cohort]\n", "[cohort]\nsynthetic = true\n", 1))


def test_papers_numbers__stand_beside_no_cohort_that_is_called_synthetic_later(planted: Planted) -> None:
    organs = filled("evidence_hits_by_organ", [{"organ": LIVER, "source": "mae", "paper_genes": 343.0}])
    ages = filled("evidence_age", [{"organ": LIVER, "paper_mean_absolute_error": 4.321}])
    planted.store("evidence/hits_by_organ", "evidence_hits_by_organ", organs, organ=LIVER)
    planted.store("evidence/age", "evidence_age", ages)
    planted.mirror()
    told = {path: page(planted, path) for path in ("index.html", "evidence.html")}
    assert ("343" in told["index.html"], "4.32" in told["evidence.html"]) == (True, True)
    make_synthetic(planted)
    told = {path: page(planted, path) for path in ("index.html", "evidence.html")}
    assert not any(number in text for number in ("343", "4.32", ">paper") for text in told.values())


@pytest.mark.parametrize(("synthetic", "columns"), [(False, {"paper genes": 1, "paper": 2}), (True, {})])
def test_closing_tables__have_the_papers_numbers_of_a_real_cohort_alone(
    planted: Planted, synthetic: bool, columns: dict[str, int]
) -> None:
    tables = summary.closing_tables(planted.home.warehouse, synthetic=synthetic).values()
    heads = [name.replace("_", " ") for frame in tables for name in frame.columns if name.startswith("paper")]
    assert {name: heads.count(name) for name in heads} == columns


def test_overview__of_what_is_not_made_yet_says_so(planted: Planted) -> None:
    text = page(planted, "index.html")
    assert said_first(text, "left-out") == "Not known: participants, masked_crops not made yet."
    planted.forget("evidence", "organ_volumes", "mae/phenotype_selection", "icd10_codes")
    text, found = page(planted, "index.html"), numbers(planted)
    assert set(found.values()) == {"2", "not made yet"}  # organs
    assert len(found) == 7
    for heading in ("by-disease", "loci", "by-organ", "embeddings", "checks"):
        assert said_first(text, heading) == "Not made yet.", heading


def test_overview__of_what_is_made_and_has_nothing_says_none(planted: Planted) -> None:
    for name in ("participants", "masked_crops"):
        planted.store(name, name, filled(name, []), **({"organ": LIVER} if name == "masked_crops" else {}))
    planted.store("evidence/hits_by_organ", "evidence_hits_by_organ", filled("evidence_hits_by_organ", []), organ=LIVER)
    planted.mirror()
    text = page(planted, "index.html")
    assert said_first(text, "left-out") == "Nobody."
    assert said_first(text, "by-organ") == "None."
    assert said_first(page(planted, scans_page(LIVER)), "left-out") == "None."


def test_organ__people_and_genes_that_are_not_known_are_no_zero(planted: Planted) -> None:
    path = organ_page(LIVER)
    assert "60 people with a usable scan." in page(planted, path)
    assert columns(page(planted, path), "All studied codes")["genes"] == "1"
    planted.forget("organ_volumes")
    planted.lake.path(("mae", "gene_hits"), cell_of(K76_OF_LIVER)).unlink()
    planted.mirror()
    text = page(planted, path)
    assert "Who has a usable scan is not made yet." in text
    assert columns(text, "All studied codes")["genes"] == ""
    assert said_first(page(planted, scans_page(LIVER)), "left-out") == "Not made yet."


@pytest.mark.parametrize("table", ["gene_hits", "lead_variants"])
def test_cell__says_when_its_hits_are_of_other_settings(planted: Planted, table: str) -> None:
    workspace = Workspace(planted.home)
    spec, place = REGISTRY["mae", table].spec, cell_of(K76_OF_LIVER)
    rows = planted.lake.read(spec.asset, place)
    planted.lake.write(spec.asset, place, table, Stored(rows), Fingerprints(workspace, spec).of(place))
    assert "other settings" not in page(planted)
    toml: Path = planted.cohort / "cohort.toml"
    toml.write_text(toml.read_text() + "[association]\nthreshold = 1e-5\n")
    text = page(planted)
    told = "Made by other settings than today's: association; the genes and loci below are of those."
    assert told in text.replace("&#39;", "'")
    assert text.index("other settings") < text.index('id="genes"')
    assert "other settings" not in page(planted, cell_page(*SHOWN[1]))


def test_pages__of_a_cohort_without_a_table_of_genes_say_that_genes_are_not_known(planted: Planted) -> None:
    toml = Workspace(planted.home).cohort.folder / "cohort.toml"
    with warehouse.connect(planted.home.warehouse) as connection:
        connection.execute("UPDATE gene_hits SET gene = NULL")
    before = content(planted)
    toml.write_text(re.sub("(variant_to_gene|gene_table) = .*\n", "", toml.read_text()))
    why = "no variant_to_gene in cohort.toml: genes are not known"
    assert numbers(planted)[f"genes hit by them: {why}"] == "not known"
    assert list(numbers(planted).values())[-3:] == ["not known"] * 3
    assert 'id="heat-map"' not in page(planted, "index.html")
    of_cell = page(planted)
    assert f"N{why[1:]}." in of_cell
    assert "genes not known, 1 loci" in re.sub(r"\s+", " ", of_cell)
    assert columns(page(planted, organ_page(LIVER)), "All studied codes")["genes"] == ""
    assert content(planted) != before
