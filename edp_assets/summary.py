"""The closing tables: those of `evidence` (the paper's Tables 1 to 4) as people read them, checks, who is left out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from edp_assets.storage import warehouse
from edp_assets.storage.verdicts import Hold
from edp_assets.storage.workspace import Asset

HELD_SHOWN = 5
"""Failures of the same check of an asset that a run's last words list."""

# A row a cell and encoder, the code's own counts beside those of its EDPs.
_HITS = """
WITH codes AS (
    SELECT organ, icd10, max({counted}) FILTER (method = 'icd10_whole_cohort') AS whole_cohort,
        max({counted}) FILTER (method = 'icd10_imaging_cohort') AS imaging_cohort
    FROM evidence_hits_by_disease WHERE encoder IS NULL AND icd10 IS NOT NULL GROUP BY ALL
)
SELECT h.encoder, h.organ, h.icd10, max(h.cases) AS cases, max(h.roc_auc_out_of_fold) AS auc,
    sum(h.phenotypes)::BIGINT AS selected, any_value(c.whole_cohort) AS whole_cohort,
    any_value(c.imaging_cohort) AS imaging_cohort, {methods}
FROM evidence_hits_by_disease h JOIN codes c USING (organ, icd10)
WHERE h.encoder IS NOT NULL GROUP BY h.encoder, h.organ, h.icd10 ORDER BY h.encoder, h.organ, h.icd10
"""

_OF_METHOD = """
CASE WHEN count(*) FILTER (
        h.{column} IS NULL AND (h.method = '{method}' OR (h.{counted} IS NULL AND h.loci IS NOT NULL))
    ) = 0
    THEN coalesce(max(h.{column}) FILTER (h.method = '{method}'), 0) END AS {name}
"""

_GENES_UNKNOWN = """
SELECT reason FROM evidence_hits_by_disease WHERE genes IS NULL AND loci IS NOT NULL
UNION SELECT reason FROM evidence_hits_by_organ WHERE genes IS NULL AND loci IS NOT NULL
ORDER BY reason
"""

_METHODS = ("classifier", "clustering", "island")

_ORGANS = """
SELECT organ, source, scans, phenotypes, genes, genes_low, genes_high, genes_corrected, associations, loci,
    codes_not_counted, paper_genes
FROM evidence_hits_by_organ ORDER BY organ, source
"""

_AGE = """
SELECT organ, features, organs, participants, mean_absolute_error AS error_years, mean_absolute_error_low AS low,
    mean_absolute_error_high AS high, error_below_volume AS below_volume, error_below_volume_low AS below_low,
    error_below_volume_high AS below_high, pearson_r, paper_mean_absolute_error AS paper
FROM evidence_age ORDER BY organ = 'combined', organ, features
"""

_VOLUME = """
SELECT organ, features, participants, pearson_r, pearson_r_low AS low, pearson_r_high AS high,
    mean_absolute_error_percent AS error_percent, paper_pearson_r AS paper
FROM evidence_volume ORDER BY organ, features
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
    """Genes hit for each organ and code: whole cohort, imaging cohort, EDPs, overlaps (paper, Table 1)."""
    return _wide(path, "genes")


def loci_by_disease(path: Path) -> pl.DataFrame:
    """Loci hit for each organ and code, and those shared with the whole cohort's: the table of genes, by locus."""
    return _wide(path, "loci").drop("cases", "auc", "selected")


def genes_unknown(path: Path) -> list[str]:
    """Return why genes are not counted where loci are: what the closing tables leave empty says nothing itself."""
    return [reason for (reason,) in warehouse.query(path, _GENES_UNKNOWN).iter_rows() if reason is not None]


def _wide(path: Path, counted: str) -> pl.DataFrame:
    """Return `evidence_hits_by_disease` with a column a method; `counted`: genes or loci.

    A method without a phenotype hits none; null is what is not known, since hits are not stored, or no gene is known.
    """
    columns = [(counted, method, method) for method in _METHODS]
    columns += [(f"{counted}_and_whole", method, f"{method}_and_whole") for method in _METHODS]
    # Names of this module's own, no values.
    methods = ", ".join(
        _OF_METHOD.format(column=column, counted=counted, method=method, name=name) for column, method, name in columns
    )
    return warehouse.query(path, _HITS.format(counted=counted, methods=methods))


def without_papers(frame: pl.DataFrame) -> pl.DataFrame:
    """Leave the paper's numbers out: they stand beside a real cohort's alone, whatever it was called when it ran."""
    return frame.drop([name for name in frame.columns if name.startswith("paper")])


def hits_by_organ(path: Path, *, synthetic: bool) -> pl.DataFrame:
    """Genes hit for each organ by the EDPs of each encoder, and by hand-made phenotypes (paper, Table 2)."""
    return _beside_papers(path, _ORGANS, synthetic=synthetic)


def age(path: Path, *, synthetic: bool) -> pl.DataFrame:
    """Age predicted out of sample from embeddings and hand-made phenotypes (paper, Table 3)."""
    return _beside_papers(path, _AGE, synthetic=synthetic)


def volume(path: Path, *, synthetic: bool) -> pl.DataFrame:
    """Organ volume predicted out of sample from embeddings (paper, Table 4)."""
    return _beside_papers(path, _VOLUME, synthetic=synthetic)


def _beside_papers(path: Path, sql: str, *, synthetic: bool) -> pl.DataFrame:
    found = warehouse.query(path, sql)
    return without_papers(found) if synthetic else found


def encoder_quality(path: Path) -> pl.DataFrame:
    """What embeddings and controls predict of volume and age in a sample of scans, out of sample."""
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


def closing_tables(path: Path, *, synthetic: bool) -> dict[str, pl.DataFrame]:
    """Return the tables that a run closes with, by title; of a synthetic cohort without the paper's numbers."""
    return {
        "Genes at genome-wide significance (Table 1 of the paper)": hits_by_disease(path),
        "Loci at genome-wide significance (Table 1 of the paper, by locus)": loci_by_disease(path),
        "Genes by organ (Table 2 of the paper)": hits_by_organ(path, synthetic=synthetic),
        "Age out of sample, mean absolute error in years (Table 3 of the paper)": age(path, synthetic=synthetic),
        "Organ volume from embeddings, out of sample (Table 4 of the paper)": volume(path, synthetic=synthetic),
        "Embeddings of a sample, beside untrained encoders of each shape and pixels": encoder_quality(path),
        "Checks, a phenotype or partition each (of files, whose passing is not kept, the failed alone)": check_counts(
            path
        ),
        "Left out": left_out(path),
    }
