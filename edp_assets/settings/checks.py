"""Asset checks: what stored results must satisfy before anything is built on them, and how severe a failure is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edp_assets.settings.section import Section

Severity = Literal["error", "warn", "off"]
_SEVERITY = "error: what stands downstream of the cell is held; warn: it is told; off: not checked"


class LambdaGcCheck(Section):
    """Genomic inflation of a phenotype's statistics.

    A true polygenic trait inflates with the number of people, so the form scaled to 1,000 is the one that blocks.
    """

    severity: Severity = Field("error", description=f"of lambda_1000 above max_scaled; {_SEVERITY}")
    max_scaled: float = Field(
        1.05,
        gt=1,
        description="largest lambda_1000: of 1,000 people, or 1,000 cases and 1,000 controls (de Bakker 2008)",
    )
    severity_unscaled: Severity = Field("warn", description=f"of lambda GC itself above max_unscaled; {_SEVERITY}")
    max_unscaled: float = Field(1.2, gt=1, description="largest lambda GC as it is (our choice)")
    chance: float = Field(
        1e-6,
        gt=0,
        lt=0.5,
        description="probability at which a phenotype exactly at the limit may fail by chance of its variants: what "
        "lies above a limit within chance passes",
    )


class SampleSizeCheck(Section):
    """People behind a phenotype's association."""

    severity: Severity = Field("error", description=_SEVERITY)
    min_participants: int = Field(50, ge=1, description="fewest people analysed (our choice)")
    min_cases: int = Field(
        10, ge=1, description="fewest cases, and controls, of a binary trait (regenie's --minCaseCount)"
    )


class AlleleFrequencyCheck(Section):
    """Effect allele frequencies of the statistics against those of all people in the genotype files."""

    severity: Severity = Field("error", description=_SEVERITY)
    variants: int = Field(2000, ge=10, description="autosomal variants drawn at random from the genotype files")
    seed: int = Field(0, ge=0, description="of that draw")
    max_difference: float = Field(
        0.2, gt=0, le=1, description="largest difference of any variant beyond six standard errors (EasyQC's 0.2)"
    )
    max_mean_difference: float = Field(
        0.02, gt=0, le=1, description="largest mean absolute difference beyond what sampling people makes (our choice)"
    )
    max_flipped: float = Field(
        0.0, ge=0, le=1, description="largest share of variants whose frequency fits the other allele (our choice)"
    )


class DuplicateVariantsCheck(Section):
    """Variants that stand twice in one phenotype: same chromosome, position and alleles."""

    severity: Severity = Field("error", description=_SEVERITY)
    max_rows: int = Field(0, ge=0, description="most repeated rows of a phenotype")


class EffectOutliersCheck(Section):
    """Effects, standard errors and p-values that do not fit each other, or nothing that there is."""

    severity: Severity = Field("error", description=_SEVERITY)
    max_effect_sd: float = Field(
        3.0,
        gt=0,
        description="largest effect of an allele on a quantitative trait, in its standard deviations, beyond six "
        "standard errors (our choice)",
    )
    max_log_odds: float = Field(
        6.0, gt=0, description="largest effect of an allele on a binary trait, log odds, beyond six standard errors"
    )
    max_error_ratio: float = Field(
        3.0,
        gt=1,
        description="a standard error this many times above or below sd / sqrt(2 n f (1 - f)) does not fit n and "
        "frequency; sd is the phenotype's, by the median variant (our choice)",
    )
    max_misfits: float = Field(
        0.01,
        ge=0,
        le=1,
        description="largest share of variants whose standard error does not fit, or of a binary trait the p-value "
        "(our choice)",
    )


class SchemaCheck(Section):
    """A stored file as its table is declared (storage/schemas.py): columns, types, no null, row count, no key twice."""

    severity: Severity = Field("error", description=_SEVERITY)


class RowCountsCheck(Section):
    """Rows of a stage against those it was made from, less those it left out and counted in `excluded`."""

    severity: Severity = Field("error", description=_SEVERITY)


class EmbeddingCollapseCheck(Section):
    """Embeddings that hardly tell scans apart.

    The demo's trained encoders have an effective rank of 12 to 34 of 128 dimensions and a mean cosine similarity of
    0.960 to 0.99999; untrained ones of their shape 28 to 37, and 0.993 to 0.9992.
    """

    severity: Severity = Field("error", description=_SEVERITY)
    min_effective_rank: float = Field(
        3.0, ge=1, description="fewest dimensions in use: exp of the entropy of the singular values (our choice)"
    )
    max_cosine_similarity: float = Field(
        0.999999,
        gt=0,
        le=1,
        description="largest mean cosine similarity of two scans: above it they differ by less than a thousandth of "
        "their length, as noise does (our choice)",
    )
    max_constant_dimensions: float = Field(
        0.1, ge=0, le=1, description="largest share of dimensions that are the same in all scans (our choice)"
    )


class LabelPrevalenceCheck(Section):
    """A label's prevalence against what it was when it last passed: a broken export must not rebuild what is below."""

    severity: Severity = Field("error", description=_SEVERITY)
    max_ratio: float = Field(2.0, gt=1, description="largest rise, or fall, of a label's prevalence (our choice)")
    max_total_ratio: float = Field(
        1.25, gt=1, description="the same, of all studied labels' cases together (our choice)"
    )
    min_sigma: float = Field(
        6.0, ge=0, description="a change within so many standard errors of the counts is none (our choice)"
    )
    max_vanished: float = Field(
        0.1, ge=0, le=1, description="largest share of the studied labels that are studied no more (our choice)"
    )
    accept: dict[str, int] = Field(
        default_factory=dict, description="label -> its number of cases that is right for all that it jumped"
    )


class WithdrawnPeopleCheck(Section):
    """No withdrawn person in anything that is stored."""

    severity: Severity = Field("error", description="error: a run fails that finds one; warn: it is told; off")


class ChecksSettings(Section):
    """The asset checks, each with thresholds and a severity."""

    schema_: SchemaCheck = Field(SchemaCheck(), alias="schema")
    row_counts: RowCountsCheck = RowCountsCheck()
    withdrawn_people: WithdrawnPeopleCheck = WithdrawnPeopleCheck()
    embedding_collapse: EmbeddingCollapseCheck = EmbeddingCollapseCheck()
    label_prevalence: LabelPrevalenceCheck = LabelPrevalenceCheck()

    lambda_gc: LambdaGcCheck = LambdaGcCheck()
    sample_size: SampleSizeCheck = SampleSizeCheck()
    allele_frequency: AlleleFrequencyCheck = AlleleFrequencyCheck()
    duplicate_variants: DuplicateVariantsCheck = DuplicateVariantsCheck()
    effect_outliers: EffectOutliersCheck = EffectOutliersCheck()
