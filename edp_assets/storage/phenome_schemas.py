"""Tables of the phenome-wide scan: traits as they are tested, and what phenotypes track; others are in `schemas`."""

from __future__ import annotations

import polars as pl

from edp_assets.storage.columns import EID, ENCODER, ORGAN, PHENOTYPE, Column, Schema, Vector

_TRAIT: Schema = {
    "trait": Column(pl.String, "column of the traits' table, or phecode:<number>"),
    "description": Column(pl.String, "what people call it"),
    "category": Column(pl.String, "group of traits it is shown with"),
    "kind": Column(pl.String, "continuous, binary, ordinal, categorical; phecode: of the diagnoses"),
}

PHENOME: dict[str, Schema] = {
    "phenome_dictionary": {
        **_TRAIT,
        "place": Column(pl.Int32, "place of its values in phenome_traits; null where it has none", nullable=True),
        "levels": Column(
            pl.List(pl.String),
            "categories, by the number that stands for each, from 0; null: values are numbers",
            nullable=True,
        ),
        "reason": Column(pl.String, "why it is not tested in any organ; null: it is", nullable=True),
    },
    "phenome_traits": {
        "block": Column(pl.Int32, "traits of the places 64 x block and on"),
        "eid": EID,
        "values": Column(
            pl.List(pl.Float64), "their values, NaN where missing; of a phecode 1 a case, 0 a control, NaN neither"
        ),
    },
    # Statistics are rounded to Float32: what is tested beside a phenotype moves the last bits of matrix products.
    "phewas": {
        **PHENOTYPE,
        **_TRAIT,
        "model": Column(
            pl.String, "linear (rank-normal), logistic, ordinal, multinomial; null: not tested", nullable=True
        ),
        "n": Column(pl.Int64, "people tested, or who have it where it is not tested"),
        "cases": Column(pl.Int64, "cases of what is tested as a binary trait", nullable=True),
        "beta": Column(
            pl.Float32,
            "effect of one standard deviation of the phenotype: standard deviations of the rank-normal trait, log odds "
            "(binary), log odds of more (ordinal); null for an unordered trait",
            nullable=True,
        ),
        "standard_error": Column(pl.Float32, "of beta", nullable=True),
        "neg_log_10_p_value": Column(
            pl.Float32, "-log10 p: t-test, Wald's, of an unordered trait the likelihood-ratio test", nullable=True
        ),
        "neg_log_10_p_bonferroni": Column(pl.Float32, "the same, for all traits of the phenotype", nullable=True),
        "neg_log_10_q_value": Column(
            pl.Float32, "-log10 false discovery rate (Benjamini and Hochberg), likewise", nullable=True
        ),
        "levels": Column(pl.List(pl.String), "of an unordered trait: categories, the reference first", nullable=True),
        "level_n": Column(pl.List(pl.Int64), "people of each of `levels`, likewise", nullable=True),
        "level_betas": Column(Vector, "log odds of each other category against the reference, likewise", nullable=True),
        "level_standard_errors": Column(Vector, "of level_betas", nullable=True),
        "reason": Column(pl.String, "why there is no result; null: there is", nullable=True),
        "source": Column(pl.String, "hash of scores, values, people and covariates: the same are not fitted again"),
    },
    "phewas_figures": {
        "encoder": ENCODER,
        "organ": ORGAN,
        "figure": Column(pl.String, "volcano"),
        "icd10": PHENOTYPE["icd10"],
        "method": PHENOTYPE["method"],
        "cluster": PHENOTYPE["cluster"],
        "path": Column(pl.String, "PNG file, relative to EDP_HOME"),
    },
}
"""Tables of the phenome-wide scan, by name."""

PHENOME_KEYS: dict[str, tuple[str, ...]] = {
    "phenome_dictionary": ("trait",),
    "phenome_traits": ("block", "eid"),
    "phewas": ("method", "cluster", "trait"),
}
"""What no two rows of one stored partition share."""
