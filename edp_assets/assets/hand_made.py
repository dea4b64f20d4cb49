"""Hand-made phenotypes beside organ volume: surface, mean intensity, fat fraction; and what these hit in a GWAS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from edp_assets.assets import imaging
from edp_assets.assets.association import quantitative_statistics
from edp_assets.assets.baselines import people_associated
from edp_assets.assets.hits import hit_stages
from edp_assets.assets.people import ENROLLED, Enrolled, Sample, genotyped_sample
from edp_assets.assets.stage import StageRun, stage
from edp_assets.storage.lake import Exclusion, Stored
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partition

HAND_MADE = "hand_made"
GWAS = f"{HAND_MADE}/gwas_summary_stats"
NO_VALUE = "missing hand-made measure"


def organ_measures(run: StageRun, masked_crops: Partition) -> Stored:
    """What needs no encoder: volume, surface, mean intensity of each channel before scaling, fat fraction."""
    channels = run.workspace.settings.organs[run["organ"]].channels

    def frames() -> Iterator[pl.DataFrame]:
        yield empty("organ_measures")
        for crops in masked_crops.batches(imaging.SCANS_A_FRAME):
            yield pl.DataFrame([_measured(row, channels) for row in crops.iter_rows(named=True)], schema=SCHEMA)

    return Stored(frames(), metadata={"scans": masked_crops.rows})


SCHEMA = empty("organ_measures").schema


def _measured(crop: dict[str, Any], channels: tuple[str, ...]) -> dict[str, Any]:
    from edp_assets.science.imaging.measures import fat_fraction, surface_cm2

    inside = np.frombuffer(crop["voxels"], np.uint8).reshape(crop["shape"])[0] > 0
    return {
        **{name: crop[name] for name in ("eid", "organ", "volume_ml", "mean_intensity")},
        "surface_cm2": surface_cm2(inside, crop["spacing_mm"]),
        "fat_fraction": fat_fraction(crop["mean_intensity"], channels),
    }


def measure_columns(measures: pl.DataFrame, channels: tuple[str, ...]) -> pl.DataFrame:
    """Return eid and a column a hand-made phenotype but volume, by the name of its method; one nobody has is left out.

    Args:
        measures: of one organ, rows of `organ_measures`.
        channels: the organ's.
    """
    columns = measures.select(
        "eid",
        pl.col("surface_cm2").alias("organ_surface"),
        *(pl.col("mean_intensity").list.get(i).alias(f"mean_intensity_{name}") for i, name in enumerate(channels)),
        "fat_fraction",
    )
    return columns.select(c for c in columns if c.null_count() < max(1, c.len()))


def hand_made_gwas(run: StageRun, organ_measures: pl.DataFrame, **enrolled: pl.DataFrame) -> Stored:
    """Hand-made phenotypes as quantitative traits, in the people that organ volume is associated in."""
    channels = run.workspace.settings.organs[run["organ"]].channels
    columns = measure_columns(organ_measures, channels)
    people = columns.drop_nulls()
    sample = genotyped_sample(run, people, Enrolled(**enrolled), GWAS, run["organ"])
    lacking = columns.join(people, on="eid", how="anti")["eid"]
    excluded = [*sample.excluded, *(Exclusion(eid, run["organ"], GWAS, NO_VALUE) for eid in lacking)]
    stored = Stored((), excluded, {"participants": sample.people.height, **sample.notes})
    varying = _varying(sample, columns.columns[1:])
    if flat := sorted(set(columns.columns[1:]) - set(varying)):
        stored.metadata["do_not_vary"] = ", ".join(flat)
    stored.notes["methods"] = varying
    stored.frames = _statistics(run, sample, varying, stored.metadata)
    return stored


def _varying(sample: Sample, methods: list[str]) -> list[str]:
    """Return those of the columns of which the covariates leave something to associate."""
    from edp_assets.science.genetics.covariates import residualise
    from edp_assets.science.genetics.regression import explained

    Y = sample.people.select(methods).to_numpy().astype(float)
    flat = explained(Y, np.square(residualise(Y, sample.covariates)).sum(axis=0))
    return [name for name, one in zip(methods, flat, strict=True) if not one]


def _statistics(run: StageRun, sample: Sample, methods: list[str], metadata: dict[str, Any]) -> Iterator[Any]:
    """Yield the GWAS of each of these columns of the sample's people, their genotypes read once."""
    yield empty("gwas_summary_stats")
    shared = {"encoder": None, "organ": run["organ"], "icd10": None, "cluster": None}
    labels = [{**shared, "method": name} for name in methods]
    Y = sample.people.select(methods).to_numpy().astype(float)
    yield from quantitative_statistics(run, sample, Y, labels, metadata)


def _people(run: StageRun, organ_measures: Partition, **enrolled: Partition) -> list[str]:
    channels = run.workspace.settings.organs[run["organ"]].channels
    people = measure_columns(organ_measures.scan().collect(), channels).drop_nulls()
    return people_associated(run, people, enrolled, run["organ"])


ORGAN_MEASURES = stage(
    "organ_measures",
    group="imaging",
    dimensions=("organ",),
    table="organ_measures",
    inputs={"masked_crops": imaging.masked_crops},
    streamed=("masked_crops",),
    settings=("organ.channels",),
)(organ_measures)

HAND_MADE_GWAS = stage(
    GWAS,
    group="baselines",
    dimensions=("organ",),
    table="gwas_summary_stats",
    inputs={"organ_measures": ORGAN_MEASURES, **ENROLLED},
    settings=("association", "engine"),
    files=("genotypes", "step1_genotypes"),
)(hand_made_gwas)

hit_stages(HAND_MADE_GWAS, "baselines", {**ENROLLED, "organ_measures": ORGAN_MEASURES}, _people)
