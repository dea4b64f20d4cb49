"""The checks of summary statistics, of every encoder, few-shot and unadjusted, and the baselines: one pass a file.

What is trouble is judged in `science/genetics/statistics_checks.py`; the frame for all checks is `gates.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from edp_assets.assets.baselines import BINARY_SAMPLES
from edp_assets.assets.stage import REGISTRY, StageRun
from edp_assets.checks.gates import register
from edp_assets.storage.lake import Cell
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partitions
from edp_assets.storage.verdicts import Verdict
from edp_assets.storage.workspace import StageSpec, Workspace

if TYPE_CHECKING:
    from edp_assets.science.genetics.statistics_checks import Binary

CHECKS = {
    "lambda_gc": "Genomic inflation of each phenotype, as it is and scaled to 1,000 people.",
    "sample_size": "People, and of a binary trait cases and controls, behind each association.",
    "allele_frequency": "Effect allele frequencies against those of everybody in the genotype files.",
    "duplicate_variants": "Variants that stand twice in a phenotype: chromosome, position and alleles.",
    "effect_outliers": "Effects, standard errors and p-values: finite, fitting each other, of a plausible size.",
}
TABLES = ("gwas_summary_stats", "few_shot_gwas_summary_stats", "unadjusted_gwas_summary_stats")


def evaluate(spec: StageSpec, workspace: Workspace, cell: Cell, _: Mapping[str, Any]) -> Verdict:
    """Return what the checks find in one cell's statistics."""
    from edp_assets.science.genetics.statistics_checks import check_statistics
    from edp_assets.science.genetics.statistics_summary import COLUMNS, P_SLACK, P_SLACK_BINARY, of_thinned, summarise

    settings = workspace.settings.checks
    reference = _reference(workspace)
    statistics = Partitions(workspace.lake, spec.asset, [cell]).partition(cell)
    notes = statistics.notes.get("phenotypes", ())
    if not statistics.rows and not notes:
        return Verdict(empty("asset_checks"))  # no phenotype of the cell has an association
    binary = _binary(spec, workspace, cell)
    keys = dict(cell)
    rows = []
    encoder = None if spec.asset[0] in BASELINES else spec.asset[0]
    ratio, slack = settings.effect_outliers.max_error_ratio, P_SLACK if binary is None else P_SLACK_BINARY
    for found in of_thinned(summarise(statistics.stream(COLUMNS), reference, ratio, slack), notes):
        label = {
            "asset": "/".join(spec.asset), "encoder": encoder, "organ": keys.get("organ"), "icd10": keys.get("icd10"),
            "method": found.method, "cluster": found.cluster,
        }  # fmt: skip
        rows += [label | asdict(finding) for finding in check_statistics(found, settings, reference.height, binary)]
    return Verdict(pl.DataFrame(rows, schema=empty("asset_checks").schema))


BASELINES = {stage.spec.asset[0] for stage in REGISTRY.values() if stage.group == "baselines"}


def _binary(spec: StageSpec, workspace: Workspace, cell: Cell) -> Binary | None:
    """Return the cases and controls of a binary trait's association; None for quantitative traits."""
    from edp_assets.science.genetics.statistics_checks import Binary

    if spec.asset[0] not in BINARY_SAMPLES:
        return None
    people = BINARY_SAMPLES[spec.asset[0]](StageRun(cell, spec, workspace))
    cases = len(people & set(workspace.lake.read(("icd10_cases",), cell)["eid"]))
    return Binary(cases, len(people) - cases)


def _reference(workspace: Workspace) -> pl.DataFrame:
    """Return the frequencies in the genotype files (`draw_reference`); no variant where they are not compared."""
    settings = workspace.settings.checks.allele_frequency
    if settings.severity == "off":
        return _drawn((), "", 0, 0)
    paths = tuple(workspace.cohort.genotype_paths().values())
    return _drawn(paths, workspace.files("genotypes", ()), settings.variants, settings.seed)


@lru_cache(maxsize=4)
def _drawn(paths: tuple[Path, ...], signature: str, variants: int, seed: int) -> pl.DataFrame:
    """Draw the reference frequencies once a process, until a genotype file changes (`signature`)."""
    from edp_assets.science.genetics.genotype_frequencies import draw_reference

    return draw_reference(paths, variants, seed)


def _fingerprint(workspace: Workspace) -> str:
    return f"2 {workspace.settings.checks.fingerprint(*CHECKS)} {workspace.files('genotypes', ())}"


for _stage in REGISTRY.values():
    if _stage.spec.table in TABLES:
        register(_stage.spec, CHECKS, evaluate, _fingerprint)
