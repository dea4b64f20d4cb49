"""Associations of the assets by regenie: an association's people and covariates handed over, its statistics taken back.

The same table as the other engine's, filtered by the same settings as far as regenie's output tells. Running regenie
itself is `engines/regenie.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from edp_assets.assets.people import Sample
from edp_assets.assets.score_gwas import cell_phenotypes
from edp_assets.assets.stage import StageRun
from edp_assets.settings import AssociationSettings
from edp_assets.storage.columns import PHENOTYPE
from edp_assets.storage.lake import Stored, Together, cell_of, cell_path
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partition

log = logging.getLogger(__name__)


@dataclass
class _Phenotype:
    """A phenotype of a sample, and what is to be told of it.

    Attributes:
        label: its key columns in the table.
        values: (n_participants,) NaN where missing.
        metadata: is added to: counts of variants, by reason.
        largest_p: of a row that is stored.
        place: of its cell among those made together.
    """

    label: Mapping[str, Any]
    values: np.ndarray
    metadata: dict[str, Any]
    largest_p: float = 1.0
    place: int = 0
    notes: list[dict[str, Any]] = field(default_factory=list)


def chosen(run: StageRun) -> bool:
    """Return whether the cohort's associations are made by regenie."""
    return bool(run.workspace.settings.gwas.engine == "regenie")


def score_gwas(runs: Sequence[StageRun], edp_scores: Sequence[Partition], association_basis: pl.DataFrame) -> Together:
    """Return the GWAS of every phenotype of some cells of one organ, in the people of the organ's association basis."""
    members = [Stored(()) for _ in runs]

    def frames() -> Iterator[tuple[int, pl.DataFrame]]:
        phenotypes: list[_Phenotype] = []
        for place, (run, of_cell) in enumerate(zip(runs, edp_scores, strict=True)):
            metadata = members[place].metadata
            for part in cell_phenotypes(of_cell, metadata):
                label = part.select(*PHENOTYPE).row(0, named=True)
                y = association_basis.select("eid").join(part, on="eid", how="left", maintain_order="left")
                largest_p = run.workspace.settings.gwas.largest_p(label["icd10"])
                notes = members[place].notes.setdefault("phenotypes", [])
                phenotypes.append(_Phenotype(label, y["score"].to_numpy(), metadata, largest_p, place, notes))
        folder = _folder(runs[0], {"organ": runs[0]["organ"]})  # one for the cells of an organ, which come together
        yield from _tested(runs[0], Sample.of_basis(association_basis), phenotypes, folder, binary=False)

    return Together(members, frames())


def statistics(
    run: StageRun,
    sample: Sample,
    y: np.ndarray,
    label: Mapping[str, Any],
    metadata: dict[str, Any],
    *,
    binary: bool = False,
) -> Iterator[pl.DataFrame]:
    """Yield the summary statistics of one phenotype (n_participants,); adds what `_tested` adds to `metadata`."""
    yield from statistics_of_many(run, sample, y[:, None], [label], metadata, binary=binary)


def statistics_of_many(
    run: StageRun,
    sample: Sample,
    Y: np.ndarray,
    labels: Sequence[Mapping[str, Any]],
    metadata: dict[str, Any],
    *,
    binary: bool = False,
) -> Iterator[pl.DataFrame]:
    """Yield the summary statistics of phenotypes (n_participants, n_phenotypes), which share their step 1."""
    yield empty("gwas_summary_stats")
    phenotypes = [_Phenotype(label, y, metadata) for label, y in zip(labels, Y.T, strict=True)]
    for _, frame in _tested(run, sample, phenotypes, _folder(run, dict(run.cell)), binary=binary):
        yield frame


def _folder(run: StageRun, keys: Mapping[str, str]) -> Path:
    return cell_path(run.workspace.home.work.joinpath("regenie", *run.spec.asset), cell_of(keys))


def _tested(
    run: StageRun, sample: Sample, phenotypes: Sequence[_Phenotype], folder: Path, *, binary: bool
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Run regenie on phenotypes in one sample and yield (place, rows) of each in turn.

    It works in `folder`, where a killed run is gone on with; once all is read its logs alone stay. Adds to the
    phenotypes' metadata the version, how many variants were read and left out by reason, and the chromosomes that
    regenie has not.

    Raises:
        EngineError: regenie is absent or failed.
        ValueError: `min_hwe_p` is set, which regenie has not.
    """
    from edp_assets.engines.regenie import Trial, associate, check_filters, find_regenie, testable
    from edp_assets.engines.steps import clean

    if not phenotypes:
        return
    cohort, settings = run.workspace.cohort, run.workspace.settings
    check_filters(settings.association)
    regenie = find_regenie(cohort.regenie)
    eids, n = sample.people["eid"], sample.people.height
    # The first column is the intercept, which regenie adds; the others come to unit variance.
    covariates = sample.covariates[:, 1:] * np.sqrt(n)
    genotypes = cohort.genotype_paths()
    told = {"engine": f"regenie {regenie.version}"}
    if left_out := testable(genotypes)[1]:
        told["chromosomes_left_out"] = f"{', '.join(left_out)}: regenie has none of them"
    size = settings.gwas.regenie.phenotypes_at_once
    folders = []
    for start in range(0, len(phenotypes), size):
        part = phenotypes[start : start + size]
        trial = Trial(
            genotypes=genotypes,
            phenotypes=pl.DataFrame({"IID": eids, **{str(k): each.values for k, each in enumerate(part)}}),
            covariates=pl.DataFrame({"IID": eids, **{f"C{k}": column for k, column in enumerate(covariates.T, 1)}}),
            binary=binary,
            step1_genotypes=cohort.step1_genotypes,
            min_mac=settings.association.min_mac,
            min_info=settings.association.min_info,
        )
        folders.append(folder / f"phenotypes_{start + 1}_to_{start + len(part)}")
        results = associate(regenie, trial, settings.gwas.regenie, folders[-1], log.info)
        for phenotype, result in zip(part, results, strict=True):
            phenotype.metadata |= told
            for frame in _stored_rows(phenotype, result.frames, result.counts, n, settings.association):
                yield phenotype.place, frame
    for each in folders:
        clean(each)


def _stored_rows(
    phenotype: _Phenotype,
    frames: Iterator[pl.DataFrame],
    counts: Mapping[str, int],
    n: int,
    settings: AssociationSettings,
) -> Iterator[pl.DataFrame]:
    """Yield the rows of one phenotype that are to be stored, and count the others once all are read."""
    from edp_assets.science.genetics.inflation import InflationStream

    reasons: dict[str, int] = {}
    before: pl.DataFrame | None = None
    stream, stored = InflationStream(), 0
    chromosomes: dict[str, int] = {}
    for frame in frames:
        kept, before = _usable(frame, before, n, settings, reasons)
        codes = np.array([chromosomes.setdefault(name, len(chromosomes)) for name in kept["chromosome"]], np.int64)
        stream.add(kept["neg_log_10_p_value"].to_numpy(), codes, kept["base_pair_location"].to_numpy())
        if phenotype.largest_p < 1:
            kept = kept.filter(pl.col("neg_log_10_p_value") >= -np.log10(phenotype.largest_p))
        stored += kept.height
        labelled = kept.with_columns(**{name: pl.lit(value) for name, value in phenotype.label.items()})
        yield labelled.select(empty("gwas_summary_stats").columns)
    reasons |= {"test_failed": counts.get("test_failed", 0), "min_mac or min_info": counts["low_mac_or_info"]}
    inflation = stream.result()
    metadata = phenotype.metadata
    read = counts.get("variants_read", 0) + counts["low_mac_or_info"]
    metadata["variants_read"] = metadata.get("variants_read", 0) + read
    left_out = metadata.setdefault("variants_left_out", {})
    left_out |= {reason: left_out.get(reason, 0) + count for reason, count in reasons.items() if count}
    if stored < inflation.variants:
        metadata["variants_not_stored"] = metadata.get("variants_not_stored", 0) + inflation.variants - stored
    key = {name: phenotype.label[name] for name in ("method", "cluster")}
    told = {"n": n, **vars(inflation), "variants_stored": stored, "stored_max_p": phenotype.largest_p}
    phenotype.notes.append({**key, **told})


def _usable(
    frame: pl.DataFrame,
    before: pl.DataFrame | None,
    n: int,
    settings: AssociationSettings,
    reasons: dict[str, int],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the variants of a frame that the settings keep, and those at its last position for the next frame.

    Minor allele count and imputation info regenie has filtered itself, before it tested.
    """
    from edp_assets.science.genetics.variant_qc import VariantStats, keep_variants, repeats

    place = ["chromosome", "base_pair_location", "effect_allele", "other_allele"]
    seen = frame.select(place) if before is None else pl.concat([before, frame.select(place)])
    repeated = repeats(seen).tail(frame.height)
    frequency = frame["effect_allele_frequency"].to_numpy()
    called = frame["n"].to_numpy()
    stats = VariantStats(n, frequency, 1 - called / n, 2 * called * np.minimum(frequency, 1 - frequency),
                         np.zeros(len(frequency), dtype=bool))  # fmt: skip
    keep, left_out = keep_variants(
        stats, settings.min_maf, max_missing=settings.max_missing, repeated=repeated.to_numpy()
    )
    for reason, count in left_out.items():
        reasons[reason] = reasons.get(reason, 0) + count
    last = seen.join(seen.tail(1), on=["chromosome", "base_pair_location"], how="semi")
    return frame.filter(pl.Series(keep)), last
