"""A page an organ and code: its phenotypes and their associations, the genes against baselines, and the way back.

What a phenotype's own part shows is in `phenotype`.
"""

from __future__ import annotations

from typing import Any

import polars as pl
from markupsafe import Markup

from edp_assets.report import meanings as mean
from edp_assets.report.html import table
from edp_assets.report.names import METHODS, cell_page, organ_page, phenotype_id, scans_page
from edp_assets.report.phenotype import Phenotypes
from edp_assets.report.results import meanings
from edp_assets.report.site import Page
from edp_assets.report.sources import Sources
from edp_assets.storage.cells import cell_of

BASELINES = ("whole_cohort", "imaging_cohort", "hand_made")


def cell(sources: Sources, organ: str, icd10: str) -> Page:
    """Return the page of an organ and code."""
    path = cell_page(organ, icd10)
    encoders, place = sources.settings.encoders, cell_of({"organ": organ, "icd10": icd10})
    lineage = [sources.lineage.content(encoder, organ, icd10) for encoder in encoders]
    scans = [sources.lineage.stored((encoder, "phewas")).get(place) for encoder in encoders]
    phewas = [scan and scan.version for scan in scans]
    association = [sources.settings.association.fingerprint(), sources.settings.labels.fingerprint()]
    content = [sources.results.content(organ, icd10), lineage, phewas, association, sources.head]
    return Page(path, content, lambda: _render(sources, organ, icd10, path))


def _render(sources: Sources, organ: str, icd10: str, path: str) -> str:
    results = sources.results
    selection = results.of("phenotype_selection", organ, icd10)
    code = results.codes.filter(icd10=icd10).row(0, named=True)
    phenotypes = Phenotypes(sources, organ, icd10, path, selection.filter("selected"))
    return sources.page(
        "cell.html.j2",
        path,
        f"{organ}, {icd10}",
        organ=organ,
        icd10=icd10,
        code=code,
        level=sources.settings.labels.level,
        organ_page=organ_page(organ),
        genes=_genes(sources, organ, icd10),
        candidates=_candidates(selection),
        phenotypes=phenotypes.parts(),
        paper=phenotypes.paper(),
        checks=_checks(results.checks(organ, icd10)),
        lineages=[(e, sources.lineage.steps(e, organ, icd10)) for e in sources.settings.encoders],
        scans=scans_page(organ),
        methods=METHODS,
    )


def _genes(sources: Sources, organ: str, icd10: str) -> Markup:
    """Return the genes hit, what else hits them, and for each the links to its phenotype and its lineage."""
    results = sources.results
    hits = results.of("gene_hits", organ, icd10).drop("organ", "icd10")
    code, hand_made = results.of("gene_hits", None, icd10), results.of("gene_hits", organ, None)
    known = {name: code.filter(method=f"icd10_{name}")["gene"] for name in BASELINES[:2]} | {
        "hand_made": hand_made["gene"]
    }
    for name, found in known.items():
        hits = hits.with_columns(pl.col("gene").is_in(found.drop_nulls().implode()).fill_null(value=False).alias(name))
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
    return table(made_from.select(*order, *rest), caption, links=links, meanings=mean.GENES,
                 empty="No variant reaches genome-wide significance.")  # fmt: skip


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
