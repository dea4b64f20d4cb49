"""The 2D masked autoencoder (He et al. 2022, https://github.com/facebookresearch/mae); training it belongs elsewhere.

Differences from the paper's code: any number of channels, patch embedding as a linear map of flattened patches (equal
to its convolution, and only visible patches are embedded), explicit random generators, 8-bit input.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers import LayerNorm, PatchEmbed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from edp_assets.science.imaging.slices import padded_resolution
from edp_assets.settings import VIT_SIZES, EncoderSettings, OrganSettings

PIXEL_MEAN, PIXEL_STD = 0.25, 0.25
"""Constants of the input normalisation, of pixels scaled to 0..1: about what a masked organ in its square has."""


@dataclass(frozen=True)
class MaeConfig:
    """Shape of a masked autoencoder; field names and units as in `OrganSettings` and `EncoderSettings`."""

    channels: int
    resolution: int
    patch: int
    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    mask_ratio: float
    normalise_pixels: bool

    def __post_init__(self) -> None:
        for part, width, heads in (
            ("encoder", self.width, self.heads),
            ("decoder", self.decoder_width, self.decoder_heads),
        ):
            if width % heads or width % 4:
                raise ValueError(f"{part} width must be a multiple of 4 and of its heads; found {width} and {heads}")
        if self.depth < 2:
            raise ValueError(f"an embedding is read after the penultimate block: wanted depth 2 or more; {self.depth}")
        if not 0 < self.visible_patches < self.patches:
            raise ValueError(
                f"wanted some patches hidden and some visible; found {self.visible_patches} of {self.patches} visible "
                f"(resolution {self.resolution}, patch {self.patch}, mask_ratio {self.mask_ratio}); use smaller patches"
            )

    @property
    def grid(self) -> int:
        """Patches along an edge of the padded slice."""
        return padded_resolution(self.resolution, self.patch) // self.patch

    @property
    def patches(self) -> int:
        """Patches of a slice."""
        return self.grid**2

    @property
    def visible_patches(self) -> int:
        """Patches that the encoder sees in training."""
        return self.patches - round(self.patches * self.mask_ratio)

    @classmethod
    def from_settings(cls, organ: OrganSettings, encoder: EncoderSettings) -> MaeConfig:
        """Build the shape that one organ's encoder takes under a recipe."""
        width, depth, heads = VIT_SIZES[encoder.size]
        return cls(
            channels=len(organ.channels),
            resolution=organ.resolution,
            patch=organ.patch,
            width=width,
            depth=depth,
            heads=heads,
            decoder_width=encoder.decoder_width,
            decoder_depth=encoder.decoder_depth,
            decoder_heads=encoder.decoder_heads,
            mask_ratio=encoder.mask_ratio,
            normalise_pixels=encoder.normalise_pixels,
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MaeConfig:
        """Build from what `to_dict` gave; an unknown or missing name raises TypeError."""
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON."""
        return asdict(self)


class MaskedAutoencoder(nn.Module):
    """Masked autoencoder with a vision transformer backbone.

    Images go in as uint8 (n_images, n_channels, resolution, resolution). Weights are drawn from `seed` alone.
    """

    encoder_positions: Tensor
    decoder_positions: Tensor

    def __init__(self, config: MaeConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        patch_pixels = config.patch**2 * config.channels

        # Encoder. PatchEmbed holds the weights under timm's names; `embed_patches` applies them.
        self.patch_embed = PatchEmbed(config.grid * config.patch, config.patch, config.channels, config.width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, mlp_ratio=4, qkv_bias=True, norm_layer=LayerNorm)
            for _ in range(config.depth)
        )
        self.norm = LayerNorm(config.width)

        # Decoder.
        self.decoder_embed = nn.Linear(config.width, config.decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.decoder_width))
        self.decoder_blocks = nn.ModuleList(
            Block(config.decoder_width, config.decoder_heads, mlp_ratio=4, qkv_bias=True, norm_layer=LayerNorm)
            for _ in range(config.decoder_depth)
        )
        self.decoder_norm = LayerNorm(config.decoder_width)
        self.decoder_pred = nn.Linear(config.decoder_width, patch_pixels)

        # Fixed positions: known from the config, so they are not stored with the weights.
        for name, width in (("encoder_positions", config.width), ("decoder_positions", config.decoder_width)):
            positions = torch.from_numpy(sincos_positions(width, config.grid))
            self.register_buffer(name, positions.float().unsqueeze(0), persistent=False)
        self._initialise(torch.Generator().manual_seed(seed))

    def _initialise(self, generator: torch.Generator) -> None:
        """Initialise as He et al.: xavier for linear maps and the patch embedding, normal 0.02 for tokens."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight.data.flatten(1), generator=generator)
            elif isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
            if isinstance(module, nn.Linear | nn.Conv2d | nn.LayerNorm) and module.bias is not None:
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.cls_token, std=0.02, generator=generator)
        nn.init.normal_(self.mask_token, std=0.02, generator=generator)

    def patchify(self, images: Tensor) -> Tensor:
        """Pad symmetrically with zeros, cut and normalise: uint8 images to float (n_images, n_patches, patch_pixels).

        Pixels of a patch run channel, row, column: the order of the convolution's weights.
        """
        if images.dtype != torch.uint8 or images.shape[1:] != (self.config.channels, *2 * (self.config.resolution,)):
            raise ValueError(
                f"wanted uint8 slices (n, {self.config.channels}, {self.config.resolution}, {self.config.resolution}), "
                f"found {images.dtype} {tuple(images.shape)}; cut them with the settings that this encoder was built on"
            )
        grid, patch = self.config.grid, self.config.patch
        padding = grid * patch - self.config.resolution
        before, after = padding // 2, padding - padding // 2
        if padding:
            images = nn.functional.pad(images, (before, after, before, after))
        cells = images.reshape(len(images), self.config.channels, grid, patch, grid, patch)
        patches = cells.permute(0, 2, 4, 1, 3, 5).reshape(len(images), grid * grid, -1)
        return patches.float().mul_(1 / (255 * PIXEL_STD)).sub_(PIXEL_MEAN / PIXEL_STD)

    def unpatchify(self, patches: Tensor) -> Tensor:
        """Put patches back and drop the padding; undoes `patchify` but for the normalisation of pixels."""
        grid, patch, channels = self.config.grid, self.config.patch, self.config.channels
        images = patches.reshape(len(patches), grid, grid, channels, patch, patch).permute(0, 3, 1, 4, 2, 5)
        images = images.reshape(len(patches), channels, grid * patch, grid * patch)
        before, size = (grid * patch - self.config.resolution) // 2, self.config.resolution
        return images[:, :, before : before + size, before : before + size]

    def random_masking(self, n_images: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """Draw which patches each image shows, by sorting noise.

        The noise is drawn on the generator's device and then moved, so that masks are the same on every device.

        Returns:
            Indices of the visible patches (n_images, visible_patches); indices that put the shuffled patches back
            (n_images, n_patches); mask (n_images, n_patches), 1 hidden and 0 visible.
        """
        noise_device = generator.device if generator is not None else "cpu"
        noise = torch.rand(n_images, self.config.patches, generator=generator, device=noise_device)
        noise = noise.to(self.cls_token.device)
        shuffle = torch.argsort(noise, dim=1, stable=True)
        restore = torch.argsort(shuffle, dim=1)
        keep = self.config.visible_patches
        return shuffle[:, :keep], restore, (restore >= keep).float()

    def embed_patches(self, patches: Tensor) -> Tensor:
        """Apply the patch embedding to flattened patches: (..., patch_pixels) to (..., width)."""
        return nn.functional.linear(patches, self.patch_embed.proj.weight.flatten(1), self.patch_embed.proj.bias)

    def _with_cls(self, tokens: Tensor) -> Tensor:
        cls_token = self.cls_token + self.encoder_positions[:, :1]
        return torch.cat([cls_token.expand(len(tokens), -1, -1), tokens], dim=1)

    def forward_encoder(self, patches: Tensor, visible: Tensor) -> Tensor:
        """Encode the visible patches: (n_images, 1 + visible_patches, width)."""
        shown = torch.gather(patches, 1, visible.unsqueeze(-1).expand(-1, -1, patches.shape[2]))
        x = self._with_cls(self.embed_patches(shown) + self.encoder_positions[0, 1:][visible])
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward_decoder(self, latent: Tensor, restore: Tensor) -> Tensor:
        """Predict every patch's pixels: (n_images, n_patches, patch_pixels)."""
        x = self.decoder_embed(latent)
        hidden = self.mask_token.to(x.dtype).expand(len(x), restore.shape[1] + 1 - x.shape[1], -1)
        shuffled = torch.cat([x[:, 1:], hidden], dim=1)
        patches = torch.gather(shuffled, 1, restore.unsqueeze(-1).expand(-1, -1, x.shape[2]))
        x = torch.cat([x[:, :1], patches], dim=1) + self.decoder_positions
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x))[:, 1:]

    def forward_loss(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the mean squared error over the pixels of hidden patches, in normalised units (a scalar)."""
        target = self.patchify(images)
        visible, restore, mask = self.random_masking(len(images), generator)
        prediction = self.forward_decoder(self.forward_encoder(target, visible), restore).float()
        if self.config.normalise_pixels:
            target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        loss = (prediction - target).square().mean(dim=-1)
        return (loss * mask).sum() / mask.sum()

    @torch.no_grad()
    def reconstruct(self, images: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Hide patches and fill them in, for people to look at.

        Returns:
            The images with hidden patches as predicted, 0..1 (n_images, n_channels, resolution, resolution), and of
            the same shape the mask, 1 where hidden. An encoder trained on normalised patches predicts contrast alone:
            the patch's own mean and spread are put back.
        """
        target = self.patchify(images)
        visible, restore, mask = self.random_masking(len(images), generator)
        prediction = self.forward_decoder(self.forward_encoder(target, visible), restore).float()
        if self.config.normalise_pixels:
            spread = (target.var(-1, keepdim=True) + 1e-6).sqrt()
            prediction = prediction * spread + target.mean(-1, keepdim=True)
        hidden = mask.unsqueeze(-1).expand_as(target)
        filled = torch.where(hidden > 0, prediction, target) * PIXEL_STD + PIXEL_MEAN
        return self.unpatchify(filled).clamp(0, 1), self.unpatchify(hidden)

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Return the [cls] token after the penultimate block, nothing hidden: (n_images, width) (appendix A.1).

        The last block and the final norm are not applied: `hidden_states[-2]` in Hugging Face's terms, timm's
        `get_intermediate_layers(n=[depth - 2])`.
        """
        x = self._with_cls(self.embed_patches(self.patchify(images)) + self.encoder_positions[:, 1:])
        for block in self.blocks[:-1]:
            x = block(x)
        return x[:, 0].float()


def sincos_positions(width: int, grid: int) -> NDArray[np.float64]:
    """Return fixed 2D sine-cosine positions (1 + grid^2, width), zeros for the [cls] token first (He et al.).

    The first half of the dimensions tells the column, the second half the row; each half is sines, then cosines.
    """
    frequencies = 1 / 10000 ** (np.arange(width // 4) / (width // 4))
    rows, columns = np.divmod(np.arange(grid**2), grid)
    angles = [np.outer(position, frequencies) for position in (columns, rows)]
    halves = [np.concatenate([np.sin(a), np.cos(a)], axis=1) for a in angles]
    return np.concatenate([np.zeros((1, width)), np.concatenate(halves, axis=1)])
