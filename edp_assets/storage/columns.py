"""What columns of stored tables are made of, and those that many tables share; the tables are in `schemas`."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

Vector = pl.List(pl.Float32)


@dataclass(frozen=True)
class Column:
    """A column of a stored table: type, meaning (with unit), whether null is a value, whether it names people."""

    dtype: pl.DataType | type[pl.DataType]
    meaning: str
    nullable: bool = False
    participant: bool = False


Schema = dict[str, Column]

EID = Column(pl.String, "participant", participant=True)
ORGAN = Column(pl.String, "organ")
ENCODER = Column(pl.String, "encoder: mae, video_mae, imagenet; untrained, the control")

PHENOTYPE: Schema = {
    "encoder": Column(pl.String, "encoder; null for the baselines", nullable=True),
    "organ": Column(pl.String, "organ; null for the icd10 methods", nullable=True),
    "icd10": Column(pl.String, "ICD-10 code; null for hand-made phenotypes", nullable=True),
    "method": Column(
        pl.String,
        "classifier, clustering, island, icd10_imaging_cohort, icd10_whole_cohort; hand-made: organ_volume, "
        "organ_surface, mean_intensity_<channel>, fat_fraction",
    ),
    "cluster": Column(
        pl.Int32, "cluster (0 the largest) or island (0 the best); null for other methods", nullable=True
    ),
}
"""What names one phenotype, in every table that has phenotypes."""


def of_phenotype(method: str, cluster: int | None) -> pl.Expr:
    """Return what holds of a phenotype's rows among those of its encoder, organ and code."""
    return pl.col("method").eq(method) & pl.col("cluster").eq_missing(pl.lit(cluster, pl.Int32))


def phenotype_name(method: str, cluster: int | None) -> str:
    """Return what people read of a phenotype beside its encoder, organ and code.

    >>> phenotype_name("classifier", None), phenotype_name("clustering", 3)
    ('classifier', 'clustering 3')
    """
    return method if cluster is None else f"{method} {cluster}"


VARIANT_STATISTICS: Schema = {
    "chromosome": Column(pl.String, "chromosome, 1 to 22, X, Y, MT"),
    "base_pair_location": Column(pl.Int64, "position, base pairs, in the cohort's genome build"),
    "effect_allele": Column(pl.String, "allele that beta counts"),
    "other_allele": Column(pl.String, "the other allele"),
    "effect_allele_frequency": Column(pl.Float32, "frequency of the effect allele among the people analysed"),
    "beta": Column(pl.Float32, "effect of one effect allele: phenotype units; log odds for a binary trait"),
    "standard_error": Column(pl.Float32, "standard error of beta"),
    "neg_log_10_p_value": Column(pl.Float32, "-log10 p, two-sided"),
    "rsid": Column(pl.String, "variant identifier of the genotype file"),
    "n": Column(pl.Int64, "people analysed"),
}
"""Summary statistics under GWAS-SSF's column names."""
