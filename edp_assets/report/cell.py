"""A page an organ and code: its phenotypes and their associations, the genes against baselines, and the way back.

What a phenotype's own part shows is in `phenotype`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from markupsafe import Markup

from edp_assets.report import meanings as mean
from edp_assets.report.html import table
from edp_assets.report.names import METHODS, cell_page, organ_page, phenotype_id, scans_page
from edp_assets.report.phenotype import OF_PHENOTYPES, Phenotypes
from edp_assets.report.results import meanings
from edp_assets.report.site import Page
from edp_assets.report.sources import Sources
from edp_assets.report.unknown import HITS, why_not_stored
from edp_assets.storage.cells import cell_of
from edp_assets.storage.workspace import Asset

BASELINES = {
    "whole_cohort": ("icd10_whole_cohort",),
    "imaging_cohort": ("icd10_imaging_cohort",),
    "hand_made": ("organ_volume", "hand_made"),
}
"""Column of the genes -> whose gene hits it tells of: the first part of their assets' keys."""
BASELINE_HITS = [(name, "gene_hits") for names in BASELINES.values() for name in names]


def cell(sources: Sources, organ: str, icd10: str) -> Page:
    """Return the page of an organ and code."""
    path = cell_page(organ, icd10)
    encoders, place = sources.settings.encoders, cell_of({"organ": organ, "icd10": icd10})
    lineage = [sources.lineage.content(encoder, organ, icd10) for encoder in encoders]
    scans = [sources.lineage.stored((encoder, "phewas")).get(place) for encoder in encoders]
    phewas = [scan and scan.version for scan in scans]
    association = [sources.settings.association.fingerprint(), sources.settings.labels.fingerprint()]
    not_stored, other_settings = _not_stored(sources, organ, icd10), _other_settings(sources, organ, icd10)
    told = [not_stored, other_settings]
    content = [sources.results.content(organ, icd10), lineage, phewas, association, told, sources.head]
    return Page(path, content, lambda: _render(sources, organ, icd10, path, not_stored, other_settings))


def _encoders(sources: Sources, organ: str, icd10: str) -> list[str]:
    """Return the encoders of which a phenotype is selected."""
    selection = sources.results.of("phenotype_selection", organ, icd10)
    return selection.filter("selected")["encoder"].unique(maintain_order=True).to_list()


def _not_stored(sources: Sources, organ: str, icd10: str) -> dict[Asset, str]:
    """Return a sentence on each asset that the page shows and of which nothing is stored."""
    of_encoders = [(e, table) for e in _encoders(sources, organ, icd10) for table in OF_PHENOTYPES]
    told = {asset: why_not_stored(sources, asset, organ, icd10) for asset in (*of_encoders, *BASELINE_HITS)}
    return {asset: why for asset, why in told.items() if why is not None}


def _other_settings(sources: Sources, organ: str, icd10: str) -> str | None:
    """Return a sentence on settings that the page's hits were made by and that are others now."""
    of_encoders = [(e, table) for e in _encoders(sources, organ, icd10) for table in HITS]
    changed = sources.lineage.other_settings([*of_encoders, *BASELINE_HITS], organ, icd10)
    if not changed:
        return None
    return f"Made by other settings than today's: {', '.join(changed)}; the genes and loci below are of those."


def _render(
    sources: Sources, organ: str, icd10: str, path: str, not_stored: Mapping[Asset, str], other_settings: str | None
) -> str:
    results = sources.results
    selection = results.of("phenotype_selection", organ, icd10)
    code = results.codes.filter(icd10=icd10).row(0, named=True)
    phenotypes = Phenotypes(sources, organ, icd10, path, selection.filter("selected"), not_stored)
    return sources.page(
        "cell.html.j2",
        path,
        f"{organ}, {icd10}",
        organ=organ,
        icd10=icd10,
        code=code,
        level=sources.settings.labels.level,
        organ_page=organ_page(organ),
        other_settings=other_settings,
        genes=_genes(sources, organ, icd10, not_stored),
        genes_not_stored=[why for (_, table), why in not_stored.items() if table == "gene_hits"],
        candidates=_candidates(selection),
        phenotypes=phenotypes.parts(),
        paper=phenotypes.paper(),
        checks=_checks(results.checks(organ, icd10)),
        lineages=[(e, sources.lineage.steps(e, organ, icd10)) for e in sources.settings.encoders],
        scans=scans_page(organ),
        methods=METHODS,
    )


def _genes(sources: Sources, organ: str, icd10: str, not_stored: Mapping[Asset, str]) -> Markup:
    """Return the genes hit, what else hits them, and for each the links to its phenotype and its lineage.

    A gene that no stored baseline hits is known to be hit by none only where all of them are stored.
    """
    results = sources.results
    hits = results.of("gene_hits", organ, icd10).drop("organ", "icd10")
    code, hand_made = results.of("gene_hits", None, icd10), results.of("gene_hits", organ, None)
    unknown = {column: any((name, "gene_hits") in not_stored for name in names) for column, names in BASELINES.items()}
    for column, names in BASELINES.items():
        found = (hand_made if column == "hand_made" else code.filter(pl.col("method").is_in(names)))["gene"]
        hit = pl.col("gene").is_in(found.drop_nulls().implode()).fill_null(value=False)
        otherwise = pl.lit(None if unknown[column] else False, pl.Boolean)
        hits = hits.with_columns(pl.when(hit).then(True).otherwise(otherwise).alias(column))
    hits = hits.sort("neg_log_10_p_value", descending=True, maintain_order=True)
    ids = [phenotype_id(*names) for names in hits.select("encoder", "method", "cluster").iter_rows()]
    made_from = hits.with_columns(lineage=pl.lit("back to the scans"))
    links: dict[str, list[str | None]] = {
        "method": [f"#{name}" for name in ids],
        "lineage": [f"#lineage-{encoder}" for encoder in hits["encoder"]],
    }
    order = ["gene", "encoder", "method", "cluster", "neg_log_10_p_value", *BASELINES, "lineage"]
    rest = [name for name in made_from.columns if name not in order]
    caption = "Genes hit, the strongest first, and whether the baselines hit them as well"
    caption += "; empty: not known" if any(unknown.values()) else ""
    return table(made_from.select(*order, *rest), caption, links=links, meanings=mean.GENES,
                 empty=_no_genes(_encoders(sources, organ, icd10), not_stored))  # fmt: skip


def _no_genes(encoders: list[str], not_stored: Mapping[Asset, str]) -> str:
    """Return what is said where there is no gene."""
    without = [encoder for encoder in encoders if (encoder, "gene_hits") in not_stored]
    if without == encoders:
        return "Not known."
    none = "No variant reaches genome-wide significance"
    return f"{none} in what is stored." if without else f"{none}."


def _candidates(selection: pl.DataFrame) -> Markup:
    shown = _told(selection.drop("organ", "icd10").sort("selected", descending=True, maintain_order=True))
    ids = [
        f"#{phenotype_id(*row[:3])}" if row[3] else None
        for row in shown.select("encoder", "method", "cluster", "selected").iter_rows()
    ]
    caption = "Candidate phenotypes: a GWAS is made of those selected"
    return table(shown, caption, links={"method": ids}, meanings=meanings("phenotype_selection"))


def _told(frame: pl.DataFrame) -> pl.DataFrame:
    """Leave out columns that say nothing of any row: of some methods alone have values."""
    return frame.drop(
        [name for name in frame.columns if name != "cluster" and frame[name].null_count() == frame.height]
    )


def _checks(checks: pl.DataFrame) -> dict[str, Any]:
    """Return how many checks passed, and those that did not."""
    if not checks.height:
        return {"passed": 0, "failed": None}
    failed = checks.filter(~pl.col("passed")).select(
        "asset", "method", "cluster", "check_name", "severity", "value", "threshold", "description"
    )
    return {
        "passed": int(checks["passed"].sum()),
        "failed": table(
            failed, "Checks that failed or warn", meanings=meanings("asset_checks"), empty="None: all passed."
        ),
    }
