"""Tables of what results are worth: encoders, clusterings, enrichment, nulls, few labels; others are in `schemas`."""

from __future__ import annotations

import polars as pl

from edp_assets.storage.columns import ENCODER, ORGAN, PHENOTYPE, Column, Schema

EVIDENCE: dict[str, Schema] = {
    "encoder_quality": {
        "encoder": Column(pl.String, "encoder; null for what needs none", nullable=True),
        "organ": ORGAN,
        "features": Column(pl.String, "embedding, untrained encoder, pixel components, organ volume"),
        "target": Column(pl.String, "volume_ml, age (years)"),
        "participants": Column(pl.Int64, "scans that it was tried on"),
        "dimensions": Column(pl.Int64, "number of features"),
        "effective_rank": Column(pl.Float64, "dimensions in use: exp of the entropy of the singular values"),
        "collapsed": Column(pl.Boolean, "whether the embeddings hardly tell scans apart"),
        "pearson_r": Column(pl.Float64, "predicted against true, out of sample (ridge); null: too few", nullable=True),
        "mean_absolute_error": Column(pl.Float64, "in the target's unit", nullable=True),
        "mean_absolute_error_percent": Column(pl.Float64, "per cent of the mean target", nullable=True),
    },
    "clusterings": {
        "encoder": ENCODER,
        "organ": ORGAN,
        "algorithm": Column(pl.String, "leiden, kmeans, agglomerative"),
        "clusters": Column(pl.Int64, "number of clusters"),
        "mean_rand_index": Column(pl.Float64, "stability over seeds: adjusted Rand index, mean", nullable=True),
        "codes": Column(pl.Int64, "codes that homogeneity is the mean over"),
        "homogeneity": Column(
            pl.Float64, "share of a code's entropy that clusters explain, mean over codes; null: no code", nullable=True
        ),
        "homogeneity_by_chance": Column(pl.Float64, "the same with people shuffled", nullable=True),
    },
    "cluster_enrichment": {
        "encoder": ENCODER,
        "organ": ORGAN,
        "icd10": Column(pl.String, "code, or set.label"),
        "cluster": Column(pl.Int32, "cluster"),
        "cases": Column(pl.Int64, "cases inside the cluster"),
        "controls": Column(pl.Int64, "others inside the cluster"),
        "percentage": Column(pl.Float64, "cases among the cluster's people, per cent"),
        "odds_ratio": Column(pl.Float64, "odds of a case inside against outside the cluster"),
        "neg_log_10_p_fisher": Column(pl.Float64, "-log10 p, Fisher exact, two-sided"),
        "neg_log_10_p_bonferroni": Column(pl.Float64, "the same, for all codes and clusters of the organ together"),
        "neg_log_10_q_value": Column(pl.Float64, "-log10 false discovery rate (Benjamini and Hochberg), likewise"),
    },
    "permuted_labels": {
        "encoder": ENCODER,
        "organ": ORGAN,
        "draw": Column(pl.Int64, "number of the permutation"),
        "cases": Column(pl.Int64, "people called cases, at random"),
        "roc_auc_out_of_fold": Column(pl.Float64, "ROC-AUC of the pooled out-of-fold scores: 0.5 but for chance"),
        "roc_auc_in_sample": Column(pl.Float64, "ROC-AUC of the final score: above 0.5 by what labels leak into it"),
        "neg_log_10_p_rank_sum": Column(pl.Float64, "-log10 p, Wilcoxon rank-sum"),
        "selected": Column(pl.Boolean, "whether it would go on to a GWAS"),
        "lambda_gc": Column(pl.Float64, "genomic inflation of the score's GWAS"),
        "variants_associated": Column(pl.Int64, "variants at genome-wide significance"),
    },
    "few_shot_comparison": {
        **PHENOTYPE,
        "fraction": Column(pl.Float64, "share of the positive labels that was to be kept"),
        "seed": Column(pl.Int64, "which were kept"),
        "cases": Column(pl.Int64, "positives that made the phenotype: all (classifier), those in the cluster"),
        "cases_kept": Column(pl.Int64, "of them, those whose label was kept"),
        "pearson_r_score": Column(pl.Float64, "few-shot score against the full one; null: none", nullable=True),
        "pearson_r_neg_log_10_p": Column(pl.Float64, "-log10 p over variants, likewise", nullable=True),
        "genes": Column(pl.Int64, "genes hit with all labels; null: see genes_reason", nullable=True),
        "genes_few_shot": Column(pl.Int64, "genes hit with few labels, likewise", nullable=True),
        "genes_both": Column(pl.Int64, "genes hit with both, likewise", nullable=True),
        "reason": Column(pl.String, "why there is no few-shot phenotype", nullable=True),
        "genes_reason": Column(pl.String, "why genes are not counted; null: they are", nullable=True),
    },
}
"""Tables of what results are worth, by name."""
