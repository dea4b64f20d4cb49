"""The phenome-wide scan (paper, appendix A.2): PHESANT's limits and the covariates of every trait's model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edp_assets.settings.section import Section

PhewasCovariate = Literal["age", "sex", "bmi", "genotyping_array", "imaging_centre", "imaging_date"]


class PhewasSettings(Section):
    """Which traits are tested, as what, beside which covariates."""

    covariates: tuple[PhewasCovariate, ...] = Field(
        ("age", "sex", "bmi", "imaging_centre", "imaging_date"),
        description="columns of participants in every model (appendix A.2); dates count in days",
    )
    min_cases: int = Field(10, ge=1, description="fewest people with a value of a category, case or control (PHESANT)")
    min_people: int = Field(500, ge=20, description="fewest people with a trait (PHESANT)")
    max_p: float = Field(0.05, gt=0, le=1, description="Bonferroni p of a trait that a phenotype's figure is drawn for")
    figures: int = Field(1, ge=0, description="phenotypes of a cell whose volcano plot is drawn, the strongest first")
