"""Ancestry and relatedness: genotype PCs that a cohort does not bring, and who is left out as related."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from edp_assets.settings.section import Section


def _none(value: Any) -> Any:
    return None if value == "none" else value


Kinship = Annotated[Annotated[float, Field(ge=0.02, le=0.5)] | None, BeforeValidator(_none)]
"""A kinship, or None; TOML has no null, so "none" says it there."""


class AncestrySettings(Section):
    """Genotype PCs and relatedness; variants are chosen as is usual before plink2 --pca (UK Biobank: Bycroft 2018)."""

    pcs: int = Field(10, ge=1, le=10, description="genotype PCs computed where participants has no column pc1 ... pc10")
    min_maf: float = Field(0.05, ge=0.01, lt=0.5, description="least minor allele frequency of a variant used")
    max_missing: float = Field(0.02, ge=0, lt=1, description="largest share of missing calls of a variant used")
    prune_r2: float = Field(0.1, gt=0, lt=1, description="largest r^2 of two variants of the PCs, within prune_window")
    prune_window: int = Field(1000, ge=2, description="variants (plink2 --indep-pairwise 1000 1 0.1)")
    people: int = Field(10_000, ge=100, description="people, at random, in whom variants are chosen (our choice)")
    seed: int = Field(0, ge=0, description="those people, and the random start of the PCs")
    max_kinship: Kinship = Field(
        0.0884,
        description="pairs at or above it are related, and one of each is left out; KING's bound of second and third "
        'degree; "none": nobody is left out',
    )
    max_people: int = Field(
        100_000, ge=2, description="most participants whose pairs are all computed, where there is no kinship table"
    )
