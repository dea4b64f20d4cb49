"""The 2D masked autoencoder's shape (He et al. 2022, https://github.com/facebookresearch/mae): axial slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from edp_assets.science.encoders.vit import MaskedViT, MaskedViTConfig, recipe_fields
from edp_assets.settings import EncoderSettings, OrganSettings


@dataclass(frozen=True)
class MaeConfig(MaskedViTConfig):
    """Shape of a masked autoencoder of slices (channels, resolution, resolution)."""

    kind: ClassVar[str] = "mae"

    @property
    def extent(self) -> tuple[int, ...]:
        """Rows and columns of a slice."""
        return (self.resolution, self.resolution)

    @property
    def cell(self) -> tuple[int, ...]:
        """Rows and columns of a patch."""
        return (self.patch, self.patch)

    @classmethod
    def from_settings(cls, organ: OrganSettings, encoder: EncoderSettings) -> Self:
        """Build the shape that one organ's encoder takes under a recipe."""
        return cls(
            channels=len(organ.channels), resolution=organ.resolution, patch=organ.patch, **recipe_fields(encoder)
        )


class MaskedAutoencoder(MaskedViT):
    """Masked autoencoder of slices, uint8 (n_items, n_channels, resolution, resolution)."""
