"""Typed settings: organs (paper, Table 5), encoder recipes, thresholds. Every field has its unit and source.

Defaults are the paper's; a cohort's `cohort.toml` overrides them by the same names. No paths and no data belong here.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

Face = Literal["left", "right", "posterior", "anterior", "inferior", "superior"]
FACES: tuple[Face, ...] = ("left", "right", "posterior", "anterior", "inferior", "superior")
"""Faces of a volume in RAS+: the lower and upper end of x, y, z."""

EncoderName = Literal["mae", "video_mae", "imagenet"]
CodeLevel = Annotated[int, Field(ge=3, le=7)] | Literal["chapter", "block"]
TokenStatistic = Literal["cls", "patch_mean", "patch_spread", "patch_max", "patch_min"]
ItemStatistic = Literal["mean", "spread", "max", "min"]

COVARIATES = (
    "age", "age_squared", "sex", "bmi", "genotyping_array", "imaging_centre", *(f"pc{i}" for i in range(1, 11))
)  # fmt: skip
"""Covariates of every association (paper, section 4)."""


class Section(BaseModel):
    """A frozen group of settings that refuses unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    without_effect: ClassVar[frozenset[str]] = frozenset()
    """Fields that decide how a result is come by, not what it is."""

    def result_settings(self) -> dict[str, Any]:
        """Return the values that a result depends on, as plain ones."""
        return self.model_dump(mode="json", exclude=set(self.without_effect))

    def fingerprint(self) -> str:
        """Return a short hash of the values that matter: assets built under other values are out of date."""
        text = json.dumps(self.result_settings(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class OrganSettings(Section):
    """What one organ's crops and encoders look like (paper, Table 5)."""

    channels: tuple[str, ...] = Field(("fat", "water"), description="image channels, `image_<channel>` in scans")
    patch: int = Field(8, ge=1, description="MAE patch edge, pixels (Table 5)")
    resolution: int = Field(144, ge=4, description="MAE slice edge, pixels (Table 5)")
    patch_video: int = Field(7, ge=1, description="VideoMAE patch edge, pixels (Table 5)")
    resolution_video: int = Field(144, ge=4, description="VideoMAE slice edge, pixels (Table 5)")
    min_slices: int = Field(3, ge=1, description="fewest axial slices of a crop; fewer: too few slices")
    may_touch: tuple[Face, ...] = Field(
        FACES, description="faces of the volume that the mask may reach; at another: mask touches the volume's edge"
    )
    fat_fraction: tuple[float, float] = Field(
        (0.0, 1.0), description="plausible mean fat / (fat + water) signal in the mask; else: fat-water swap suspected"
    )
    adjust_for: tuple[str, ...] = Field(
        (), description="factors regressed out of embeddings: columns of participants, traits, embedding_pc1, ..."
    )


# Of an organ outside the table nothing is known: its images may be tight crops on purpose, and its tissue fat, so the
# defaults above let it reach every face and have any fat fraction.
# Watery organs: 0.7 of the signal is far above the fattiest liver. At 40% proton-density fat, T1 weighting makes it
# about 0.52 of the signal (fat 1.65 times as bright at TR 6.7 ms, 10 degrees); a swap turns 0.02-0.3 into 0.7-0.98.
_WATERY = (0.0, 0.7)
ORGANS: dict[str, OrganSettings] = {
    "liver": OrganSettings(
        patch=8, patch_video=7, resolution=144, resolution_video=144, may_touch=(), fat_fraction=_WATERY
    ),
    "kidneys": OrganSettings(
        patch=6, patch_video=6, resolution=48, resolution_video=36, may_touch=(), fat_fraction=_WATERY
    ),
    # Abdominal scans cut lungs and heart at the top. Air gives no signal in either channel: no fat fraction to judge.
    "lungs": OrganSettings(patch=12, patch_video=12, resolution=180, resolution_video=156, may_touch=("superior",)),
    "heart": OrganSettings(
        patch=8, patch_video=7, resolution=144, resolution_video=144, may_touch=("superior",), fat_fraction=_WATERY
    ),
    # Not in Table 5. A spleen is about half a liver's width; a pair of thigh bones spans the pelvis but each is thin;
    # a T1 brain at 1 mm is about 140 x 180 x 140.
    "spleen": OrganSettings(
        patch=6, patch_video=6, resolution=72, resolution_video=72, may_touch=(), fat_fraction=_WATERY
    ),
    # Neck-to-knee scans end above the knee. Marrow is mostly fat; where it is red it still keeps a third.
    "thigh_bones": OrganSettings(
        patch=8,
        patch_video=8,
        resolution=144,
        resolution_video=144,
        may_touch=("inferior",),
        fat_fraction=(0.25, 1.0),
    ),
    # The brain stem runs on below a head scan.
    "brain": OrganSettings(
        channels=("t1",), patch=12, patch_video=12, resolution=192, resolution_video=192, may_touch=("inferior",)
    ),
}
"""The built-in organ table: Table 5 of the paper, and our choice for the organs it leaves out."""

VIT_SIZES: dict[str, tuple[int, int, int]] = {
    "tiny": (128, 4, 4),
    "S": (384, 12, 6),
    "B": (768, 12, 12),
    "L": (1024, 24, 16),
}
"""Width, depth, heads of each ViT size; `tiny` is this project's own, for synthetic cohorts and tests."""


class PooledSettings(Section):
    """How an encoder's tokens become embeddings. The encoder's weights do not depend on it, embeddings do."""

    without_effect = frozenset({"embed_batch_size", "pooling", "pooling_over_items"})

    pooling: tuple[TokenStatistic, ...] = Field(
        ("cls",), min_length=1, description="statistics of an item's tokens, side by side (appendix A.1: [cls] alone)"
    )
    pooling_over_items: tuple[ItemStatistic, ...] = Field(
        ("mean",), min_length=1, description="statistics of those over a scan's slices or subvolumes (A.1: the mean)"
    )

    @field_validator("pooling", "pooling_over_items")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("a statistic is named twice: wanted each once")
        return names


class EncoderSettings(PooledSettings):
    """Recipe of a masked autoencoder (paper, appendix A.1; He et al. 2022)."""

    without_effect = PooledSettings.without_effect | {"processes", "checkpoint_seconds"}

    size: Literal["tiny", "S", "B", "L"] = Field("B", description="ViT size (appendix A.1: B; Table 6)")
    decoder_width: int = Field(512, description="decoder embedding dimensions (He et al.)")
    decoder_depth: int = Field(8, description="decoder blocks (He et al.)")
    decoder_heads: int = Field(16, description="decoder attention heads (He et al.)")
    mask_ratio: float = Field(0.75, gt=0, lt=1, description="share of patches hidden (He et al.)")
    normalise_pixels: bool = Field(False, description="loss on pixels normalised within each patch (He et al., option)")
    epochs: int = Field(30, ge=1, description="passes over all slices (appendix A.1)")
    warmup_epochs: float = Field(1.5, ge=0, description="linear warm-up, epochs")
    batch_size: int = Field(256, ge=1, description="slices a step")
    learning_rate: float = Field(1.5e-4, gt=0, description="base rate; the peak is this x batch_size / 256 (He et al.)")
    weight_decay: float = Field(0.05, ge=0, description="AdamW (He et al.)")
    gradient_clip: float = Field(1.0, gt=0, description="largest gradient norm")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 where the device multiplies it natively, else float32"
    )
    processes: int = Field(
        0, ge=0, description="processes that train together, by torch's launcher; 0: one a GPU, one without a GPU"
    )
    checkpoint_seconds: float = Field(120.0, gt=0, description="seconds between training checkpoints")
    embed_batch_size: int = Field(256, ge=1, description="slices a forward pass when embedding")
    seed: int = Field(0, ge=0, description="weights, masks and data order")


class VideoMaeSettings(EncoderSettings):
    """Recipe of a video masked autoencoder (paper, appendix A.1; Tong et al. 2022, VideoMAE)."""

    frames: int = Field(16, ge=1, description="slices a subvolume (appendix A.1)")
    tubelet: int = Field(2, ge=1, description="slices a token spans (Tong et al.)")
    decoder_width: int = Field(384, description="decoder embedding dimensions (Tong et al., ViT-B)")
    decoder_depth: int = Field(4, description="decoder blocks (Tong et al.)")
    decoder_heads: int = Field(6, description="decoder attention heads (Tong et al., ViT-B)")
    mask_ratio: float = Field(0.9, gt=0, lt=1, description="share of tubes hidden (appendix A.1; Tong et al.)")
    batch_size: int = Field(64, ge=1, description="subvolumes a step; one has about ten times a slice's tokens")
    embed_batch_size: int = Field(32, ge=1, description="subvolumes a forward pass when embedding")

    @model_validator(mode="after")
    def _whole_tubelets(self) -> VideoMaeSettings:
        if self.frames % self.tubelet:
            raise ValueError(f"frames ({self.frames}) must be a multiple of tubelet ({self.tubelet})")
        return self


class ImagenetSettings(PooledSettings):
    """The baseline: a ViT-B trained on ImageNet's categories, the same weights for all organs (appendix A.1)."""

    model: str = Field(
        "vit_base_patch16_224.augreg_in21k_ft_in1k", description="timm's name (supervised: Steiner et al. 2022)"
    )
    weights: str | None = Field(None, description="its model.safetensors; null: the Hugging Face hub cache")
    embed_batch_size: int = Field(256, ge=1, description="slices a forward pass when embedding")


class ClassifierSettings(Section):
    """Classifier-guided score (paper, section 3.1)."""

    folds: int = Field(10, ge=3, description="stratified folds (section 4)")
    smote_neighbours: int = Field(5, ge=1, description="neighbours SMOTE draws from (Chawla et al. 2002)")
    smote: Literal["expected", "sampled"] = Field(
        "expected", description="moments SMOTE has on average, or imbalanced-learn's draws (slower, as good)"
    )
    seed: int = Field(0, ge=0, description="folds and SMOTE")
    min_auc: float = Field(0.6, description="least pooled out-of-fold ROC-AUC of a selected code")
    max_p: float = Field(0.01, description="largest rank-sum p of a selected code, each scored by the folds before")
    score: Literal["best_fold", "cross_fitted"] = Field(
        "best_fold", description="best_fold: one model for all (section 4); cross_fitted: nobody's by their own label"
    )


class ClusteringSettings(Section):
    """Clustering-guided score (paper, sections 3.2 and 4)."""

    algorithm: Literal["leiden", "kmeans", "agglomerative"] = Field("leiden", description="Leiden (section 4)")
    n_clusters: int | None = Field(
        None, ge=1, description="clusters of kmeans and agglomerative; null: as many as Leiden finds (our choice)"
    )
    n_neighbors: int = Field(10, ge=2, description="neighbours in the cosine graph (section 4)")
    resolution: float = Field(1.0, gt=0, description="Leiden resolution (section 4)")
    seed: int = Field(0, ge=0, description="Leiden and UMAP")
    stability_seeds: int = Field(
        5, ge=1, description="seeds whose partitions are compared by the adjusted Rand index (our choice)"
    )
    max_p: float = Field(0.05, description="largest Fisher p of an enriched code-cluster pair (Figure 3's line)")
    min_cases: int = Field(5, ge=1, description="fewest cases inside the cluster, that a mean embedding is of people")


class FewShotSettings(Section):
    """Phenotypes made again from a few of a code's positive labels (paper, section 4.4)."""

    codes: tuple[str, ...] = Field((), description="codes, or set.label, that it is done for; empty: none")
    fraction: float = Field(0.02, gt=0, le=1, description="share of imaged positives whose label is kept (Figure 6)")
    seed: int = Field(0, ge=0, description="which labels are kept")


class IslandSettings(Section):
    """Islands of cases (paper, section 3.2); the paper gives no numbers: all are our choice."""

    max_islands: int = Field(3, ge=0, description="most islands of a code; 0: the method is not run")
    neighbours: int = Field(
        100, ge=1, description="people within lambda of a person on average; at most a tenth of all people"
    )
    permutations: int = Field(199, ge=19, description="permuted labels that an island is tried against")
    max_p: float = Field(0.05, gt=0, le=1, description="largest p by permutation of an island")
    min_cases: int = Field(5, ge=1, description="fewest cases of an island, that a mean embedding is of people")
    seed: int = Field(0, ge=0, description="permutations, and people whose distances give lambda")


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


class EvidenceSettings(Section):
    """What embeddings are tried on (paper, Tables 3 and 4)."""

    scans: int = Field(1000, ge=20, description="scans of an organ, at random, that encoders and controls are tried on")
    pixel_components: int = Field(20, ge=1, description="principal components of the pixels, the linear control")
    collapsed_rank: float = Field(3.0, ge=1, description="an effective rank below it is told as a collapse")
    folds: int = Field(10, ge=2, description="folds of the ridge regression")
    permutations: int = Field(20, ge=0, description="permuted labels an organ, the null of classifier-guided scores")
    seed: int = Field(0, ge=0, description="scans, folds, permutations, and weights of the untrained control")


class LabelSetSettings(Section):
    """A set of binary labels beside ICD-10, such as medication (paper, section 3)."""

    table: str = Field(description="file in the folder: eid and label (long), or eid and a 0/1 column a label")
    labels: tuple[str, ...] = Field((), description="labels to study; empty: every one with min_cases imaged cases")
    min_cases: int = Field(20, ge=1, description="fewest people with the label in the imaging cohort")


SetName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]


class LabelSettings(Section):
    """Which ICD-10 codes and other binary labels become phenotypes (design, part 3)."""

    codes: tuple[str, ...] = Field((), description="codes to study; empty: every code with min_cases imaged cases")
    level: CodeLevel = Field(
        3, description="what codes are rolled up to: 3 to 7 characters (3 takes K76.0 to K76), block (K70-K77), chapter"
    )
    min_cases: int = Field(20, ge=1, description="fewest cases in the imaging cohort")
    sets: dict[SetName, LabelSetSettings] = Field(
        default_factory=dict, description="other binary labels by the name of their set; a phenotype is `set.label`"
    )


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
    classifier: ClassifierSettings = ClassifierSettings()
    clustering: ClusteringSettings = ClusteringSettings()
    few_shot: FewShotSettings = FewShotSettings()
    island: IslandSettings = IslandSettings()
    association: AssociationSettings = AssociationSettings()
    loci: LociSettings = LociSettings()
    genes: GeneSettings = GeneSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    study: StudySettings = StudySettings()

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
                f"[{'.'.join(str(p) for p in e['loc'])}]: {e['msg']} (found {e['input']!r})" for e in error.errors()
            ]
            raise ValueError("cohort.toml: " + "; ".join(lines)) from None
