"""The SQL that turns Open Targets' tables into scored pairs of variant and gene, and picks each variant's best.

The only values in it are this module's own weights and names; files and parameters come in by `open_targets.py`.
"""

from __future__ import annotations

from typing import Any

from edp_assets.science.genetics.plink_tables import CHROMOSOME_NAMES

SOURCE_WEIGHTS = {
    "fpred": 1.0, "vep": 1.0, "sqtl": 1.0, "eqtl": 0.66, "pqtl": 0.66, "pchic": 0.33, "fantom5": 0.33, "dhscor": 0.33,
    "distance": 0.33,
}  # fmt: skip
"""Weight of a source by its type_id."""

SUM_OF_WEIGHTS = 4.97
"""Of the nine sources of release 22.10: VEP, sQTL, eQTL, pQTL, two of promoter capture, FANTOM5, DHS, distance."""

CONSEQUENCE_SCORES = {
    **dict.fromkeys(("transcript_ablation", "splice_acceptor_variant", "splice_donor_variant", "stop_gained",
                     "frameshift_variant", "stop_lost", "start_lost", "transcript_amplification"), 1.0),
    **dict.fromkeys(("inframe_insertion", "inframe_deletion", "missense_variant", "protein_altering_variant",
                     "regulatory_region_ablation"), 0.66),
    **dict.fromkeys(("splice_region_variant", "incomplete_terminal_codon_variant", "start_retained_variant",
                     "stop_retained_variant", "synonymous_variant"), 0.33),
}  # fmt: skip
"""VEP consequences by their V2G score (opentargets/genetics-v2g-data, configs/vep_consequences.tsv); others have 0."""


def _cases(column: str, names: dict[str, Any], otherwise: str) -> str:
    """Return SQL that looks a value up in one of this module's own tables."""
    whens = " ".join(f"WHEN '{key}' THEN {value!r}" for key, value in names.items())
    return f"CASE {column} {whens} ELSE {otherwise} END"


_BARE = "regexp_replace(upper(CAST({column} AS VARCHAR)), '^CHR', '')"


def _chromosome(column: str) -> str:
    bare = _BARE.format(column=column)
    return _cases(bare, CHROMOSOME_NAMES, bare)


FRAGMENTS = {
    "chromosome_of_chr_id": _chromosome("chr_id"),
    "chromosome_of_chrom": _chromosome("chrom"),
    "chromosome_of_id": _chromosome("parts[1]"),
    "weight": _cases("type_id", SOURCE_WEIGHTS, "0.0"),
    "consequence": _cases("feature", CONSEQUENCE_SCORES, "0.0"),
    "sum_of_weights": repr(SUM_OF_WEIGHTS),
}

_SPLIT = r"string_split(regexp_replace(CAST({column} AS VARCHAR), '[:\-]', '_', 'g'), '_') AS parts"
_PLACE = "CAST(position AS BIGINT) AS position, upper(ref_allele) AS ref, upper(alt_allele) AS alt"

_AGGREGATE = """
SELECT chromosome, position, ref, alt, any_value(rsid) AS rsid, any_value(gene) AS gene, gene_id,
       round(sum(weight * score) / {sum_of_weights}, 9) AS score, any_value(distance) AS distance
FROM (
    SELECT chromosome, position, ref, alt, any_value(rsid) AS rsid, any_value(gene) AS gene, gene_id,
           any_value(weight) AS weight, max(score) AS score, any_value(distance) AS distance
    FROM scored WHERE score IS NOT NULL
    GROUP BY chromosome, position, ref, alt, gene_id, source_id
) GROUP BY chromosome, position, ref, alt, gene_id
"""

_AT_WANTED = """(
    (chromosome, position) IN (SELECT (chromosome, position) FROM wanted)
    OR rsid IN (SELECT rsid FROM wanted WHERE rsid IS NOT NULL)
)"""

PAIRS = {
    "table": """
CREATE VIEW pairs AS SELECT {chromosome_of_id} AS chromosome, try_cast(parts[2] AS BIGINT) AS position,
    upper(parts[3]) AS ref, upper(parts[4]) AS alt, rsid, gene, gene_id, try_cast(score AS DOUBLE) AS score,
    NULL::BIGINT AS distance FROM (SELECT *, """ + _SPLIT.format(column="variant_id") + " FROM published)",
    "v2g_scored": """
CREATE VIEW pairs AS SELECT {chromosome_of_chr_id} AS chromosome, """ + _PLACE + """,
    NULL::VARCHAR AS rsid, NULL::VARCHAR AS gene, gene_id, try_cast(overall_score AS DOUBLE) AS score,
    NULL::BIGINT AS distance FROM published
""",
    "v2g_deciles": """
CREATE VIEW pairs AS WITH scored AS (
    SELECT *, try_cast(coalesce(fpred_max_score, qtl_score_q, interval_score_q, distance_score_q) AS DOUBLE) AS score
    FROM (SELECT {chromosome_of_chr_id} AS chromosome, """ + _PLACE + """,
        NULL::VARCHAR AS rsid, NULL::VARCHAR AS gene, gene_id, source_id, {weight} AS weight,
        NULL::BIGINT AS distance, fpred_max_score, qtl_score_q, interval_score_q, distance_score_q FROM published)
    WHERE """ + _AT_WANTED + ")" + _AGGREGATE,
    "v2g_raw": """
CREATE VIEW pairs AS WITH evidence AS (
    SELECT {chromosome_of_chr_id} AS chromosome, """ + _PLACE + """, rs_id AS rsid, gene_name AS gene, gene_id,
        greatest(0, CAST(gene_start AS BIGINT) - CAST(position AS BIGINT),
                 CAST(position AS BIGINT) - CAST(gene_end AS BIGINT)) AS distance,
        source_id, type_id, feature, {weight} AS weight, CASE WHEN type_id IN ('vep', 'fpred') THEN {consequence}
            WHEN type_id IN ('eqtl', 'pqtl', 'sqtl') THEN 1 - try_cast(qtl_pval AS DOUBLE)
            ELSE nullif(try_cast(interval_score AS DOUBLE), 0) END AS value
    FROM published
), counted AS (
    SELECT source_id, feature, value, count(*) AS n FROM evidence
    WHERE value IS NOT NULL AND type_id NOT IN ('vep', 'fpred') GROUP BY ALL
), ranked AS (
    SELECT source_id, feature, value, round(coalesce((sum(n) OVER below)
        / nullif(sum(n) OVER (PARTITION BY source_id, feature) - 1, 0), 0), 1) AS decile
    FROM counted
    WINDOW below AS (PARTITION BY source_id, feature ORDER BY value ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
), scored AS (
    SELECT e.chromosome, e.position, e.ref, e.alt, e.rsid, e.gene, e.gene_id, e.distance, e.source_id, e.weight,
        CASE WHEN e.type_id IN ('vep', 'fpred') THEN e.value ELSE r.decile END AS score
    FROM (SELECT * FROM evidence WHERE """ + _AT_WANTED + """) e LEFT JOIN ranked r
        ON r.source_id = e.source_id AND r.feature = e.feature AND r.value = e.value
)""" + _AGGREGATE,
    "l2g_portal": """
CREATE VIEW pairs AS SELECT {chromosome_of_chrom} AS chromosome, CAST(pos AS BIGINT) AS position, upper(ref) AS ref,
    upper(alt) AS alt, NULL::VARCHAR AS rsid, NULL::VARCHAR AS gene, gene_id,
    try_cast(y_proba_full_model AS DOUBLE) AS score, NULL::BIGINT AS distance FROM published
""",
    "l2g": """
CREATE VIEW pairs AS SELECT {chromosome_of_id} AS chromosome, try_cast(parts[2] AS BIGINT) AS position,
    upper(parts[3]) AS ref, upper(parts[4]) AS alt, NULL::VARCHAR AS rsid, NULL::VARCHAR AS gene, gene_id, score,
    NULL::BIGINT AS distance
FROM (
    SELECT p.geneId AS gene_id, try_cast(p.score AS DOUBLE) AS score, """ + _SPLIT.format(column="c.variantId") + """
    FROM published p JOIN ({credible}) c ON c.studyLocusId = p.studyLocusId
)
""",
}  # fmt: skip
"""SQL of the view `pairs` by layout: chromosome, position, ref, alt, rsid, gene, gene_id, score, distance."""

LEADS = "SELECT studyLocusId, variantId FROM published_sets"
MEMBERS = "SELECT studyLocusId, unnest(list_transform(locus, lambda x: x.variantId)) FROM published_sets"

BEST = """
CREATE TABLE best AS
SELECT chromosome, position, position AS base_pair_location, CASE WHEN here AND ref IS NOT NULL AND alt IS NOT NULL
           THEN concat_ws('_', chromosome, position, ref, alt) END AS variant_id,
       rsid, best.gene AS gene, best.gene_id AS gene_id, best.score AS score
FROM (
    SELECT chromosome, position, ref, alt, any_value(rsid) AS rsid, any_value(here) AS here,
           arg_min(struct_pack(gene := coalesce(gene, gene_id), gene_id := gene_id, score := score),
                   struct_pack(falling := -score, far := coalesce(distance, 0), name := coalesce(gene, gene_id))
               ) AS best
    FROM (
        SELECT *, $1 AND coalesce((chromosome, position) IN (SELECT (chromosome, position) FROM wanted), false) AS here,
            coalesce(rsid IN (SELECT rsid FROM wanted WHERE rsid IS NOT NULL), false) AS named
        FROM pairs WHERE score IS NOT NULL AND NOT isnan(score) AND coalesce(gene, gene_id) IS NOT NULL
    ) WHERE here OR named
    GROUP BY chromosome, position, ref, alt, CASE WHEN position IS NULL THEN rsid END
)
"""

SHARED = """
WITH places AS (SELECT DISTINCT b.rsid, b.chromosome, b.position FROM best b WHERE b.rsid IS NOT NULL),
     found AS (
         SELECT p.rsid, bool_or(p.chromosome = w.chromosome AND p.position = w.position) AS same
         FROM places p JOIN wanted w ON w.rsid = p.rsid WHERE p.position IS NOT NULL GROUP BY p.rsid
     )
SELECT (SELECT count(*) FROM best), count(*), count(*) FILTER (NOT same) FROM found
"""
