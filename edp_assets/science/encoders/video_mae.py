"""The video masked autoencoder's shape (Tong et al. 2022; appendix A.1): subvolumes, hidden in tubes.

Differences from the paper's code: a [cls] token, which appendix A.1 reads, and positions that tell time, row and
column apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from edp_assets.science.encoders.vit import MaskedViT, MaskedViTConfig, recipe_fields
from edp_assets.settings import OrganSettings, VideoMaeSettings


@dataclass(frozen=True)
class VideoMaeConfig(MaskedViTConfig):
    """Shape of a masked autoencoder of subvolumes (channels, frames, resolution, resolution).

    Attributes:
        frames: slices of a subvolume (appendix A.1); a shorter scan's are zero-padded by who cuts them.
        tubelet: slices of a patch (Tong et al.).
    """

    kind: ClassVar[str] = "video_mae"

    frames: int = 16
    tubelet: int = 2

    def __post_init__(self) -> None:
        if self.tubelet < 1 or self.frames % self.tubelet or self.frames < 2 * self.tubelet:
            raise ValueError(
                f"frames must be a multiple of the tubelet, twice it or more; found {self.frames} frames and "
                f"tubelets of {self.tubelet}"
            )
        super().__post_init__()

    @property
    def extent(self) -> tuple[int, ...]:
        """Slices, rows and columns of a subvolume."""
        return (self.frames, self.resolution, self.resolution)

    @property
    def cell(self) -> tuple[int, ...]:
        """Slices, rows and columns of a patch."""
        return (self.tubelet, self.patch, self.patch)

    @classmethod
    def from_settings(cls, organ: OrganSettings, encoder: VideoMaeSettings) -> Self:
        """Build the shape that one organ's encoder takes under a recipe."""
        return cls(
            channels=len(organ.channels),
            resolution=organ.resolution_video,
            patch=organ.patch_video,
            frames=encoder.frames,
            tubelet=encoder.tubelet,
            **recipe_fields(encoder),
        )


class VideoMaskedAutoencoder(MaskedViT):
    """Masked autoencoder of subvolumes, uint8 (n_items, n_channels, frames, resolution, resolution)."""
