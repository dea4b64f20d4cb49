"""From EDPs to their associations: the projection basis of an organ, and every EDP's GWAS from it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from edp_assets.assets import cohort, imaging, regenie
from edp_assets.assets.encoders import ENCODERS, EncoderStages, matrix
from edp_assets.assets.genotype_blocks import usable_calls
from edp_assets.assets.hits import hit_stages, people_of_basis
from edp_assets.assets.loco import NO_OFFSET, loco_basis, tested_basis
from edp_assets.assets.people import ENROLLED, Enrolled, Sample, genotyped_sample
from edp_assets.assets.phenotypes import PHENOTYPES, PhenotypeStages
from edp_assets.assets.score_gwas import score_gwas
from edp_assets.assets.stage import Stage, StageRun, stage
from edp_assets.storage.lake import Stored, Together
from edp_assets.storage.schemas import empty
from edp_assets.storage.statistics_frame import StatisticsBlock
from edp_assets.storage.upstream import Partition, Partitions

log = logging.getLogger(__name__)

VARIANTS_A_FRAME = 8192
VARIANTS_A_PIECE = 8192
"""Variants whose products are kept at once, so that a killed run goes on there: of 45,714 people some 5 s of work."""


def association_basis(
    run: StageRun, adjusted_embeddings: pl.DataFrame, organ_volumes: pl.DataFrame, **enrolled: pl.DataFrame
) -> Stored:
    """Orthonormal columns that span [z, z/|z|, volume], covariates projected out: every linear score is in it."""
    from edp_assets.science.genetics.projection import whitened_basis

    people = adjusted_embeddings.join(organ_volumes.select("eid", "volume_ml"), on="eid", maintain_order="left")
    sample = genotyped_sample(run, people, Enrolled(**enrolled), f"{run.encoder}/association_basis", run["organ"])
    z = matrix(sample.people)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    volume = sample.people["volume_ml"].to_numpy()[:, None]
    basis = whitened_basis(np.hstack([z, unit, volume]), sample.covariates)
    frame = pl.DataFrame(
        {
            "organ": run["organ"],
            "eid": sample.people["eid"],
            "sex": sample.people["sex"],
            "basis": pl.Series(basis),
            "covariates": pl.Series(sample.covariates),
        }
    )
    counts = {"participants": len(basis), "components": basis.shape[1], "covariates": sample.covariates.shape[1]}
    return Stored(frame, sample.excluded, {**counts, **sample.notes})


def embedding_associations(
    run: StageRun, association_basis: pl.DataFrame, loco_basis: Partition | None = None
) -> Stored:
    """One pass over a chromosome's genotypes: each variant times each column of the organ's basis, in float32."""
    sample = Sample.of_basis(association_basis)
    stored = Stored(())

    def pieces(state: dict[str, Any]) -> Iterator[tuple[pl.DataFrame, dict[str, Any]]]:
        from edp_assets.science.genetics.projection import Projector

        stored.metadata.update(state)
        basis = tested_basis(association_basis, loco_basis, run["chromosome"])
        projector = Projector(basis, sample.covariates)
        frames = [empty("embedding_associations")]
        for variants, calls, stats in usable_calls(run, sample.people, run["chromosome"], stored.metadata):
            projected = projector.project(calls, stats)
            frames.append(variants.with_columns(genotype_ss=pl.Series(projected.gg), products=pl.Series(projected.gz)))
            if sum(frame.height for frame in frames) >= VARIANTS_A_PIECE:
                yield pl.concat(frames, how="diagonal_relaxed"), dict(stored.metadata)
                frames = [empty("embedding_associations")]
        yield pl.concat(frames, how="diagonal_relaxed"), dict(stored.metadata)

    stored.frames = pieces
    return stored


def gwas_summary_stats(
    runs: Sequence[StageRun],
    edp_scores: Sequence[Partition],
    association_basis: Sequence[pl.DataFrame],
    embedding_associations: Sequence[Partitions],
    loco_basis: Sequence[Partition | None] = (None,),
) -> Together:
    """The GWAS of each selected EDP of the cell, from the organ's stored products: no genotype is read again."""
    if regenie.chosen(runs[0]):
        return regenie.score_gwas(runs, edp_scores, association_basis[0])
    stored = association_basis[0], embedding_associations[0], loco_basis[0]
    return score_gwas(runs, edp_scores, *stored, direct_score_gwas)


CELLS_AT_ONCE = 128
"""Cells of an organ that are associated together: its products are read once for them, and a kill loses no more."""


def direct_score_gwas(run: StageRun, sample: Sample, y: np.ndarray, label: dict[str, Any]) -> Iterator[pa.Table]:
    """Yield the GWAS of a score that is not linear in the basis: a cross-fitted one is of several models."""
    return direct_statistics(run, sample, y[:, None], [label], {})


def direct_statistics(
    run: StageRun, sample: Sample, Y: np.ndarray, labels: Sequence[Mapping[str, object]], metadata: dict[str, Any]
) -> Iterator[pa.Table]:
    """Yield the GWAS of any phenotypes (n_participants, n_phenotypes), the genotypes read once for all.

    For what is not linear in the basis: hand-made phenotypes, which need no embedding, and a cross-fitted score, which
    is of several models.
    """
    from edp_assets.science.genetics.regression import Association, associate_directly

    if run.workspace.settings.loco.enabled:
        metadata["loco"] = NO_OFFSET
    for chromosome in run.workspace.chromosomes if labels else ():
        for variants, block in sample.blocks(run, chromosome, metadata):
            found, _ = associate_directly(block, Y, sample.covariates)
            for label, *of_one in zip(labels, found.beta, found.standard_error, found.neg_log_10_p_value, strict=True):
                yield summary_statistics(variants, Association(*of_one), len(Y), label)


def quantitative_statistics(
    run: StageRun, sample: Sample, Y: np.ndarray, labels: Sequence[Mapping[str, object]], metadata: dict[str, Any]
) -> Iterator[Any]:
    """Yield the GWAS of any phenotypes (n_participants, n_phenotypes) by the cohort's engine, from the genotypes."""
    made = regenie.statistics_of_many if regenie.chosen(run) else direct_statistics
    yield from made(run, sample, Y, labels, metadata)


def summary_statistics(variants: pl.DataFrame, found: Any, n: int, label: Mapping[str, object]) -> pa.Table:
    """Return summary statistics under GWAS-SSF's names, without variants that have no variance left to test."""
    names = ("beta", "standard_error", "neg_log_10_p_value")
    statistics = {name: np.ravel(getattr(found, name)) for name in names}
    rows = np.flatnonzero(np.isfinite(statistics["neg_log_10_p_value"]))
    return StatisticsBlock(variants).table(label, n, {name: of[rows] for name, of in statistics.items()}, rows)


def label_overlap(
    run: StageRun, edp_scores: pl.DataFrame, association_basis: pl.DataFrame, icd10_cases: pl.DataFrame
) -> Stored:
    """How many people both gave their label to a score and stand in its GWAS: what its associations may owe to it."""
    in_gwas = edp_scores.join(association_basis.select("eid"), on="eid", how="semi")
    case = pl.col("eid").is_in(icd10_cases["eid"].implode())
    frame = in_gwas.group_by("encoder", "organ", "icd10", "method", "cluster", maintain_order=True).agg(
        participants=pl.len(),
        cases=case.sum(),
        label_used=pl.col("label_used").sum(),
        cases_label_used=(case & pl.col("label_used")).sum(),
    )
    return Stored(frame, metadata={"phenotypes": frame.height})


@dataclass(frozen=True)
class AssociationStages:
    """The association stages of one encoder that others build on."""

    association_basis: Stage
    embedding_associations: Stage
    loco_basis: Stage
    gwas_summary_stats: Stage
    gene_hits: Stage


GWAS: dict[str, Any] = {
    "dimensions": ("organ", "icd10"),
    "streamed": ("edp_scores", "loco_basis"),
    "optional": ("loco_basis",),
    "at_once": CELLS_AT_ONCE,
    "settings": ("gwas",),
    "files": ("step1_genotypes",),
    "code_version": "2",
}
"""What stages of `gwas_summary_stats` have in common, few-shot ones too."""


def association_stages(name: str, above: EncoderStages, phenotypes: PhenotypeStages) -> AssociationStages:
    """Define the association stages of one encoder, from the projection basis to gene hits."""
    genotypes: dict[str, Any] = {"group": "association", "settings": ("association",), "files": ("genotypes",)}
    basis = stage(
        f"{name}/association_basis",
        **genotypes,
        code_version="3",
        dimensions=("organ",),
        table="association_basis",
        inputs={
            "adjusted_embeddings": above.adjusted_embeddings,
            "organ_volumes": imaging.organ_volumes,
            **ENROLLED,
        },
    )(association_basis)
    offset = stage(
        f"{name}/loco_basis",
        group="association",
        settings=("loco", "ancestry.min_maf", "ancestry.max_missing"),
        files=("genotypes",),
        dimensions=("organ",),
        table="loco_basis",
        inputs={"association_basis": basis},
        streamed=("association_basis",),
        kinds={"pgenlib", "parquet"},
    )(loco_basis)
    products = stage(
        f"{name}/embedding_associations",
        **genotypes,
        code_version="3",
        dimensions=("organ", "chromosome"),
        table="embedding_associations",
        inputs={"association_basis": basis, "loco_basis": offset},
        streamed=("loco_basis",),
        optional=("loco_basis",),
        kinds={"pgenlib", "parquet"},
    )(embedding_associations)
    statistics = stage(
        f"{name}/gwas_summary_stats",
        **GWAS,
        group="association",
        table="gwas_summary_stats",
        inputs={
            "edp_scores": phenotypes.edp_scores,
            "association_basis": basis,
            "embedding_associations": products,
            "loco_basis": offset,
        },
    )(gwas_summary_stats)
    stage(
        f"{name}/label_overlap",
        group="association",
        dimensions=("organ", "icd10"),
        table="label_overlap",
        inputs={"edp_scores": phenotypes.edp_scores, "association_basis": basis, "icd10_cases": cohort.icd10_cases},
    )(label_overlap)
    _, hits = hit_stages(statistics, "association", {"association_basis": basis}, people_of_basis)
    return AssociationStages(basis, products, offset, statistics, hits)


ASSOCIATIONS = {name: association_stages(name, above, PHENOTYPES[name]) for name, above in ENCODERS.items()}
"""The association stages of every encoder."""
