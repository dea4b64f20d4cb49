"""The tables that come IN with a cohort: every column with its type, unit, source, and whether it must be there.

Only descriptions belong here; `tables` reads by them. The tables that go out are in `storage.schemas`.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

DataType = pl.DataType | type[pl.DataType]


@dataclass(frozen=True)
class Column:
    """A column of an input table.

    Attributes:
        dtype: the type after reading.
        meaning: what it holds, with its unit.
        source: where a biobank has it (UK Biobank field ids are examples).
        required: whether a table without it is refused.
        low: least possible value; below it the value counts as missing.
        high: largest possible value; above it the value counts as missing.
        values: the only possible values, where they can be counted.
    """

    dtype: DataType
    meaning: str
    source: str = ""
    required: bool = False
    low: float | None = None
    high: float | None = None
    values: tuple[float, ...] = ()

    @property
    def possible(self) -> str:
        """The possible values in words; empty where any value is."""
        if self.values:
            return " or ".join(f"{value:g}" for value in self.values)
        if self.low is not None and self.high is not None:
            return f"{self.low:g} to {self.high:g}"
        return ""


Table = dict[str, Column]

EID = Column(pl.String, "participant: the IID of the genotype files", "the biobank's pseudonymous id", required=True)

PARTICIPANTS: Table = {
    "eid": EID,
    "age": Column(pl.Float64, "age at imaging, years", "UK Biobank 21003, instance 2", low=0, high=120),
    "sex": Column(pl.Float64, "0 female, 1 male", "UK Biobank 31", values=(0.0, 1.0)),
    "bmi": Column(pl.Float64, "body mass index, kg/m2", "UK Biobank 21001, instance 2", low=5, high=150),
    "genotyping_array": Column(pl.String, "genotyping array, any label", "UK Biobank 22000"),
    "imaging_centre": Column(pl.String, "imaging centre, any label", "UK Biobank 54, instance 2"),
    "imaging_date": Column(pl.String, "date of imaging, ISO 8601 (2017-03-28)", "UK Biobank 53, instance 2"),
    **{
        f"pc{i}": Column(pl.Float64, f"genotype principal component {i}, any scale", f"UK Biobank 22009, array {i}")
        for i in range(1, 11)
    },
}
"""One row a genotyped participant, the whole cohort."""

DIAGNOSES: Table = {
    "eid": EID,
    "icd10": Column(pl.String, "ICD-10 code; K760 and K76.0 are the same", "UK Biobank 41270", required=True),
    "date": Column(pl.String, "date of the diagnosis, ISO 8601", "UK Biobank 41280"),
}
"""One row a participant and code."""

SCANS: Table = {
    "eid": EID,
    "organ": Column(pl.String, "organ: a table [organs.<organ>] of cohort.toml", required=True),
    "mask": Column(pl.String, "mask, NIfTI, relative to cohort.toml", required=True),
    "mask_label": Column(
        pl.String,
        "the organ's values in the mask, or their names, joined by +: 5, 2+3, kidney_left+kidney_right; empty: the "
        "labels that the file itself names as the organ, else all non-zero voxels",
        "TotalSegmentator's class map",
    ),
    "visit": Column(pl.String, "visit; the first one, sorted, is used", "UK Biobank instance"),
}
"""One row a participant, organ and visit; and one column `image_<channel>` for every channel of the cohort's organs."""

TRAIT_DICTIONARY: Table = {
    "trait": Column(pl.String, "column of the traits table", required=True),
    "description": Column(pl.String, "what people call it", required=True),
    "kind": Column(pl.String, "continuous, binary, ordinal or categorical", required=True),
    "category": Column(pl.String, "group of traits it is shown with", required=True),
}
"""One row a trait of the PheWAS."""

TRAIT_KINDS = ("continuous", "binary", "ordinal", "categorical")

VARIANT_TO_GENE: Table = {
    "variant_id": Column(pl.String, "chromosome_position_reference_alternate", "Open Targets", required=True),
    "rsid": Column(pl.String, "dbSNP id", "Open Targets", required=True),
    "gene": Column(pl.String, "gene symbol", "Open Targets", required=True),
    "gene_id": Column(pl.String, "Ensembl gene id", "Open Targets", required=True),
    "score": Column(pl.Float64, "overall V2G score, 0 to 1", "Open Targets", required=True),
}
"""One row a variant and gene."""

GENES: Table = {
    "gene": Column(pl.String, "gene symbol", "Ensembl", required=True),
    "chromosome": Column(pl.String, "chromosome, 1 to 22, X, Y, MT", "Ensembl", required=True),
    "start": Column(pl.Int64, "first position, base pairs, in the cohort's genome build", "Ensembl", required=True),
    "end": Column(pl.Int64, "last position, base pairs", "Ensembl", required=True),
    "tss": Column(pl.Int64, "transcription start site of the canonical transcript, base pairs", "Ensembl"),
    "gene_id": Column(pl.String, "Ensembl gene id", "Ensembl"),
}
"""One row a gene."""

EXCLUDED: dict[str, DataType] = {"eid": pl.String, "organ": pl.String, "stage": pl.String, "reason": pl.String}
"""Who or what was left out; `eid` is null for the withdrawn, who appear in no output, and for codes."""


def empty(table: Table) -> pl.DataFrame:
    """Return a table of no rows with every column."""
    return pl.DataFrame(schema={name: column.dtype for name, column in table.items()})
