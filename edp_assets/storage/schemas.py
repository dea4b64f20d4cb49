"""One schema a stored table: every column with its type and what it means. What comes in is in `cohort.schema`.

The tables of the design's part 4 are contracts: columns may be added, never taken away.
"""

from __future__ import annotations

import polars as pl

from edp_assets.storage.ancestry_schemas import ANCESTRY
from edp_assets.storage.columns import EID, ENCODER, ORGAN, PHENOTYPE, VARIANT_STATISTICS, Column, Schema, Vector
from edp_assets.storage.evidence_schemas import EVIDENCE
from edp_assets.storage.paper_schemas import PAPER, PAPER_KEYS, SIZES
from edp_assets.storage.phenome_schemas import PHENOME, PHENOME_KEYS
from edp_assets.storage.withdrawal_schemas import WITHDRAWALS

SCHEMAS: dict[str, Schema] = {
    "participants": {
        "eid": EID,
        "age": Column(pl.Float64, "age at imaging, years", nullable=True),
        "sex": Column(pl.Float64, "0 female, 1 male", nullable=True),
        "bmi": Column(pl.Float64, "body mass index, kg/m2", nullable=True),
        "genotyping_array": Column(pl.String, "genotyping array", nullable=True),
        "imaging_centre": Column(pl.String, "imaging centre", nullable=True),
        "imaging_date": Column(pl.String, "date of imaging, ISO 8601", nullable=True),
        **{f"pc{i}": Column(pl.Float64, f"genotype principal component {i}", nullable=True) for i in range(1, 11)},
    },
    "diagnoses": {
        "eid": EID,
        "icd10": Column(pl.String, "ICD-10 code, normalised, as precise as recorded"),
        "counts_for": Column(pl.String, "the code it is rolled up to; null: it stands nowhere there", nullable=True),
    },
    "binary_labels": {
        "icd10": Column(pl.String, "the label as a phenotype: set.label"),
        "eid": EID,
        "label_set": Column(pl.String, "the set's name"),
    },
    "scans": {
        "organ": ORGAN,
        "eid": EID,
        "mask": Column(pl.String, "mask file"),
        "mask_label": Column(
            pl.String, "values of the mask's voxels or their names, joined by +; null: as the file says", nullable=True
        ),
        "images": Column(pl.List(pl.String), "image files, in the order of the organ's channels"),
        "signature": Column(pl.String, "size and modification time of the files: a replaced scan differs"),
    },
    "icd10_codes": {
        "icd10": Column(pl.String, "ICD-10 code, rolled up, or another set's label: set.label"),
        "label_set": Column(pl.String, "icd10, or the name of another label set"),
        "chapter": Column(pl.String, "chapter of WHO's ICD-10; null where it stands in none", nullable=True),
        "description": Column(pl.String, "what WHO's ICD-10 calls it; null where it does not hold it", nullable=True),
        "cases": Column(pl.Int64, "cases in the whole cohort"),
        "cases_imaged": Column(pl.Int64, "cases among people with a scan"),
        "studied": Column(pl.Boolean, "whether it becomes a phenotype"),
        "retired": Column(pl.Boolean, "was studied and is no more; what was made of it is kept as it was"),
    },
    "icd10_cases": {
        "icd10": Column(pl.String, "ICD-10 code"),
        "eid": Column(pl.String, "a case, in the whole cohort", participant=True),
    },
    "variant_to_gene": {
        "chromosome": Column(pl.String, "chromosome, 1 to 22, X, Y, MT; null where unknown", nullable=True),
        "base_pair_location": Column(pl.Int64, "position, base pairs, in the table's genome build", nullable=True),
        "variant_id": Column(
            pl.String, "chromosome_position_reference_alternate; null where only the rsid holds", nullable=True
        ),
        "rsid": Column(pl.String, "variant identifier", nullable=True),
        "gene": Column(pl.String, "symbol of the variant's best gene; its id where no symbol is known"),
        "gene_id": Column(pl.String, "Ensembl gene id", nullable=True),
        "score": Column(pl.Float64, "variant-to-gene score (Open Targets: V2G overall score, or L2G)"),
    },
    "genes": {
        "gene": Column(pl.String, "gene symbol"),
        "gene_id": Column(pl.String, "Ensembl gene id", nullable=True),
        "chromosome": Column(pl.String, "chromosome, 1 to 22, X, Y, MT"),
        "start": Column(pl.Int64, "first position, base pairs, in the cohort's genome build"),
        "end": Column(pl.Int64, "last position, base pairs"),
        "tss": Column(pl.Int64, "transcription start site, base pairs", nullable=True),
    },
    "masked_crops": {
        "organ": ORGAN,
        "eid": EID,
        "shape": Column(pl.List(pl.Int32), "channels, slices, rows, columns"),
        "voxels": Column(pl.Binary, "uint8 of that shape, C order; 0 outside the mask"),
        "spacing_mm": Column(pl.List(pl.Float64), "voxel size x, y, z, mm"),
        "mask_voxels": Column(pl.Int64, "voxels of the mask"),
        "volume_ml": Column(pl.Float64, "mask voxels x voxel volume, ml"),
        "mean_intensity": Column(pl.List(pl.Float64), "mean inside the mask a channel, before scaling"),
    },
    "crop_sources": {
        "organ": ORGAN,
        "eid": EID,
        "source": Column(pl.String, "hash of the scan's row of `scans`: files, signature, mask label"),
        "reason": Column(pl.String, "why there is no crop of it; null: there is", nullable=True),
    },
    "organ_volumes": {
        "eid": EID,
        "organ": ORGAN,
        "voxels": Column(pl.Int64, "voxels of the mask"),
        "volume_ml": Column(pl.Float64, "organ volume, ml"),
    },
    "embeddings": {
        "encoder": ENCODER,
        "organ": ORGAN,
        "eid": EID,
        "z": Column(Vector, "embedding: tokens after the penultimate block, pooled over the scan's items"),
    },
    "factor_values": {
        "organ": ORGAN,
        "eid": EID,
        "factor": Column(pl.String, "factor of the organ's adjust_for: a column of participants, or a trait"),
        "value": Column(pl.Float64, "its value, in its own unit; null where it is categorical", nullable=True),
        "level": Column(pl.String, "its category; null where it is continuous", nullable=True),
    },
    "adjustment_factors": {
        "encoder": ENCODER,
        "organ": ORGAN,
        "factor": Column(pl.String, "factor regressed out of the embeddings"),
        "level": Column(pl.String, "category of the factor; null where it is continuous", nullable=True),
        "mean": Column(pl.Float64, "mean of the factor; of a level, the share of people who have it"),
        "coefficients": Column(
            pl.List(pl.Float64), "change of z for one unit, or against the factor's first level, whose own are 0"
        ),
        "variance_explained": Column(pl.Float64, "share of the embeddings' variance the factor explains by itself"),
        "variance_removed": Column(pl.Float64, "share that all the organ's factors explain together: what was removed"),
        "n": Column(pl.Int64, "people it was estimated on"),
    },
    "adjusted_embeddings": {
        "encoder": ENCODER,
        "organ": ORGAN,
        "eid": EID,
        "z": Column(Vector, "embedding less what the factors explain"),
        "adjustment": Column(pl.String, "factors regressed out, comma separated; none"),
    },
    "clusters": {
        "encoder": ENCODER,
        "organ": ORGAN,
        "eid": EID,
        "cluster": Column(pl.Int32, "cluster, 0 the largest"),
        "umap_1": Column(pl.Float64, "UMAP, first coordinate"),
        "umap_2": Column(pl.Float64, "UMAP, second coordinate"),
    },
    "cluster_alternatives": {
        "encoder": ENCODER,
        "organ": ORGAN,
        "eid": EID,
        "algorithm": Column(pl.String, "leiden, kmeans, agglomerative; into as many clusters each"),
        "cluster": Column(pl.Int32, "cluster, 0 the largest"),
        "mean_rand_index": Column(
            pl.Float64, "adjusted Rand index between the algorithm's partitions by several seeds, mean", nullable=True
        ),
    },
    "phenotype_models": {
        **PHENOTYPE,
        "cases": Column(pl.Int64, "cases with an embedding (classifier), or inside the cluster or island"),
        "controls": Column(pl.Int64, "the others, likewise"),
        "roc_auc": Column(pl.Float64, "held-out ROC-AUC of the best fold", nullable=True),
        "roc_auc_out_of_fold": Column(pl.Float64, "ROC-AUC of the pooled out-of-fold scores", nullable=True),
        "neg_log_10_p_rank_sum": Column(
            pl.Float64, "-log10 p, Wilcoxon rank-sum, scored by the folds before", nullable=True
        ),
        "odds_ratio": Column(pl.Float64, "Fisher: odds of a case inside against outside the cluster", nullable=True),
        "neg_log_10_p_fisher": Column(pl.Float64, "-log10 p, Fisher exact", nullable=True),
        "percentage": Column(pl.Float64, "cases among the cluster's people, per cent", nullable=True),
        "p_permutation": Column(pl.Float64, "p of an island by permuted labels", nullable=True),
        "penalty": Column(pl.Float64, "L2 penalty of the best fold's model", nullable=True),
        "weights": Column(
            pl.List(pl.Float64),
            "score = weights'z (classifier) or 1 - weights'z/|z| (clustering, island); null: no model",
            nullable=True,
        ),
        "failure": Column(pl.String, "why there is no model", nullable=True),
        "label_used": Column(
            pl.Binary, "bits in the embeddings' order: whose label went into the weights; null: no model", nullable=True
        ),
        "cross_fitted": Column(
            pl.List(pl.Float64), "everyone's out-of-fold score, where the settings ask for it", nullable=True
        ),
    },
    "phenotype_selection": {
        **PHENOTYPE,
        "cases": Column(pl.Int64, "cases with an embedding (classifier), or inside the cluster or island"),
        "controls": Column(pl.Int64, "the others, likewise"),
        "roc_auc": Column(pl.Float64, "held-out ROC-AUC of the best fold", nullable=True),
        "roc_auc_out_of_fold": Column(pl.Float64, "ROC-AUC of the pooled out-of-fold scores", nullable=True),
        "p_rank_sum": Column(pl.Float64, "p, Wilcoxon rank-sum, scored by the folds before", nullable=True),
        "odds_ratio": Column(pl.Float64, "Fisher: odds of a case inside against outside the cluster", nullable=True),
        "p_fisher": Column(pl.Float64, "p, Fisher exact", nullable=True),
        "percentage": Column(pl.Float64, "cases among the cluster's people, per cent", nullable=True),
        "p_permutation": Column(pl.Float64, "p of an island by permuted labels", nullable=True),
        "selected": Column(pl.Boolean, "whether a GWAS is run on it"),
        "reason": Column(pl.String, "why it is selected or not"),
    },
    "edp_scores": {
        **PHENOTYPE,
        "eid": EID,
        "score": Column(pl.Float64, "embedding-derived phenotype"),
        "label_used": Column(pl.Boolean, "whether the person's own label went into their score"),
    },
    "label_overlap": {
        **PHENOTYPE,
        "participants": Column(pl.Int64, "people in the score's GWAS"),
        "cases": Column(pl.Int64, "of them, cases of the code"),
        "label_used": Column(pl.Int64, "of the participants, those whose own label went into their score"),
        "cases_label_used": Column(pl.Int64, "of the cases, likewise"),
    },
    "phenotype_figures": {
        "encoder": ENCODER,
        "organ": ORGAN,
        "figure": Column(pl.String, "auc_pval, percentage_pval, cluster_enrichment, score_histogram"),
        "icd10": Column(pl.String, "the code shown; null where all are", nullable=True),
        "cluster": Column(pl.Int32, "the cluster shown; null where all or none are", nullable=True),
        "path": Column(pl.String, "PNG file, relative to EDP_HOME"),
    },
    "association_figures": {
        "encoder": ENCODER,
        "organ": ORGAN,
        "figure": Column(pl.String, "manhattan, qq, regional"),
        "icd10": Column(pl.String, "ICD-10 code"),
        "method": PHENOTYPE["method"],
        "cluster": PHENOTYPE["cluster"],
        "chromosome": Column(pl.String, "of the lead variant of a regional plot, else null", nullable=True),
        "base_pair_location": Column(pl.Int64, "likewise", nullable=True),
        "path": Column(pl.String, "PNG file, relative to EDP_HOME"),
    },
    "association_basis": {
        "organ": ORGAN,
        "eid": EID,
        "sex": Column(pl.Float64, "0 female, 1 male, null unknown: how X is counted"),
        "basis": Column(pl.List(pl.Float64), "whitened [z, z/|z|, volume], covariates projected out"),
        "covariates": Column(pl.List(pl.Float64), "orthonormal covariates with the intercept"),
    },
    "loco_basis": {
        "organ": ORGAN,
        "chromosome": Column(pl.String, "chromosome whose variants are tested on these columns"),
        "eid": EID,
        "basis": Column(
            Vector, "association basis less its prediction from the other chromosomes, covariates projected out"
        ),
    },
    "embedding_associations": {
        **{
            k: VARIANT_STATISTICS[k]
            for k in ("chromosome", "base_pair_location", "effect_allele", "other_allele", "rsid")
        },
        "effect_allele_frequency": VARIANT_STATISTICS["effect_allele_frequency"],
        "genotype_ss": Column(pl.Float64, "g'g with covariates projected out"),
        "products": Column(
            Vector, "g' times each column of the association basis, or of loco_basis where that has rows"
        ),
    },
    "gwas_summary_stats": {**PHENOTYPE, **VARIANT_STATISTICS},
    "lead_variants": {
        **PHENOTYPE,
        **VARIANT_STATISTICS,
        "locus_start": Column(pl.Int64, "first position of the locus, base pairs"),
        "locus_end": Column(pl.Int64, "last position of the locus, base pairs"),
    },
    "gene_hits": {
        **PHENOTYPE,
        "gene": Column(pl.String, "gene with the highest score for the variant, or nearest; null: none", nullable=True),
        "gene_id": Column(pl.String, "Ensembl gene id", nullable=True),
        "score": Column(pl.Float64, "variant-to-gene score; null: none, the nearest gene", nullable=True),
        "assigned_by": Column(
            pl.String, "variant_to_gene, or nearest_gene as a fallback; null: no gene", nullable=True
        ),
        "rsid": Column(pl.String, "the gene's most significant variant"),
        "chromosome": VARIANT_STATISTICS["chromosome"],
        "base_pair_location": VARIANT_STATISTICS["base_pair_location"],
        "neg_log_10_p_value": VARIANT_STATISTICS["neg_log_10_p_value"],
        "variants": Column(pl.Int64, "associated variants that map to the gene"),
    },
    "asset_checks": {
        "asset": Column(pl.String, "the asset checked"),
        **PHENOTYPE,
        "method": Column(pl.String, "the phenotype's; null where the check is of the whole partition", nullable=True),
        "check_name": Column(pl.String, "lambda_gc, sample_size, ..."),
        "measure": Column(pl.String, "what of it was measured"),
        "severity": Column(pl.String, "error: a failure holds what stands downstream; warn: it is told"),
        "passed": Column(pl.Boolean, "whether the value keeps to the threshold"),
        "value": Column(pl.Float64, "what was found"),
        "threshold": Column(pl.Float64, "what is allowed, chance included"),
        "description": Column(pl.String, "what was found, and against what"),
        "remedy": Column(pl.String, "what to do where it failed"),
    },
    "excluded": {
        "eid": Column(pl.String, "participant; null where a code is left out", nullable=True, participant=True),
        "organ": Column(pl.String, "organ; null where it concerns all", nullable=True),
        "stage": Column(pl.String, "stage that left it out"),
        "reason": Column(pl.String, "why"),
    },
}
"""Every stored table by name."""

FEW_SHOT = ("phenotype_models", "edp_scores", "gwas_summary_stats", "lead_variants", "gene_hits")
SCHEMAS |= {f"few_shot_{n}": SCHEMAS[n] for n in FEW_SHOT} | {f"unadjusted_{n}": SCHEMAS[n] for n in FEW_SHOT[2:]}
SCHEMAS |= EVIDENCE | ANCESTRY | PHENOME | PAPER | SIZES | WITHDRAWALS
SCHEMAS["failed_checks"] = SCHEMAS["asset_checks"]

_PHENOTYPE = ("method", "cluster")
KEYS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("participants", "genotype_pcs", "scans", "masked_crops", "organ_volumes"), ("eid",)),
    **dict.fromkeys(("embeddings", "adjusted_embeddings", "clusters", "association_basis", "icd10_cases"), ("eid",)),
    **dict.fromkeys(("phenotype_models", "phenotype_selection", "label_overlap", "few_shot_comparison"), _PHENOTYPE),
    "few_shot_phenotype_models": _PHENOTYPE,
    "diagnoses": ("eid", "icd10"),
    "binary_labels": ("icd10", "eid"),
    "relatives": ("eid", "relative"),
    "icd10_codes": ("icd10",),
    "factor_values": ("eid", "factor"),
    "adjustment_factors": ("factor", "level"),
    "cluster_alternatives": ("eid", "algorithm"),
    "cluster_enrichment": ("icd10", "cluster"),
    "encoder_quality": ("encoder", "features", "target"),
    "clusterings": ("encoder", "algorithm"),
    "permuted_labels": ("draw",),
    **PHENOME_KEYS,
    **PAPER_KEYS,
}
"""What no two rows of one stored partition share, where a table has it; not of tables with a row a person and score,
whose rows are counted (`checks/tables.py`), or a variant and score, which have a check of their own."""

PARTICIPANT_COLUMNS = frozenset(
    name for schema in SCHEMAS.values() for name, column in schema.items() if column.participant
)
"""Every name under which a stored table has participants' ids."""

WAREHOUSE_TABLES = (
    "icd10_codes",
    "relatives",
    "organ_volumes",
    "encoder_quality",
    "adjustment_factors",
    "clusters",
    "clusterings",
    "phenotype_selection",
    "label_overlap",
    "permuted_labels",
    "phenotype_figures",
    "association_figures",
    "phenome_dictionary",
    "phewas_figures",
    "cluster_enrichment",
    "lead_variants",
    "gene_hits",
    *(f"{kind}_{name}" for kind in ("few_shot", "unadjusted") for name in FEW_SHOT[3:]),
    "few_shot_comparison",
    "asset_checks",
    "excluded",
    "withdrawals",
    *PAPER,
)
"""Small tables that the warehouse holds; the other contract tables are views over the lake."""

WAREHOUSE_VIEWS = (
    "participants",
    "genotype_pcs",
    "embeddings",
    "adjusted_embeddings",
    "edp_scores",
    "gwas_summary_stats",
    *(name for name in SCHEMAS if name.endswith(("_edp_scores", "_gwas_summary_stats"))),
    "phewas",
    "trained_on",
)


class SchemaError(ValueError):
    """A frame does not have the columns, types or non-null values of its table."""


def polars_schema(name: str) -> pl.Schema:
    """Return the polars schema of a stored table."""
    return pl.Schema({column: c.dtype for column, c in SCHEMAS[name].items()})


def empty(name: str) -> pl.DataFrame:
    """Return a stored table without rows."""
    return pl.DataFrame(schema=polars_schema(name))


def conform(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return the frame in its table's column order and types.

    Raises:
        SchemaError: a column is missing, unknown, of a type that does not convert, or null where it may not be.
    """
    schema = SCHEMAS[name]
    missing, unknown = sorted(set(schema) - set(frame.columns)), sorted(set(frame.columns) - set(schema))
    if missing or unknown:
        raise SchemaError(f"{name}: wanted the columns {list(schema)}; missing {missing}, unknown {unknown}")
    try:
        cast = frame.select(pl.col(column).cast(c.dtype) for column, c in schema.items())
    except pl.exceptions.PolarsError as error:
        raise SchemaError(f"{name}: a column does not convert to its type: {error}") from None
    nulls = [column for column, c in schema.items() if not c.nullable and cast[column].null_count()]
    if nulls:
        raise SchemaError(f"{name}: no value may be missing in {nulls}; found {[cast[c].null_count() for c in nulls]}")
    return cast
