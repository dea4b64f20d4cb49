"""Association: variants, covariates, loci, genes, and what a study tells of itself (paper, section 4)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edp_assets.settings.section import Section

COVARIATES = (
    "age", "age_squared", "sex", "bmi", "genotyping_array", "imaging_centre", *(f"pc{i}" for i in range(1, 11))
)  # fmt: skip
"""Covariates of every association (paper, section 4)."""

MIN_CASES = 10
"""Fewest cases, and fewest controls, of a binary trait's GWAS: below it no statistic is worth its computation."""


class AssociationSettings(Section):
    """Variants and people of an association (paper, section 4 and 4.1)."""

    covariates: tuple[str, ...] = Field(COVARIATES, description="regressed out of genotypes and phenotypes")
    min_maf: float = Field(0.01, ge=0, lt=0.5, description="least minor allele frequency")
    min_mac: int = Field(20, ge=0, description="least minor allele count")
    max_missing: float = Field(0.1, ge=0, le=1, description="largest share of missing calls of a variant")
    min_hwe_p: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="least p of Hardy-Weinberg's exact test (plink2 --hwe) in all people associated, on X in females; "
        "0: not tested",
    )
    min_info: float = Field(
        0.0, ge=0, le=1, description="least ratio of observed to expected variance of dosages (MaCH's r2); 0: not asked"
    )
    block_variants: int = Field(512, ge=1, description="variants held in memory at once")
    threshold: float = Field(5e-8, gt=0, lt=1, description="genome-wide significance (section 4.1)")
    locus_window_kb: int = Field(500, ge=1, description="variants this near a lead, each side, are its locus")

    @property
    def neg_log_10_threshold(self) -> float:
        """The significance threshold on the scale p-values are kept in."""
        import math

        return -math.log10(self.threshold)


class RegenieSettings(Section):
    """How regenie is found and run; options of its docs/options.md in parentheses."""

    without_effect = frozenset({"path", "threads", "low_memory", "step2_block_size", "phenotypes_at_once"})

    path: str | None = Field(None, description="its name on PATH, or its path relative to the folder; null: regenie")
    step1_genotypes: str | None = Field(
        None,
        description="the one .bed, .pgen or .bgen of step 1, of all chromosomes, relative to the folder; null: that of "
        "[genotypes], if it is one file",
    )
    step1_block_size: int = Field(1000, ge=2, description="variants of a ridge regression (--bsize of step 1)")
    step2_block_size: int = Field(400, ge=2, description="variants tested at once (--bsize of step 2)")
    threads: int = Field(0, ge=0, description="threads (--threads); 0: regenie's own choice, all cores but one")
    low_memory: bool = Field(True, description="predictions within blocks go to disk, not memory (--lowmem)")
    phenotypes_at_once: int = Field(
        50, ge=1, description="phenotypes of a run; low_memory writes 5 x 8 bytes a person, block and phenotype"
    )
    correction: Literal["firth", "spa"] = Field(
        "firth", description="binary traits of a small p: approximate Firth (--firth --approx) or --spa"
    )
    correction_max_p: float = Field(
        0.05, gt=0, lt=1, description="largest p of a binary trait that is corrected (--pThresh)"
    )


class EngineSettings(Section):
    """What associates phenotypes with variants."""

    engine: Literal["projection", "regenie"] = Field(
        "projection", description="projection: least squares on the organ's stored products; regenie: the paper's"
    )
    regenie: RegenieSettings = RegenieSettings()

    def result_settings(self) -> dict[str, Any]:
        """Return nothing for the default engine: what it made stays current, whatever regenie's settings."""
        if self.engine == "projection":
            return {}
        return {"engine": self.engine, "regenie": self.regenie.result_settings()}


class GwasSettings(EngineSettings):
    """By what EDPs are associated, and what is stored: 700 codes x 10 organs x 10 million variants take terabytes."""

    stored_max_p: float = Field(
        1.0, gt=0, le=1, description="largest p of a stored variant, of phenotypes of codes not in full_codes; 1: all"
    )
    full_codes: tuple[str, ...] = Field((), description="codes, or set.label, whose statistics are stored in full")

    def largest_p(self, icd10: str | None) -> float:
        """Return the largest p of a stored variant of a code's phenotypes; 1: all are stored."""
        return 1.0 if icd10 in self.full_codes else self.stored_max_p

    def result_settings(self) -> dict[str, Any]:
        """Return what is stored, and of the engine what matters."""
        stored = self.model_dump(mode="json", exclude={"engine", "regenie"})
        return {**stored, **super().result_settings()}


class LocoSettings(Section):
    """Offsets of the projection GWAS: what the other chromosomes predict (science/genetics/loco_ridge.py)."""

    enabled: bool = Field(False, description="take the prediction out of every EDP before a chromosome is tested")
    variants: int = Field(
        10_000,
        ge=2,
        description="most common autosomal variants of the prediction, evenly spaced (our choice); 4 bytes x "
        "variants^2 of memory",
    )
    folds: int = Field(5, ge=2, description="groups of people, each predicted by the others (regenie's --cv)")
    heritability: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="h2, the share of an EDP's variance that the variants explain: the penalty is variants x "
        "(1 - h2) / h2, the BLUP's (regenie's level 0 tries 0.01 to 0.99; one value keeps the prediction linear)",
    )
    seed: int = Field(0, ge=0, description="which people are in which fold")

    def result_settings(self) -> dict[str, Any]:
        """Return nothing where it is not enabled: nothing is made of the others."""
        return super().result_settings() if self.enabled else {}


class LociSettings(Section):
    """How associated variants become loci; LD's numbers are the defaults of plink1.9 --clump."""

    clumping: Literal["distance", "ld"] = Field(
        "distance",
        description="distance: association.locus_window_kb round a lead; ld: by LD in the association's people",
    )
    min_r2: float = Field(0.5, gt=0, le=1, description="ld: least r^2 with the lead (--clump-r2)")
    window_kb: float = Field(250, gt=0, description="ld: largest distance to the lead, kb (--clump-kb)")
    max_p: float = Field(
        0.01, gt=0, le=1, description="ld: largest p of a locus's variants beside its lead (--clump-p2)"
    )


class GeneSettings(Section):
    """How variants come to genes (paper, section 4.1)."""

    build: Literal["GRCh37", "GRCh38", "NCBI36"] | None = Field(
        None, description="genome build of variant_to_gene; null: its layout's, else the cohort's"
    )
    nearest_kb: float = Field(500, ge=0, description="farthest that a nearest gene may be, kb (our choice)")


class StudySettings(Section):
    """What GWAS-SSF's metadata asks of a study that the files do not tell; NR: not reported."""

    ancestry_category: tuple[str, ...] = Field(
        ("NR",), description="broad ancestry of the people, GWAS Catalog's words"
    )
    ancestry: tuple[str, ...] = Field(("NR",), description="their ancestry in the study's own words")
    ancestry_method: tuple[str, ...] = Field((), description="self-reported, genetically determined")
    genotyping_technology: tuple[str, ...] = Field(("NR",), description="such as Genome-wide genotyping array")
    imputation_panel: str | None = Field(None, description="reference panel of imputed genotypes")
    imputation_software: str | None = Field(None, description="software of imputed genotypes")
    author_notes: str | None = Field(None, description="anything a reader should know")
