"""Encoders: recipes of training, and how tokens become embeddings (paper, appendix A.1)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from edp_assets.settings.section import Section

EncoderName = Literal["mae", "video_mae", "imagenet", "untrained"]
TokenStatistic = Literal["cls", "patch_mean", "patch_spread", "patch_max", "patch_min"]
ItemStatistic = Literal["mean", "spread", "max", "min"]

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
    embed_batch_size: int = Field(256, ge=1, description="slices a forward pass when embedding")

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


class UntrainedSettings(Section):
    """The control: weights of the MAE's shape as they are drawn, never trained; pooled as `[encoders.mae]` says."""

    seed: int = Field(1, ge=0, description="weights; another one than the MAE's, whose training begins at its own")


class ImagenetSettings(PooledSettings):
    """The baseline: a ViT-B trained on ImageNet's categories, the same weights for all organs (appendix A.1)."""

    model: str = Field(
        "vit_base_patch16_224.augreg_in21k_ft_in1k", description="timm's name (supervised: Steiner et al. 2022)"
    )
    weights: str | None = Field(None, description="its model.safetensors; null: the Hugging Face hub cache")
