"""What embeddings are tried on (paper, Tables 3 and 4)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edp_assets.settings.section import Section


class EvidenceSettings(Section):
    """What embeddings are tried on (paper, Tables 3 and 4)."""

    without_effect = frozenset({"sizes", "sizes_organs", "unadjusted_codes"})

    scans: int = Field(1000, ge=20, description="scans of an organ, at random, that encoders and controls are tried on")
    pixel_components: int = Field(20, ge=1, description="principal components of the pixels, the linear control")
    collapsed_rank: float = Field(3.0, ge=1, description="an effective rank below it is told as a collapse")
    folds: int = Field(10, ge=2, description="folds of the ridge regression")
    people: int = Field(10_000, ge=100, description="people of an organ, at random, that age and volume are tried on")
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of people behind an interval of 95%")
    combined_components: int = Field(
        128, ge=1, description="principal components of each organ's embeddings where organs are combined (Table 3)"
    )
    locus_gap_kb: float = Field(500, ge=0, description="loci whose bounds lie so near are one, thousand base pairs")
    permutations: int = Field(20, ge=0, description="permuted labels an organ, the null of classifier-guided scores")
    sizes: tuple[Literal["tiny", "S", "B", "L"], ...] = Field(
        (), description="ViT sizes whose associations are compared (Table 6); none: not made"
    )
    sizes_organs: tuple[str, ...] = Field((), description="organs that sizes are compared in; none named: all")
    unadjusted_codes: tuple[str, ...] = Field(
        (),
        description="codes, or set.label, whose classifier-guided scores are also associated as they are of embeddings "
        "that nothing was regressed out of, in the organs with adjust_for (Figure 5); each reads the genotypes",
    )
    seed: int = Field(0, ge=0, description="scans, folds, permutations, and weights of the untrained control")
