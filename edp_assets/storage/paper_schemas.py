"""Tables that answer the paper's own, with their controls, and those that help to name a score."""

from __future__ import annotations

import polars as pl

from edp_assets.storage.columns import EID, ENCODER, ORGAN, PHENOTYPE, VARIANT_STATISTICS, Column, Schema, Vector

INTERVAL = "of its 95% interval"
_COUNTS: Schema = {
    "genes": Column(pl.Int64, "genes hit at genome-wide significance; null: not known, see reason", nullable=True),
    "genes_low": Column(pl.Float64, f"lower bound {INTERVAL}: exact, of a Poisson count", nullable=True),
    "genes_high": Column(pl.Float64, "upper bound, likewise", nullable=True),
}
_PAIRS: Schema = {
    "associations": Column(pl.Int64, "pairs of phenotype and gene", nullable=True),
    "genes_corrected": Column(pl.Int64, "genes left when the threshold is divided by the phenotypes", nullable=True),
}
_NO_GENES = Column(pl.String, "why genes are not counted, while loci are; null: they are", nullable=True)
_PAPER = Column(pl.Float64, "the paper's own number; null where it has none, or the cohort is synthetic", nullable=True)


def _predicted(**extra: Column) -> Schema:
    """Return the columns of a table of predictions out of sample; of each measure the bounds of its interval."""
    measures = {
        "pearson_r": "Pearson r, predicted against true",
        "mean_absolute_error": "mean absolute error, in the target's unit",
        "mean_absolute_error_percent": "mean absolute error, per cent of the mean target",
    }
    columns: Schema = {
        "features": Column(
            pl.String, "encoder, organ_volume, organ_measures (of volume: the others); or the mean, which knows nothing"
        ),
        "organ": Column(pl.String, "organ; combined: those who have all of them, features side by side"),
        "organs": Column(pl.Int64, "organs whose features stand side by side"),
        "participants": Column(pl.Int64, "people it was tried on, out of sample"),
        "dimensions": Column(pl.Int64, "number of features"),
    }
    for name, meaning in measures.items():
        columns[name] = Column(pl.Float64, f"{meaning}; null: too few people", nullable=True)
        columns[f"{name}_low"] = Column(pl.Float64, f"lower bound {INTERVAL}: bootstrap over people", nullable=True)
        columns[f"{name}_high"] = Column(pl.Float64, "upper bound, likewise", nullable=True)
    return {**columns, **extra}


PAPER: dict[str, Schema] = {
    "organ_measures": {
        "eid": EID,
        "organ": ORGAN,
        "volume_ml": Column(pl.Float64, "organ volume, ml"),
        "surface_cm2": Column(pl.Float64, "area of the mask's surface, cm2"),
        "mean_intensity": Column(pl.List(pl.Float64), "mean inside the mask a channel, before scaling"),
        "fat_fraction": Column(
            pl.Float64, "mean fat / (mean fat + mean water); null where a channel or signal lacks", nullable=True
        ),
    },
    "evidence_hits_by_disease": {
        "encoder": Column(pl.String, "encoder; null for what needs none", nullable=True),
        "organ": ORGAN,
        "icd10": Column(pl.String, "code; null for what knows none", nullable=True),
        "description": Column(pl.String, "what WHO's ICD-10 calls it", nullable=True),
        "method": PHENOTYPE["method"],
        "cases": Column(pl.Int64, "cases with an embedding (EDPs); cases of the code (baselines)", nullable=True),
        "roc_auc_out_of_fold": Column(pl.Float64, "of the classifier's score", nullable=True),
        "phenotypes": Column(pl.Int64, "phenotypes selected for a GWAS", nullable=True),
        **_COUNTS,
        "loci": Column(pl.Int64, "loci hit", nullable=True),
        "genes_and_whole": Column(pl.Int64, "of the genes, those the code hits in the whole cohort", nullable=True),
        "loci_and_whole": Column(pl.Int64, "of the loci, likewise", nullable=True),
        "paper_genes": _PAPER,
        "paper_genes_and_whole": _PAPER,
        "reason": Column(pl.String, "why nothing, or with loci no gene, is counted; null: all is", nullable=True),
    },
    "evidence_hits_by_organ": {
        "source": Column(pl.String, "encoder, or a phenotype that needs none, such as organ_volume"),
        "organ": ORGAN,
        "scans": Column(pl.Int64, "people with a usable scan"),
        "phenotypes": Column(pl.Int64, "phenotypes associated; of encoders classifier and clustering, as in the paper"),
        **_COUNTS,
        "genes_of_island": Column(pl.Int64, "further genes that islands hit", nullable=True),
        **_PAIRS,
        "loci": Column(pl.Int64, "loci hit"),
        "codes_not_counted": Column(pl.Int64, "codes with phenotypes whose gene hits are not stored: not in it"),
        "paper_genes": _PAPER,
        "reason": _NO_GENES,
    },
    "evidence_sizes": {
        "size": Column(pl.String, "size of the vision transformer: S, B, L"),
        "weights": Column(pl.String, "trained, untrained"),
        "organ": ORGAN,
        "participants": Column(pl.Int64, "people in the associations"),
        "dimensions": Column(pl.Int64, "of an embedding"),
        "phenotypes": Column(pl.Int64, "phenotypes associated, of classifier and clustering"),
        **_COUNTS,
        **_PAIRS,
        "loci": Column(pl.Int64, "loci hit"),
        "paper_genes": _PAPER,
        "reason": _NO_GENES,
    },
    "score_correlations": {
        **PHENOTYPE,
        "with_what": Column(pl.String, "method of a hand-made phenotype, covariate, or code"),
        "kind": Column(pl.String, "hand_made, covariate, icd10"),
        "pearson_r": Column(
            pl.Float64, "score against it; clustering and island scores are low in the affected", nullable=True
        ),
        "n": Column(pl.Int64, "people who have both"),
        "roc_auc": Column(pl.Float64, "of a code: that a case scores higher than another person", nullable=True),
    },
    "adjustment_genes": {
        **PHENOTYPE,
        "adjustment": Column(pl.String, "factors regressed out of the embeddings, comma separated"),
        "gene": Column(pl.String, "gene that the phenotype hits before or after the embeddings are adjusted"),
        "gene_id": Column(pl.String, "Ensembl gene id", nullable=True),
        "rsid": Column(pl.String, "the gene's most significant variant, before or after"),
        "chromosome": VARIANT_STATISTICS["chromosome"],
        "base_pair_location": VARIANT_STATISTICS["base_pair_location"],
        "neg_log_10_p_before": Column(pl.Float32, "-log10 p of that variant before; null: not tested", nullable=True),
        "neg_log_10_p_after": Column(
            pl.Float32, "likewise after; null: not tested, or the score is not selected", nullable=True
        ),
        "hit_before": Column(pl.Boolean, "whether a variant of the gene is associated before"),
        "hit_after": Column(pl.Boolean, "likewise after"),
        "reason": Column(pl.String, "why there is no association after; null: there is", nullable=True),
    },
    "paper_figures": {
        "encoder": ENCODER,
        "organ": ORGAN,
        "figure": Column(
            pl.String,
            "Manhattan plots, one under another; figure_4: of the code and its EDPs; figure_5: of its "
            "classifier-guided score before and after embeddings are adjusted; figure_6: of its strongest phenotype "
            "by few labels and by all",
        ),
        "icd10": Column(pl.String, "ICD-10 code"),
        "path": Column(pl.String, "PNG file, relative to EDP_HOME"),
    },
    "interpretation_figures": {
        "encoder": ENCODER,
        "organ": ORGAN,
        "figure": Column(pl.String, "tails: least and most affected people; occlusion: where the score looks"),
        "icd10": Column(pl.String, "ICD-10 code"),
        "method": PHENOTYPE["method"],
        "cluster": PHENOTYPE["cluster"],
        "path": Column(pl.String, "PNG file, relative to EDP_HOME"),
    },
    "evidence_age": _predicted(
        error_below_volume=Column(
            pl.Float64,
            "mean of how much less one's error is than from organ volume, years; null: of volume",
            nullable=True,
        ),
        error_below_volume_low=Column(
            pl.Float64, f"lower bound {INTERVAL}: bootstrap over people, paired", nullable=True
        ),
        error_below_volume_high=Column(pl.Float64, "upper bound, likewise", nullable=True),
        paper_mean_absolute_error=_PAPER,
    ),
    "evidence_volume": _predicted(paper_pearson_r=_PAPER, paper_mean_absolute_error_percent=_PAPER),
}
"""The paper's Tables 1 to 4 and 6 with their controls; what adjustment does; what scores go with and look at.
All are in the warehouse."""

SIZES: dict[str, Schema] = {
    "size_embeddings": {
        "size": Column(pl.String, "size of the vision transformer"),
        "weights": Column(pl.String, "trained, untrained"),
        "organ": ORGAN,
        "eid": EID,
        "z": Column(Vector, "embedding: mean [cls] over the scan's slices"),
    },
}
"""What `evidence_sizes` is made from; it stays in the lake."""

PAPER_KEYS: dict[str, tuple[str, ...]] = {
    "organ_measures": ("eid",),
    "evidence_hits_by_disease": ("encoder", "icd10", "method"),
    "evidence_hits_by_organ": ("source",),
    "evidence_sizes": ("size", "weights"),
    "size_embeddings": ("size", "weights", "eid"),
    "score_correlations": ("icd10", "method", "cluster", "with_what"),
    "adjustment_genes": ("gene",),
    "paper_figures": ("figure",),
    "interpretation_figures": ("figure", "method", "cluster"),
    "evidence_age": ("features", "organ"),
    "evidence_volume": ("features",),
}
"""What no two rows of one stored partition of them share."""
