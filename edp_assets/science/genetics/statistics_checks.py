"""What of a phenotype's summary is trouble: one function a check, summary and thresholds in, findings out.

The summary is made in `statistics_summary.py`; what a failure stops is no matter of this module.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edp_assets.science.findings import Finding
from edp_assets.science.genetics.inflation import largest_by_chance, scaled_lambda, units_of_1000
from edp_assets.science.genetics.statistics_summary import STANDARD_ERRORS, PhenotypeSummary, sd_of_binary
from edp_assets.settings import (
    AlleleFrequencyCheck,
    ChecksSettings,
    DuplicateVariantsCheck,
    EffectOutliersCheck,
    LambdaGcCheck,
    SampleSizeCheck,
)


@dataclass(frozen=True)
class Binary:
    """Cases and controls of a binary trait's association."""

    cases: int
    controls: int


def check_statistics(
    found: PhenotypeSummary, settings: ChecksSettings, reference_variants: int, binary: Binary | None = None
) -> list[Finding]:
    """Return the findings of all checks that are not off.

    Args:
        found: of one phenotype.
        settings: thresholds and severities.
        reference_variants: how many variants the frequencies could have been compared at.
        binary: the trait's cases and controls; None: it is quantitative.
    """
    findings = [
        *check_lambda_gc(found, settings.lambda_gc, binary),
        *check_sample_size(found, settings.sample_size, binary),
        *check_allele_frequency(found, settings.allele_frequency, reference_variants),
        *check_duplicate_variants(found, settings.duplicate_variants),
        *check_effect_outliers(found, settings.effect_outliers, binary),
    ]
    return [finding for finding in findings if finding.severity != "off"]


def check_lambda_gc(found: PhenotypeSummary, limits: LambdaGcCheck, binary: Binary | None) -> list[Finding]:
    """Return whether lambda GC, and lambda scaled to 1,000, lie above their limits by more than chance.

    Few variants move lambda by chance: so the limit is widened to what a phenotype exactly at it shows but with
    probability `chance`. The limit on lambda_1000 is one on lambda GC, 1 + (limit - 1) x (thousands of people); of
    fewer than 1,000 it is the limit itself, since scaling up would make much of an inflation that is next to nothing.
    """
    if binary is not None and min(binary.cases, binary.controls) == 0:
        return []  # sample_size tells it
    inflation = found.inflation
    units = units_of_1000(found.n, None if binary is None else binary.cases)
    at_scaled = largest_by_chance(1 + (limits.max_scaled - 1) * max(units, 1.0), inflation, limits.chance)
    at_unscaled = largest_by_chance(limits.max_unscaled, inflation, limits.chance)
    scaled, threshold = scaled_lambda(inflation.lambda_gc, units), scaled_lambda(at_scaled, units)
    by_chance = f"within chance of {inflation.effective_variants:.0f} effective variants"
    remedy = (
        "look at the quantile-quantile plot, covariates and genotype PCs (population structure, relatives); or raise "
        "[checks.lambda_gc] {name} if the trait is that polygenic"
    )
    return [
        Finding(
            "lambda_gc", "lambda_1000", limits.severity, not scaled > threshold, scaled, threshold,
            f"lambda GC {inflation.lambda_gc:.3f} in {found.n} people, {scaled:.3f} scaled to 1,000; at most "
            f"{limits.max_scaled:g}, {by_chance} {threshold:.3f}",
            remedy.format(name="max_scaled"),
        ),
        Finding(
            "lambda_gc", "lambda_gc", limits.severity_unscaled, not inflation.lambda_gc > at_unscaled,
            inflation.lambda_gc, at_unscaled,
            f"lambda GC {inflation.lambda_gc:.3f}; at most {limits.max_unscaled:g}, {by_chance} {at_unscaled:.3f}",
            remedy.format(name="max_unscaled"),
        ),
    ]  # fmt: skip


def check_sample_size(found: PhenotypeSummary, limits: SampleSizeCheck, binary: Binary | None) -> list[Finding]:
    """Return whether people, and of a binary trait cases and controls, are enough."""
    remedy = (
        "look at the table `excluded` for who was left out; or leave the code out ([labels] min_cases), or lower "
        "[checks.sample_size] {name}"
    )
    counts = [("participants", found.n, limits.min_participants, "min_participants")]
    if binary is not None:
        counts += [(name, getattr(binary, name), limits.min_cases, "min_cases") for name in ("cases", "controls")]
    return [
        Finding(
            "sample_size", what, limits.severity, n >= wanted, n, wanted,
            f"{n} {what}; at least {wanted}", remedy.format(name=name),
        )
        for what, n, wanted, name in counts
    ]  # fmt: skip


def check_allele_frequency(
    found: PhenotypeSummary, limits: AlleleFrequencyCheck, reference_variants: int
) -> list[Finding]:
    """Return whether effect allele frequencies are those of the genotype files."""
    compared = found.frequencies
    remedy = "see whether the genotype files were replaced, and whether their effect allele (A1, ALT) is what it was"
    if not compared.compared:
        # Statistics of few variants, or chosen by p, may well miss the sample; those of many may not.
        missed = found.thinned or found.variants < max(reference_variants, 1) or not reference_variants
        told = f"none of {reference_variants} variants drawn from the genotype files is among {found.variants}"
        wanted = 0 if missed else 1
        return [Finding("allele_frequency", "compared", limits.severity, missed, 0, wanted, told, remedy)]
    flipped = compared.flipped / compared.compared
    # |difference| is half normal by chance: its mean over few variants moves by sqrt(pi / 2 - 1) of itself a variant.
    by_chance = compared.mean_by_chance * (1 + STANDARD_ERRORS * np.sqrt((np.pi / 2 - 1) / compared.compared))
    mean_limit = limits.max_mean_difference + by_chance
    of = f"of {compared.compared} variants"
    return [
        Finding(
            "allele_frequency", "flipped", limits.severity, flipped <= limits.max_flipped, flipped, limits.max_flipped,
            f"{compared.flipped} {of} have the frequency of the other allele", remedy,
        ),
        Finding(
            "allele_frequency", "largest_difference", limits.severity,
            compared.largest_difference <= limits.max_difference, compared.largest_difference, limits.max_difference,
            f"largest difference from the genotype files {compared.largest_difference:.3f} beyond six standard errors, "
            f"{of}; at most {limits.max_difference:g}", remedy,
        ),
        Finding(
            "allele_frequency", "mean_difference", limits.severity, compared.mean_difference <= mean_limit,
            compared.mean_difference, mean_limit,
            f"mean difference from the genotype files {compared.mean_difference:.4f}, {of}; at most "
            f"{limits.max_mean_difference:g}, with chance {mean_limit:.4f}", remedy,
        ),
    ]  # fmt: skip


def check_duplicate_variants(found: PhenotypeSummary, limits: DuplicateVariantsCheck) -> list[Finding]:
    """Return whether a variant stands twice."""
    return [
        Finding(
            "duplicate_variants", "repeated_rows", limits.severity, found.repeated <= limits.max_rows, found.repeated,
            limits.max_rows, f"{found.repeated} of {found.variants} rows repeat a variant; at most {limits.max_rows}",
            "make the partition anew; if it comes back, the genotype files hold the variant twice",
        )
    ]  # fmt: skip


def check_effect_outliers(found: PhenotypeSummary, limits: EffectOutliersCheck, binary: Binary | None) -> list[Finding]:
    """Return whether effects, errors and p-values are numbers, fit each other, and are of a plausible size."""
    remedy = "look at the variants in gwas_summary_stats, and at the phenotype's outliers in edp_scores"
    rows = f"of {found.variants} rows"
    fitting = found.variants - found.not_finite
    misfits, p_misfits = found.error_misfits / max(fitting, 1), found.p_not_of_beta / max(fitting, 1)
    p_limit = 0.0 if binary is None else limits.max_misfits
    findings = [
        _none("not_finite", found.not_finite, f"{rows}: beta, its error, p or the frequency is no number", limits),
        Finding(
            "effect_outliers", "p_not_of_beta", limits.severity, p_misfits <= p_limit, p_misfits, p_limit,
            f"{found.p_not_of_beta} {rows}: p is not that of beta / standard error", remedy,
        ),
        Finding(
            "effect_outliers", "error_misfits", limits.severity, misfits <= limits.max_misfits, misfits,
            limits.max_misfits,
            f"standard errors of {found.error_misfits} {rows} are {limits.max_error_ratio:g} times off "
            "sd / sqrt(2 n f (1 - f))", remedy,
        ),
    ]  # fmt: skip
    if binary is None:
        effect, limit, unit = found.largest_effect / found.sd, limits.max_effect_sd, "standard deviations"
    else:
        effect, limit, unit = found.largest_effect, limits.max_log_odds, "log odds"
    if math.isfinite(effect):
        findings.append(
            Finding(
                "effect_outliers", "largest_effect", limits.severity, effect <= limit, effect, limit,
                f"largest effect {effect:.2f} {unit} an allele beyond six standard errors; at most {limit:g}", remedy,
            )
        )  # fmt: skip
    if binary is not None and min(binary.cases, binary.controls) and math.isfinite(found.sd):
        # Of a binary trait the standard errors' scale is known: by cases and controls.
        ratio = found.sd / sd_of_binary(binary.cases, binary.controls)
        off = max(ratio, 1 / ratio)
        findings.append(
            Finding(
                "effect_outliers", "error_scale", limits.severity, off <= limits.max_error_ratio, off,
                limits.max_error_ratio,
                f"standard errors are {ratio:.2f} times those of {binary.cases} cases and {binary.controls} controls",
                remedy,
            )
        )  # fmt: skip
    return findings


def _none(measure: str, rows: int, told: str, limits: EffectOutliersCheck) -> Finding:
    remedy = "make the partition anew; if it comes back, report it: no such row may be stored"
    return Finding("effect_outliers", measure, limits.severity, rows == 0, rows, 0, f"{rows} {told}", remedy)
