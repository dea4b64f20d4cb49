"""The closing tables: gene hits against the baselines (the paper's Tables 1 and 2), what embeddings hold (3 and 4)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from edp_assets.science.genetics.loci import merge_loci, shared_loci
from edp_assets.storage import warehouse
from edp_assets.storage.verdicts import Hold
from edp_assets.storage.workspace import Asset

HELD_SHOWN = 5
"""Failures of the same check of an asset that a run's last words list."""

# Rows of retired codes, which are kept as they were, count no more.
_HITS = """
WITH cells AS (
    SELECT encoder, organ, icd10,
           max(cases) FILTER (method = 'classifier') AS cases,
           max(roc_auc_out_of_fold) AS auc,
           count(*) FILTER (selected) AS selected
    FROM phenotype_selection
    WHERE icd10 NOT IN (SELECT icd10 FROM icd10_codes WHERE retired)
    GROUP BY encoder, organ, icd10
), genes AS (
    SELECT DISTINCT encoder, organ, icd10, method, gene FROM gene_hits WHERE gene IS NOT NULL
), whole AS (
    SELECT icd10, gene FROM genes WHERE method = 'icd10_whole_cohort'
)
SELECT c.encoder, c.organ, c.icd10, c.cases, c.auc, c.selected,
    (SELECT count(*) FROM whole w WHERE w.icd10 = c.icd10) AS whole_cohort,
    (SELECT count(*) FROM genes g WHERE g.method = 'icd10_imaging_cohort' AND g.icd10 = c.icd10) AS imaging_cohort,
    count(DISTINCT g.gene) FILTER (g.method = 'classifier') AS classifier,
    count(DISTINCT g.gene) FILTER (g.method = 'clustering') AS clustering,
    count(DISTINCT g.gene) FILTER (g.method = 'island') AS island,
    count(DISTINCT g.gene) FILTER (g.method = 'classifier' AND w.gene IS NOT NULL) AS classifier_and_whole,
    count(DISTINCT g.gene) FILTER (g.method = 'clustering' AND w.gene IS NOT NULL) AS clustering_and_whole
FROM cells c
LEFT JOIN genes g ON g.encoder = c.encoder AND g.organ = c.organ AND g.icd10 = c.icd10
LEFT JOIN whole w ON w.icd10 = c.icd10 AND w.gene = g.gene
GROUP BY ALL ORDER BY c.encoder, c.organ, c.icd10
"""

_CELLS = """
SELECT DISTINCT encoder, organ, icd10 FROM phenotype_selection
WHERE icd10 NOT IN (SELECT icd10 FROM icd10_codes WHERE retired) ORDER BY ALL
"""

_LEADS = "SELECT encoder, organ, icd10, method, chromosome, locus_start, locus_end FROM lead_variants"

_ORGANS = """
SELECT o.organ, count(*) AS scans, g.source, g.genes
FROM organ_volumes o LEFT JOIN (
    SELECT organ, coalesce(encoder, method) AS source, count(DISTINCT gene) AS genes
    FROM gene_hits
    WHERE organ IS NOT NULL AND (icd10 IS NULL OR icd10 NOT IN (SELECT icd10 FROM icd10_codes WHERE retired))
    GROUP BY ALL
) g ON g.organ = o.organ
GROUP BY o.organ, g.source, g.genes ORDER BY o.organ
"""

_QUALITY = """
SELECT organ, coalesce(encoder, '') AS encoder, features, any_value(dimensions) AS dimensions,
    any_value(effective_rank) AS effective_rank,
    any_value(pearson_r) FILTER (target = 'volume_ml') AS volume_r,
    any_value(mean_absolute_error_percent) FILTER (target = 'volume_ml') AS volume_error_percent,
    any_value(pearson_r) FILTER (target = 'age') AS age_r,
    any_value(mean_absolute_error) FILTER (target = 'age') AS age_error_years
FROM encoder_quality GROUP BY ALL ORDER BY organ, encoder DESC, features
"""

_CHECKS = """
WITH checks AS (
    SELECT stored_asset, stored_cell, method, cluster, check_name, bool_and(passed) AS passed,
        bool_or(NOT passed AND severity = 'error') AS failed
    FROM asset_checks GROUP BY ALL
)
SELECT check_name AS "check", count(*) FILTER (passed) AS passed, count(*) FILTER (NOT passed AND NOT failed) AS warned,
    count(*) FILTER (failed) AS failed
FROM checks GROUP BY check_name ORDER BY check_name
"""

_EXCLUDED = "SELECT stage, organ, reason, count(*) AS left_out FROM excluded GROUP BY ALL ORDER BY ALL"


def hits_by_disease(path: Path) -> pl.DataFrame:
    """Genes hit for each organ and code: whole cohort, imaging cohort, both EDPs, overlaps (paper, Table 1)."""
    return warehouse.query(path, _HITS)


def loci_by_disease(path: Path, gap_kb: float = 500) -> pl.DataFrame:
    """Loci hit for each organ and code, and those shared with the whole cohort's: the table of genes, by locus.

    Loci whose bounds lie within `gap_kb` (thousand base pairs) of each other are one: within a method, its clusters
    together, and between an EDP and the code itself.
    """
    leads = warehouse.query(path, _LEADS)
    cells = warehouse.query(path, _CELLS)
    loci = merge_loci(leads, ["encoder", "organ", "icd10", "method"], gap_kb)
    rows = []
    for cell in cells.iter_rows(named=True):
        own = loci.filter(**cell)
        code = loci.filter(icd10=cell["icd10"])
        whole, imaging = (code.filter(method=f"icd10_{name}_cohort") for name in ("whole", "imaging"))
        found = {method: own.filter(method=method) for method in ("classifier", "clustering", "island")}
        shared = {f"{name}_and_whole": shared_loci(each, whole, gap_kb).height for name, each in found.items()}
        counts = {name: each.height for name, each in found.items()}
        rows.append({**cell, "whole_cohort": whole.height, "imaging_cohort": imaging.height, **counts, **shared})
    return pl.DataFrame(rows)


def hits_by_organ(path: Path) -> pl.DataFrame:
    """Genes hit for each organ by the EDPs of each encoder, and by its volume (paper, Table 2)."""
    found = warehouse.query(path, _ORGANS)
    run = warehouse.query(path, "SELECT DISTINCT encoder FROM phenotype_selection ORDER BY ALL")["encoder"]
    return found.group_by("organ", "scans", maintain_order=True).agg(
        pl.col("genes").filter(source=source).sum().alias(source) for source in (*run, "organ_volume")
    )


def encoder_quality(path: Path) -> pl.DataFrame:
    """What embeddings and controls predict of volume and age, out of sample (paper, Tables 3 and 4)."""
    return warehouse.query(path, _QUALITY)


def check_counts(path: Path) -> pl.DataFrame:
    """How many phenotypes passed each check, were warned of, and failed so that what stands downstream is held."""
    return warehouse.query(path, _CHECKS)


def held_lines(holds: Iterable[Hold]) -> list[str]:
    """Return the failed checks a line each; of the same check of an asset the first few, and how many more."""
    alike: dict[tuple[Asset, str], list[Hold]] = {}
    for hold in holds:
        alike.setdefault((hold.asset, hold.check), []).append(hold)
    lines = []
    for (asset, check), of_check in alike.items():
        lines += [str(hold) for hold in of_check[:HELD_SHOWN]]
        if len(of_check) > HELD_SHOWN:
            more = len(of_check) - HELD_SHOWN
            lines.append(
                f"{'/'.join(asset)}: check {check} failed {more} times more: the table asset_checks has them all"
            )
    return lines


def left_out(path: Path) -> pl.DataFrame:
    """How many were left out, by stage, organ and reason."""
    return warehouse.query(path, _EXCLUDED)
