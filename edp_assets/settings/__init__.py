"""Typed settings: organs (paper, Table 5), encoder recipes, thresholds. Every field has its unit and source.

Defaults are the paper's; a cohort's `cohort.toml` overrides them by the same names. No paths and no data belong here.
"""

from __future__ import annotations

from typing import Any, get_args

from pydantic import Field, ValidationError, model_validator

from edp_assets.settings.ancestry import AncestrySettings
from edp_assets.settings.association import (
    COVARIATES,
    AssociationSettings,
    EngineSettings,
    GeneSettings,
    GwasSettings,
    LociSettings,
    LocoSettings,
    RegenieSettings,
    StudySettings,
)
from edp_assets.settings.automation import AutomationSettings
from edp_assets.settings.checks import (
    AlleleFrequencyCheck,
    ChecksSettings,
    DuplicateVariantsCheck,
    EffectOutliersCheck,
    EmbeddingCollapseCheck,
    LabelPrevalenceCheck,
    LambdaGcCheck,
    RowCountsCheck,
    SampleSizeCheck,
    SchemaCheck,
    Severity,
    WithdrawnPeopleCheck,
)
from edp_assets.settings.encoders import (
    VIT_SIZES,
    EncoderName,
    EncoderSettings,
    ImagenetSettings,
    ItemStatistic,
    PooledSettings,
    TokenStatistic,
    UntrainedSettings,
    VideoMaeSettings,
)
from edp_assets.settings.evidence import EvidenceSettings
from edp_assets.settings.organs import FACES, ORGANS, Face, OrganSettings
from edp_assets.settings.phenome import PhewasSettings
from edp_assets.settings.phenotypes import (
    ClassifierSettings,
    ClusteringSettings,
    CodeLevel,
    FewShotSettings,
    IslandSettings,
    LabelSetSettings,
    LabelSettings,
    SetName,
)
from edp_assets.settings.section import Section

__all__ = [
    "COVARIATES",
    "FACES",
    "ORGANS",
    "VIT_SIZES",
    "AlleleFrequencyCheck",
    "AncestrySettings",
    "AssociationSettings",
    "AutomationSettings",
    "ChecksSettings",
    "ClassifierSettings",
    "ClusteringSettings",
    "CodeLevel",
    "DuplicateVariantsCheck",
    "EffectOutliersCheck",
    "EmbeddingCollapseCheck",
    "EncoderName",
    "EncoderSettings",
    "EngineSettings",
    "EvidenceSettings",
    "Face",
    "FewShotSettings",
    "GeneSettings",
    "GwasSettings",
    "ImagenetSettings",
    "IslandSettings",
    "ItemStatistic",
    "LabelPrevalenceCheck",
    "LabelSetSettings",
    "LabelSettings",
    "LambdaGcCheck",
    "LociSettings",
    "LocoSettings",
    "OrganSettings",
    "PhewasSettings",
    "PooledSettings",
    "RegenieSettings",
    "RowCountsCheck",
    "SampleSizeCheck",
    "SchemaCheck",
    "Section",
    "SetName",
    "Settings",
    "Severity",
    "StudySettings",
    "TokenStatistic",
    "UntrainedSettings",
    "VideoMaeSettings",
    "WithdrawnPeopleCheck",
]


class Settings(Section):
    """All settings of a run: the paper's, overridden by `cohort.toml`."""

    labels: LabelSettings = LabelSettings()
    organs: dict[str, OrganSettings] = Field(default_factory=dict, description="the organs that the cohort names")
    encoders: tuple[EncoderName, ...] = Field(
        ("mae",), description="encoders of a run: those with a section [encoders.X]; mae where there is none"
    )
    mae: EncoderSettings = EncoderSettings()
    video_mae: VideoMaeSettings = VideoMaeSettings()
    imagenet: ImagenetSettings = ImagenetSettings()
    untrained: UntrainedSettings = UntrainedSettings()
    classifier: ClassifierSettings = ClassifierSettings()
    clustering: ClusteringSettings = ClusteringSettings()
    few_shot: FewShotSettings = FewShotSettings()
    island: IslandSettings = IslandSettings()
    ancestry: AncestrySettings = AncestrySettings()
    association: AssociationSettings = AssociationSettings()
    gwas: GwasSettings = GwasSettings()
    checks: ChecksSettings = ChecksSettings()
    loci: LociSettings = LociSettings()
    loco: LocoSettings = LocoSettings()
    genes: GeneSettings = GeneSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    phewas: PhewasSettings = PhewasSettings()
    study: StudySettings = StudySettings()
    automation: AutomationSettings = AutomationSettings()

    @model_validator(mode="after")
    def _sections_agree(self) -> Settings:
        stored, contradictions = self.gwas.stored_max_p, []
        wanted = max(self.association.threshold, self.loci.max_p if self.loci.clumping == "ld" else 0.0)
        if stored < wanted:
            contradictions.append(
                f"gwas.stored_max_p ({stored:g}) must be at least {wanted:g}: loci are made of stored rows"
            )
        if self.loco.enabled and self.gwas.engine != "projection":
            contradictions.append(
                f"loco.enabled is for the projection; gwas.engine is {self.gwas.engine!r}, which makes predictions of "
                "its own: leave [loco] out"
            )
        for where, codes in self.named_codes.items():
            if stored < 1 and (lacking := sorted(set(codes) - set(self.gwas.full_codes))):
                named = f"{', '.join(lacking)}: name {'it' if len(lacking) == 1 else 'them'} in gwas.full_codes as well"
                contradictions.append(f"{where} compares all variants of {named}")
        if contradictions:
            raise ValueError("; ".join(contradictions))
        return self

    @property
    def named_codes(self) -> dict[str, tuple[str, ...]]:
        """The few studied codes that more is made of, by what names them; all their variants are compared."""
        return {"[few_shot] codes": self.few_shot.codes, "[evidence] unadjusted_codes": self.evidence.unadjusted_codes}

    @property
    def engine(self) -> EngineSettings:
        """What of [gwas] a baseline depends on: it is stored in full."""
        return EngineSettings(engine=self.gwas.engine, regenie=self.gwas.regenie)

    def embedding_recipe(self, encoder: str) -> PooledSettings:
        """Return how an encoder's tokens become embeddings: an untrained one's as those of the MAE it stands beside."""
        recipe: PooledSettings = getattr(self, "mae" if encoder == "untrained" else encoder)
        return recipe

    @classmethod
    def from_toml(cls, document: dict[str, Any]) -> Settings:
        """Build the settings from a parsed `cohort.toml`; raises ValueError that names every wrong key.

        `[organs.X]` starts from the built-in organ table where X is in it; `[encoders.X]` overrides that encoder's
        recipe, every other section the one of its name.
        """
        organs = {
            name: {**(ORGANS[name].model_dump() if name in ORGANS else {}), **overrides}
            for name, overrides in document.get("organs", {}).items()
        }
        encoders = dict(document.get("encoders", {}))
        known = get_args(EncoderName)
        unknown = sorted(set(encoders) - set(known))
        if unknown:
            raise ValueError(f"cohort.toml: [encoders.{unknown[0]}] is not an encoder; known: {', '.join(known)}")
        named = [name for name in cls.model_fields if name not in ("organs", "encoders", *known)]
        sections = {name: document[name] for name in named if name in document}
        try:
            used = {"encoders": tuple(name for name in known if name in encoders)} if encoders else {}
            return cls.model_validate({"organs": organs, **used, **encoders, **sections})
        except ValidationError as error:
            lines = [
                f"[{'.'.join(str(p) for p in e['loc'])}]: {e['msg']} (found {e['input']!r})"
                if e["loc"]
                else str(e["ctx"]["error"])  # of sections that contradict each other
                for e in error.errors()
            ]
            raise ValueError("cohort.toml: " + "; ".join(lines)) from None
