"""Associations of the assets by regenie: an association's people and covariates handed over, its statistics taken back.

The same table as the other engine's, filtered by the same settings as far as regenie's output tells. Running regenie
itself is `engines/regenie.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from edp_assets.assets.people import Sample
from edp_assets.assets.stage import StageRun
from edp_assets.settings import AssociationSettings
from edp_assets.storage.lake import Stored, cell_path
from edp_assets.storage.schemas import empty

log = logging.getLogger(__name__)

Phenotype = tuple[Mapping[str, object], np.ndarray]
"""What names a phenotype in the table, and its values (n_participants,)."""


def chosen(run: StageRun) -> bool:
    """Return whether the cohort's associations are made by regenie."""
    return bool(run.workspace.settings.gwas.engine == "regenie")


def edp_statistics(run: StageRun, edp_scores: pl.DataFrame, association_basis: pl.DataFrame) -> Stored:
    """Return the GWAS of each selected EDP of the cell by regenie, in the people of the organ's association basis."""
    sample = Sample.of_basis(association_basis)
    phenotypes: list[Phenotype] = []
    for phenotype in edp_scores.partition_by("method", "cluster", maintain_order=True):
        label = phenotype.select("encoder", "organ", "icd10", "method", "cluster").row(0, named=True)
        scores = association_basis.select("eid").join(phenotype, on="eid", how="left", maintain_order="left")
        phenotypes.append((label, scores["score"].to_numpy()))
    stored = Stored(empty("gwas_summary_stats"), metadata={"phenotypes": len(phenotypes)})
    if phenotypes:
        stored.frames = statistics(run, sample, phenotypes, stored.metadata)
    else:
        stored.metadata["skipped"] = "no phenotype of the cell is selected: phenotype_selection says why"
    return stored


def statistics(
    run: StageRun,
    sample: Sample,
    phenotypes: Sequence[Phenotype],
    metadata: dict[str, Any],
    *,
    binary: bool = False,
) -> Iterator[pl.DataFrame]:
    """Yield the summary statistics of phenotypes in one sample, by regenie.

    It works in a folder of the cell under EDP_HOME, where a killed run is gone on with; once all is read, its logs
    alone stay. Adds to `metadata` the version, how many variants were read and left out, by reason, over phenotypes,
    and the chromosomes that regenie has not.

    Raises:
        EngineError: regenie is absent or failed.
        ValueError: `min_hwe_p` is set, which regenie has not.
    """
    from edp_assets.engines.regenie import Trial, associate, check_filters, find_regenie, testable
    from edp_assets.engines.steps import clean

    cohort, settings = run.workspace.cohort, run.workspace.settings
    check_filters(settings.association)
    regenie = find_regenie(cohort.regenie)
    eids, n = sample.people["eid"], sample.people.height
    # The first column is the intercept, which regenie adds; the others come to unit variance.
    covariates = sample.covariates[:, 1:] * np.sqrt(n)
    trial = Trial(
        genotypes=cohort.genotype_paths(),
        phenotypes=pl.DataFrame({"IID": eids, **{str(k): values for k, (_, values) in enumerate(phenotypes)}}),
        covariates=pl.DataFrame({"IID": eids, **{f"C{k}": column for k, column in enumerate(covariates.T, 1)}}),
        binary=binary,
        step1_genotypes=cohort.step1_genotypes,
        min_mac=settings.association.min_mac,
        min_info=settings.association.min_info,
    )
    folder = cell_path(run.workspace.home.work.joinpath("regenie", *run.spec.asset), run.cell)
    _, left_out = testable(trial.genotypes)
    metadata |= {"engine": f"regenie {regenie.version}"}
    if left_out:
        metadata["chromosomes_left_out"] = f"{', '.join(left_out)}: regenie has none of them"
    counts: dict[str, int] = {}
    reasons: dict[str, int] = {}
    yield empty("gwas_summary_stats")
    results = associate(regenie, trial, settings.gwas.regenie, folder, log.info, counts)
    for (label, _), (_, frames) in zip(phenotypes, results, strict=True):
        before: pl.DataFrame | None = None
        for frame in frames:
            kept, before = _usable(frame, before, n, settings.association, reasons)
            yield kept.with_columns(**{k: pl.lit(v) for k, v in label.items()}).select(
                empty("gwas_summary_stats").columns
            )
    reasons |= {"test_failed": counts.get("test_failed", 0), "min_mac or min_info": counts["low_mac_or_info"]}
    metadata["variants_read"] = counts.get("variants_read", 0) + counts["low_mac_or_info"]
    metadata["variants_left_out"] = {reason: count for reason, count in reasons.items() if count}
    clean(folder)


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
