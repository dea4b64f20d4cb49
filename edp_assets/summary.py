"""The closing tables: gene hits by disease and organ against the baselines, as in the paper's Tables 1 and 2."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from edp_assets.storage import warehouse

_HITS = """
WITH cells AS (
    SELECT organ, icd10,
           max(cases) FILTER (method = 'classifier') AS cases,
           max(roc_auc_out_of_fold) AS auc,
           count(*) FILTER (selected) AS selected
    FROM phenotype_selection GROUP BY organ, icd10
), genes AS (
    SELECT DISTINCT organ, icd10, method, gene FROM gene_hits WHERE gene IS NOT NULL
), whole AS (
    SELECT icd10, gene FROM genes WHERE method = 'icd10_whole_cohort'
)
SELECT c.organ, c.icd10, c.cases, c.auc, c.selected,
    (SELECT count(*) FROM whole w WHERE w.icd10 = c.icd10) AS whole_cohort,
    (SELECT count(*) FROM genes g WHERE g.method = 'icd10_imaging_cohort' AND g.icd10 = c.icd10) AS imaging_cohort,
    count(DISTINCT g.gene) FILTER (g.method = 'classifier') AS classifier,
    count(DISTINCT g.gene) FILTER (g.method = 'clustering') AS clustering,
    count(DISTINCT g.gene) FILTER (g.method = 'classifier' AND w.gene IS NOT NULL) AS classifier_and_whole,
    count(DISTINCT g.gene) FILTER (g.method = 'clustering' AND w.gene IS NOT NULL) AS clustering_and_whole
FROM cells c
LEFT JOIN genes g ON g.organ = c.organ AND g.icd10 = c.icd10
LEFT JOIN whole w ON w.icd10 = c.icd10 AND w.gene = g.gene
GROUP BY ALL ORDER BY c.organ, c.icd10
"""

_ORGANS = """
SELECT o.organ, count(*) AS scans,
    (SELECT count(DISTINCT gene) FROM gene_hits g
     WHERE g.organ = o.organ AND g.method IN ('classifier', 'clustering')) AS edp,
    (SELECT count(DISTINCT gene) FROM gene_hits g
     WHERE g.organ = o.organ AND g.method = 'organ_volume') AS organ_volume
FROM organ_volumes o GROUP BY o.organ ORDER BY o.organ
"""

_EXCLUDED = "SELECT stage, organ, reason, count(*) AS left_out FROM excluded GROUP BY ALL ORDER BY ALL"


def hits_by_disease(path: Path) -> pl.DataFrame:
    """Genes hit for each organ and code: whole cohort, imaging cohort, both EDPs, overlaps (paper, Table 1)."""
    return warehouse.query(path, _HITS)


def hits_by_organ(path: Path) -> pl.DataFrame:
    """Genes hit for each organ by all its EDPs together and by its volume (paper, Table 2)."""
    return warehouse.query(path, _ORGANS)


def left_out(path: Path) -> pl.DataFrame:
    """How many were left out, by stage, organ and reason."""
    return warehouse.query(path, _EXCLUDED)
