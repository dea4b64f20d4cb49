"""What EDPs are held against: the code as a binary trait (imaging cohort, whole cohort), and organ volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import polars as pl

from edp_assets.assets import cohort, imaging, regenie
from edp_assets.assets.association import quantitative_statistics, summary_statistics
from edp_assets.assets.hits import hit_stages
from edp_assets.assets.people import ENROLLED, Enrolled, genotyped_sample
from edp_assets.assets.stage import StageRun, stage
from edp_assets.settings.association import MIN_CASES
from edp_assets.storage.lake import Stored
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partition, Partitions

IMAGING, WHOLE, VOLUME = "icd10_imaging_cohort", "icd10_whole_cohort", "organ_volume"


@stage(
    f"{IMAGING}/gwas_summary_stats",
    group="baselines",
    dimensions=("icd10",),
    table="gwas_summary_stats",
    inputs={
        "icd10_cases": cohort.icd10_cases,
        "organ_volumes": imaging.organ_volumes,
        **ENROLLED,
    },
    settings=("association", "engine"),
    files=("genotypes", "step1_genotypes"),
    code_version="2",
)
def imaging_cohort_gwas(
    run: StageRun, icd10_cases: pl.DataFrame, organ_volumes: Partitions, **enrolled: pl.DataFrame
) -> Stored:
    """The code as a binary trait among people with a usable scan (paper, section 4.1, baseline 1)."""
    return _binary_gwas(run, icd10_cases, _imaged(organ_volumes), Enrolled(**enrolled), IMAGING)


def _imaged(organ_volumes: Partitions) -> pl.DataFrame:
    """Return who has a usable scan, of any organ."""
    # A run of some organs alone has those people's scans; a further organ makes this stage out of date.
    return pl.concat([organ_volumes[cell].select("eid") for cell in organ_volumes.stored()]).unique()


@stage(
    f"{WHOLE}/gwas_summary_stats",
    group="baselines",
    dimensions=("icd10",),
    table="gwas_summary_stats",
    inputs={"icd10_cases": cohort.icd10_cases, **ENROLLED},
    settings=("association", "engine"),
    files=("genotypes", "step1_genotypes"),
    code_version="2",
)
def whole_cohort_gwas(run: StageRun, icd10_cases: pl.DataFrame, **enrolled: pl.DataFrame) -> Stored:
    """The code as a binary trait in the whole genotyped cohort (paper, section 4.1, baseline 2)."""
    return _binary_gwas(run, icd10_cases, enrolled["participants"].select("eid"), Enrolled(**enrolled), WHOLE)


def _binary_gwas(run: StageRun, cases: pl.DataFrame, people: pl.DataFrame, enrolled: Enrolled, method: str) -> Stored:
    from edp_assets.science.genetics.logistic import SeparationError, associate_binary, fit_null_model

    sample = genotyped_sample(run, people, enrolled, f"{method}/gwas_summary_stats", None)
    y = sample.people["eid"].is_in(cases["eid"].implode()).to_numpy()
    stored = Stored((), sample.excluded, {"cases": int(y.sum()), "controls": int((~y).sum()), **sample.notes})
    if min(y.sum(), (~y).sum()) < MIN_CASES:
        stored.frames = empty("gwas_summary_stats")
        stored.metadata["skipped"] = f"{int(y.sum())} cases; at least {MIN_CASES} are wanted"
        return stored
    label = {"encoder": None, "organ": None, "icd10": run["icd10"], "method": method, "cluster": None}
    if regenie.chosen(run):
        stored.frames = regenie.statistics(run, sample, y.astype(float), label, stored.metadata, binary=True)
        return stored
    try:
        null = fit_null_model(y, sample.covariates)
    except SeparationError as error:
        stored.frames = empty("gwas_summary_stats")
        stored.metadata["skipped"] = str(error)
        return stored

    def frames() -> Iterator[pl.DataFrame]:
        yield empty("gwas_summary_stats")
        for chromosome in run.workspace.chromosomes:
            for variants, block in sample.blocks(run, chromosome, stored.metadata):
                yield summary_statistics(variants, associate_binary(block, null).association, len(y), label)

    stored.frames = frames()
    return stored


@stage(
    f"{VOLUME}/gwas_summary_stats",
    group="baselines",
    dimensions=("organ",),
    table="gwas_summary_stats",
    inputs={"organ_volumes": imaging.organ_volumes, **ENROLLED},
    settings=("association", "engine"),
    files=("genotypes", "step1_genotypes"),
)
def organ_volume_gwas(run: StageRun, organ_volumes: pl.DataFrame, **enrolled: pl.DataFrame) -> Stored:
    """Organ volume as a quantitative trait (paper, section 4.2)."""
    people = organ_volumes.select("eid", "volume_ml")
    sample = genotyped_sample(run, people, Enrolled(**enrolled), f"{VOLUME}/gwas_summary_stats", run["organ"])
    y = sample.people["volume_ml"].to_numpy()
    stored = Stored((), sample.excluded, {"participants": len(y), **sample.notes})
    label = {"encoder": None, "organ": run["organ"], "icd10": None, "method": VOLUME, "cluster": None}

    def frames() -> Iterator[pl.DataFrame]:
        yield empty("gwas_summary_stats")
        yield from quantitative_statistics(run, sample, y[:, None], [label], stored.metadata)

    stored.frames = frames()
    return stored


def _people_imaged(run: StageRun, organ_volumes: Partitions, **enrolled: Partition) -> list[str]:
    return people_associated(run, _imaged(organ_volumes), enrolled)


def _people_whole(run: StageRun, **enrolled: Partition) -> list[str]:
    return people_associated(run, enrolled["participants"].columns("eid"), enrolled)


def _people_of_organ(run: StageRun, organ_volumes: Partition, **enrolled: Partition) -> list[str]:
    return people_associated(run, organ_volumes.columns("eid"), enrolled, run["organ"])


def people_associated(
    run: StageRun, people: pl.DataFrame, enrolled: Mapping[str, Partition], organ: str | None = None
) -> list[str]:
    """Return those of the people whom the baseline's association has."""
    tables = Enrolled(**{name: table.scan().collect() for name, table in enrolled.items()})
    return genotyped_sample(run, people, tables, "/".join(run.spec.asset), organ).people["eid"].to_list()


def _stored_people(people_of: Callable[..., list[str]], *inputs: str) -> Callable[[StageRun], set[str]]:
    """Return the function that tells the people of a stored baseline's cell, from the stored inputs named."""

    def people(run: StageRun) -> set[str]:
        lake = run.workspace.lake
        partitions = {name: Partitions(lake, (name,), lake.cells((name,))) for name in inputs}
        whole = {name: p if name == "organ_volumes" else p.partition(()) for name, p in partitions.items()}
        return set(people_of(run, **whole))

    return people


BINARY_SAMPLES = {
    IMAGING: _stored_people(_people_imaged, *ENROLLED, "organ_volumes"),
    WHOLE: _stored_people(_people_whole, *ENROLLED),
}
"""Of each binary baseline, what tells the people of a cell's association once it is stored."""

_VOLUMES = {**ENROLLED, "organ_volumes": imaging.organ_volumes}
hit_stages(imaging_cohort_gwas, "baselines", _VOLUMES, _people_imaged)
hit_stages(whole_cohort_gwas, "baselines", ENROLLED, _people_whole)
hit_stages(organ_volume_gwas, "baselines", _VOLUMES, _people_of_organ)
