"""From EDPs to their associations: the projection basis of an organ, and every EDP's GWAS from it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from edp_assets.assets import cohort, imaging
from edp_assets.assets.encoders import ENCODERS, EncoderStages, matrix
from edp_assets.assets.hits import hit_stages, people_of_basis
from edp_assets.assets.people import ENROLLED, Enrolled, Sample, genotyped_sample
from edp_assets.assets.phenotypes import PHENOTYPES, PhenotypeStages
from edp_assets.assets.stage import Stage, StageRun, stage
from edp_assets.storage.lake import Partitions, Stored
from edp_assets.storage.schemas import empty

log = logging.getLogger(__name__)

VARIANTS_A_FRAME = 8192


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


def embedding_associations(run: StageRun, association_basis: pl.DataFrame) -> Stored:
    """One pass over a chromosome's genotypes: each variant times each column of the organ's basis, in float32."""
    from edp_assets.science.genetics.projection import project_block

    sample = Sample.of_basis(association_basis)
    basis = matrix(association_basis, "basis").astype(np.float32)
    stored = Stored(())

    def frames() -> Iterator[pl.DataFrame]:
        yield empty("embedding_associations")
        for variants, block in sample.blocks(run, run["chromosome"], stored.metadata):
            projected = project_block(block, basis, sample.covariates)
            yield variants.with_columns(
                genotype_ss=pl.Series(projected.gg),
                products=pl.Series(projected.gz),
            )

    stored.frames = frames()
    return stored


def gwas_summary_stats(
    run: StageRun, edp_scores: pl.DataFrame, association_basis: pl.DataFrame, embedding_associations: Partitions
) -> Stored:
    """The GWAS of each selected EDP of the cell, from the organ's stored products: no genotype is read again."""
    sample = Sample.of_basis(association_basis)
    basis = matrix(association_basis, "basis")
    selected = edp_scores.partition_by("method", "cluster", maintain_order=True)
    stored = Stored(())

    def frames() -> Iterator[pl.DataFrame]:
        from edp_assets.science.genetics.projection import LARGEST_OUTSIDE, associate, score_coordinates

        yield empty("gwas_summary_stats")
        for phenotype in selected:
            label = phenotype.select("encoder", "organ", "icd10", "method", "cluster").row(0, named=True)
            scores = association_basis.select("eid").join(phenotype, on="eid", how="left", maintain_order="left")
            if label["method"] == "classifier" and run.workspace.settings.classifier.score == "cross_fitted":
                yield from direct_statistics(run, sample, scores["score"].to_numpy(), label, {})
                continue
            c, yy, outside = score_coordinates(scores["score"].to_numpy(), basis, sample.covariates)
            if outside > LARGEST_OUTSIDE:
                raise ValueError(
                    f"{dict(run.cell)}: {outside:.2e} of a score's variance lies outside the association basis; "
                    f"at most {LARGEST_OUTSIDE} is wanted. It is of other embeddings: materialise the basis anew."
                )
            for cell in embedding_associations:
                for products in embedding_associations.partition(cell).batches(VARIANTS_A_FRAME):
                    gz, gg = matrix(products, "products"), products["genotype_ss"].to_numpy()
                    found = associate(gz, gg, c, yy, len(basis), sample.covariates.shape[1])
                    yield summary_statistics(products, found, len(basis), label)

    stored.frames = frames()
    stored.metadata["phenotypes"] = len(selected)
    if not selected:
        stored.metadata["skipped"] = "no phenotype of the cell is selected: phenotype_selection says why"
    return stored


def direct_statistics(
    run: StageRun, sample: Sample, y: np.ndarray, label: Mapping[str, object], metadata: dict[str, Any]
) -> Iterator[pl.DataFrame]:
    """Yield the GWAS of any phenotype (n_participants,) from the genotypes, for what is not linear in the basis.

    So it is with organ volume, which needs no embedding, and with a cross-fitted score, which is of several models.
    """
    from edp_assets.science.genetics.regression import associate_directly

    for chromosome in run.workspace.chromosomes:
        for variants, block in sample.blocks(run, chromosome, metadata):
            found, _ = associate_directly(block, y, sample.covariates)
            yield summary_statistics(variants, found, len(y), label)


def summary_statistics(variants: pl.DataFrame, found: object, n: int, label: Mapping[str, object]) -> pl.DataFrame:
    """Return summary statistics under GWAS-SSF's names, without variants that have no variance left to test."""
    names = ("beta", "standard_error", "neg_log_10_p_value")
    frame = variants.with_columns(**{name: pl.Series(np.ravel(getattr(found, name))) for name in names}, n=pl.lit(n))
    frame = frame.filter(pl.col("neg_log_10_p_value").is_finite())
    frame = frame.with_columns(**{k: pl.lit(v) for k, v in label.items()})
    return frame.select(empty("gwas_summary_stats").columns)


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
    gwas_summary_stats: Stage
    gene_hits: Stage


def association_stages(name: str, above: EncoderStages, phenotypes: PhenotypeStages) -> AssociationStages:
    """Define the association stages of one encoder, from the projection basis to gene hits."""
    genotypes: dict[str, Any] = {"group": "association", "settings": ("association",), "files": ("genotypes",)}
    basis = stage(
        f"{name}/association_basis",
        **genotypes,
        code_version="2",
        dimensions=("organ",),
        table="association_basis",
        inputs={
            "adjusted_embeddings": above.adjusted_embeddings,
            "organ_volumes": imaging.organ_volumes,
            **ENROLLED,
        },
    )(association_basis)
    products = stage(
        f"{name}/embedding_associations",
        **genotypes,
        code_version="2",
        dimensions=("organ", "chromosome"),
        table="embedding_associations",
        inputs={"association_basis": basis},
        kinds={"pgenlib", "parquet"},
    )(embedding_associations)
    statistics = stage(
        f"{name}/gwas_summary_stats",
        group="association",
        dimensions=("organ", "icd10"),
        table="gwas_summary_stats",
        inputs={
            "edp_scores": phenotypes.edp_scores,
            "association_basis": basis,
            "embedding_associations": products,
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
    return AssociationStages(basis, products, statistics, hits)


ASSOCIATIONS = {name: association_stages(name, above, PHENOTYPES[name]) for name, above in ENCODERS.items()}
"""The association stages of every encoder."""
