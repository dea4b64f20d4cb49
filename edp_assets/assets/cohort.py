"""The cohort's tables as assets: read, validated, withdrawn people removed. Nothing is computed from images here."""

from __future__ import annotations

import polars as pl

from edp_assets.assets.stage import StageRun, stage
from edp_assets.cohort.factors import read_factors
from edp_assets.cohort.icd10 import chapter, description
from edp_assets.cohort.label_sets import choose_labels, label_set, read_label_sets
from edp_assets.cohort.labels import case_table, choose_codes, roll_up
from edp_assets.cohort.tables import read_diagnoses, read_participants, read_scans
from edp_assets.storage.lake import Exclusion, Stored
from edp_assets.storage.schemas import SCHEMAS, empty
from edp_assets.storage.workspace import with_signatures


def exclusions(excluded: pl.DataFrame, organ: str | None = None) -> list[Exclusion]:
    """Return what a reader left out (of one organ) as rows of `excluded`."""
    rows = excluded if organ is None else excluded.filter((pl.col("organ") == organ) | pl.col("organ").is_null())
    return [Exclusion(**row) for row in rows.iter_rows(named=True)]


@stage("participants", group="cohort", dimensions=(), table="participants", files=("participants", "withdrawn"))
def participants(run: StageRun) -> Stored:
    """The whole cohort: one row a genotyped participant with covariates; withdrawn people removed."""
    read = read_participants(run.workspace.cohort)
    frame = pl.concat([empty("participants"), read.table.select(pl.all().cast(pl.String))], how="diagonal_relaxed")
    frame = frame.select(list(SCHEMAS["participants"]))
    return Stored(frame, exclusions(read.excluded))


@stage(
    "diagnoses",
    group="cohort",
    dimensions=(),
    table="diagnoses",
    inputs={"participants": participants},
    settings=("labels",),
    files=("diagnoses", "withdrawn"),
)
def diagnoses(run: StageRun, participants: pl.DataFrame) -> Stored:
    """Who was ever diagnosed with what: normalised ICD-10 codes as precise as recorded, each person and code once."""
    read = read_diagnoses(run.workspace.cohort, set(participants["eid"]))
    frame = read.table.select("eid", "icd10").unique().sort("eid", "icd10")
    rolled = roll_up(frame["icd10"], run.workspace.settings.labels.level)
    return Stored(frame.with_columns(counts_for=rolled), exclusions(read.excluded))


@stage(
    "scans",
    group="cohort",
    dimensions=("organ",),
    table="scans",
    inputs={"participants": participants},
    settings=("organ.channels",),
    files=("scans", "withdrawn", "images"),
    code_version="2",
)
def scans(run: StageRun, participants: pl.DataFrame) -> Stored:
    """The organ's scans: one mask and one image a channel for each participant who has them."""
    organ, cohort = run["organ"], run.workspace.cohort
    read = read_scans(cohort, set(participants["eid"]))
    table = with_signatures(read.table.filter(organ=organ))
    channels = cohort.settings.organs[organ].channels
    frame = table.with_columns(images=pl.concat_list([f"image_{channel}" for channel in channels]))
    return Stored(frame.select(list(SCHEMAS["scans"])), exclusions(read.excluded, organ))


@stage(
    "binary_labels",
    group="cohort",
    dimensions=(),
    table="binary_labels",
    inputs={"participants": participants},
    settings=("labels",),
    files=("label_tables", "withdrawn"),
)
def binary_labels(run: StageRun, participants: pl.DataFrame) -> Stored:
    """Who has which label of the sets beside ICD-10, such as medication; empty where the cohort has none."""
    read = read_label_sets(run.workspace.cohort, set(participants["eid"]))
    return Stored(read.require().select(list(SCHEMAS["binary_labels"])), exclusions(read.excluded))


@stage(
    "icd10_codes",
    group="cohort",
    dimensions=(),
    table="icd10_codes",
    inputs={"diagnoses": diagnoses, "binary_labels": binary_labels, "participants": participants},
    settings=("labels",),
    files=("scans", "withdrawn"),
    code_version="3",
)
def icd10_codes(
    run: StageRun, diagnoses: pl.DataFrame, binary_labels: pl.DataFrame, participants: pl.DataFrame
) -> Stored:
    """Every code and other label with its cases, and whether it becomes a phenotype: enough cases among the imaged.

    A code that was studied before and is no more is retired: what was made of it is kept as it was, and not counted.
    """
    cohort, settings = run.workspace.cohort, run.workspace.settings.labels
    imaged = read_scans(cohort, set(participants["eid"])).table["eid"].unique()
    of_icd10 = case_table(diagnoses, settings.level)
    codes, problems = choose_codes(of_icd10, imaged, settings)
    labels, others = choose_labels(binary_labels, imaged, settings)
    cases = pl.concat([of_icd10, binary_labels.select(of_icd10.columns)])
    frame = cases.group_by("icd10").agg(
        cases=pl.len(),
        cases_imaged=pl.col("eid").is_in(imaged.implode()).sum(),
        studied=pl.col("icd10").first().is_in([*codes, *labels]),
    )
    before = {key for ((_, key),) in run.workspace.lake.cells(("icd10_cases",))}
    retired = sorted(before - {*codes, *labels})
    vanished = pl.DataFrame({"icd10": sorted(before - set(frame["icd10"]))}, schema={"icd10": pl.String})
    frame = pl.concat([frame, vanished.with_columns(cases=0, cases_imaged=0, studied=False)], how="diagonal_relaxed")
    names = frame["icd10"].to_list()
    frame = frame.with_columns(
        retired=pl.col("icd10").is_in(retired),
        label_set=pl.Series(map(label_set, names), dtype=pl.String),
        chapter=pl.Series(map(chapter, names), dtype=pl.String),
        description=pl.Series(map(description, names), dtype=pl.String),
    )
    asked_for = [problem for problem in problems + others if problem.severity == "excluded"]
    left_out = [Exclusion(None, None, "icd10_codes", f"{p.where}: {p.found}") for p in asked_for]
    told = {"studied": len(codes) + len(labels), "retired": len(retired)}
    return Stored(frame.sort("icd10").select(list(SCHEMAS["icd10_codes"])), left_out, told)


@stage(
    "icd10_cases",
    group="cohort",
    dimensions=("icd10",),
    table="icd10_cases",
    inputs={"diagnoses": diagnoses, "binary_labels": binary_labels},
    rows={"diagnoses": "counts_for", "binary_labels": "icd10"},
)
def icd10_cases(run: StageRun, diagnoses: pl.DataFrame, binary_labels: pl.DataFrame) -> Stored:
    """The label source: the code's (or other label's) cases in the whole cohort, finer codes rolled up to it."""
    of_code = diagnoses.filter(counts_for=run["icd10"]).select("eid")
    cases = pl.concat([of_code, binary_labels.filter(icd10=run["icd10"]).select("eid")]).unique().sort("eid")
    frame = cases.with_columns(icd10=pl.lit(run["icd10"]))
    return Stored(frame, metadata={"cases": frame.height})


@stage(
    "factor_values",
    group="cohort",
    dimensions=("organ",),
    table="factor_values",
    settings=("organ.adjust_for",),
    files=("participants", "traits", "trait_dictionary", "withdrawn"),
)
def factor_values(run: StageRun) -> Stored:
    """Everybody's values of the factors that the organ's embeddings are adjusted for: covariates, or traits."""
    frame = read_factors(run.workspace.cohort, run["organ"])
    people = dict(frame.group_by("factor", maintain_order=True).len().iter_rows())
    return Stored(
        frame.with_columns(organ=pl.lit(run["organ"])), metadata={f"people_{k}": n for k, n in people.items()}
    )
