"""What the masked autoencoders share: patches, positions, masks, encoder, decoder, loss; shapes of each kind elsewhere.

Everything is written over a grid of any number of axes: (row, column) for slices, (time, row, column) for subvolumes.
Differences from the published codes: any number of channels, 8-bit input, patch embedding as a linear map of flattened
patches (equal to its convolution, and only visible patches are embedded), explicit random generators, and a decoder
that reads its tokens in shuffled order, each with its own position, so that nothing is put back in its place.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers import LayerNorm
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from edp_assets.science.encoders.attention import Attention
from edp_assets.science.encoders.last_block import pooled_after
from edp_assets.science.imaging.slices import padded_resolution
from edp_assets.settings import VIT_SIZES, EncoderSettings, TokenStatistic

PIXEL_MEAN, PIXEL_STD = 0.25, 0.25
"""Constants of the input normalisation, of pixels scaled to 0..1: about what a masked organ in its square has."""


@dataclass(frozen=True)
class MaskedViTConfig:
    """Shape of a masked autoencoder; field names and units as in `OrganSettings` and `EncoderSettings`."""

    kind: ClassVar[str]

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
        axes = 4 ** (len(self.extent) - 1)  # a sine and a cosine of each axis; time takes a quarter of the width
        for part, width, heads in (
            ("encoder", self.width, self.heads),
            ("decoder", self.decoder_width, self.decoder_heads),
        ):
            if width % heads or width % axes:
                raise ValueError(
                    f"{part} width must be a multiple of {axes} and of its heads; found {width} and {heads}"
                )
        if self.depth < 2:
            raise ValueError(f"an embedding is read after the penultimate block: wanted depth 2 or more; {self.depth}")
        if self.decoder_depth < 1:
            raise ValueError(f"wanted a decoder of depth 1 or more, found {self.decoder_depth}")
        if not 0 < self.visible_patches < self.patches:
            raise ValueError(
                f"wanted some patches hidden and some visible; found {self.visible_patches} of {self.patches} visible "
                f"(resolution {self.resolution}, patch {self.patch}, mask_ratio {self.mask_ratio}); use smaller patches"
            )

    @property
    def extent(self) -> tuple[int, ...]:
        """Voxels of an item along each axis of the grid."""
        raise NotImplementedError

    @property
    def cell(self) -> tuple[int, ...]:
        """Voxels of a patch along each axis of the grid."""
        raise NotImplementedError

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of what is encoded at once: channels, then `extent`."""
        return (self.channels, *self.extent)

    @property
    def grid(self) -> tuple[int, ...]:
        """Patches along each axis of the padded item."""
        return tuple(padded_resolution(n, size) // size for n, size in zip(self.extent, self.cell, strict=True))

    @property
    def places(self) -> int:
        """Places in the plane, each hidden or visible at all times (tube masking; a slice has one time)."""
        return self.grid[-2] * self.grid[-1]

    @property
    def times(self) -> int:
        """Patches along time: 1 for slices."""
        return self.patches // self.places

    @property
    def patches(self) -> int:
        """Patches of an item."""
        return int(np.prod(self.grid))

    @property
    def visible_patches(self) -> int:
        """Patches that the encoder sees in training."""
        return self.times * (self.places - round(self.places * self.mask_ratio))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from what `to_dict` gave; an unknown or missing name raises TypeError."""
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON."""
        return asdict(self)


def recipe_fields(encoder: EncoderSettings) -> dict[str, Any]:
    """Return the fields of a config that come from the recipe, not from the organ."""
    width, depth, heads = VIT_SIZES[encoder.size]
    return {
        "width": width,
        "depth": depth,
        "heads": heads,
        "decoder_width": encoder.decoder_width,
        "decoder_depth": encoder.decoder_depth,
        "decoder_heads": encoder.decoder_heads,
        "mask_ratio": encoder.mask_ratio,
        "normalise_pixels": encoder.normalise_pixels,
    }


class MaskedViT(nn.Module):
    """Masked autoencoder with a vision transformer backbone (He et al. 2022; Tong et al. 2022).

    Items go in as uint8 (n_items, *config.item_shape). Weights are drawn from `seed` alone.
    """

    encoder_positions: Tensor
    decoder_positions: Tensor

    def __init__(self, config: MaskedViTConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        patch_pixels = config.channels * int(np.prod(config.cell))

        # Encoder. The convolution holds the patch embedding under timm's names; `embed_patches` applies it.
        convolution: Any = {2: nn.Conv2d, 3: nn.Conv3d}[len(config.cell)]
        self.patch_embed = nn.ModuleDict({"proj": convolution(config.channels, config.width, config.cell, config.cell)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.blocks = _blocks(config.width, config.heads, config.depth)
        self.norm = LayerNorm(config.width)

        # Decoder.
        self.decoder_embed = nn.Linear(config.width, config.decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.decoder_width))
        self.decoder_blocks = _blocks(config.decoder_width, config.decoder_heads, config.decoder_depth)
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
            if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
                nn.init.xavier_uniform_(module.weight.data.flatten(1), generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.cls_token, std=0.02, generator=generator)
        nn.init.normal_(self.mask_token, std=0.02, generator=generator)

    def patchify(self, items: Tensor) -> Tensor:
        """Pad symmetrically with zeros and cut: uint8 items to uint8 (n_items, n_patches, patch_pixels).

        Patches run time, row, column; pixels of a patch channel, time, row, column: the order of the convolution's
        weights.
        """
        config = self.config
        if items.dtype != torch.uint8 or items.shape[1:] != config.item_shape:
            shape = ", ".join(map(str, config.item_shape))
            raise ValueError(
                f"wanted uint8 items (n, {shape}), found {items.dtype} {tuple(items.shape)}; "
                f"cut them with the settings that this encoder was built on"
            )
        padding = [side for before, after in reversed(self._padding()) for side in (before, after)]
        if any(padding):
            items = nn.functional.pad(items, padding)
        axes = len(config.grid)
        halves = [size for pair in zip(config.grid, config.cell, strict=True) for size in pair]
        cells = items.reshape(len(items), config.channels, *halves)
        order = [0, *range(2, 2 + 2 * axes, 2), 1, *range(3, 3 + 2 * axes, 2)]
        return cells.permute(order).reshape(len(items), config.patches, -1)

    def unpatchify(self, patches: Tensor) -> Tensor:
        """Put patches (n_items, n_patches, patch_pixels) back and drop the padding; undoes `patchify`."""
        config, axes = self.config, len(self.config.grid)
        cells = patches.reshape(len(patches), *config.grid, config.channels, *config.cell)
        order = [0, 1 + axes, *(axis for k in range(axes) for axis in (1 + k, 2 + axes + k))]
        padded = [n * size for n, size in zip(config.grid, config.cell, strict=True)]
        items = cells.permute(order).reshape(len(patches), config.channels, *padded)
        inside = [slice(before, before + n) for (before, _), n in zip(self._padding(), config.extent, strict=True)]
        return items[:, :, *inside]

    def _padding(self) -> list[tuple[int, int]]:
        """Return the zeros before and after an item along each axis of the grid."""
        config = self.config
        missing = [n * size - m for n, size, m in zip(config.grid, config.cell, config.extent, strict=True)]
        return [(n // 2, n - n // 2) for n in missing]

    def shuffled_patches(self, n_items: int, generator: torch.Generator | None) -> Tensor:
        """Draw which patches each item shows: indices (n_items, n_patches), the first `visible_patches` visible.

        Places are drawn by sorting noise, and hold at all times. The noise is drawn on the generator's device and then
        moved, so that masks are the same on every device.
        """
        device = generator.device if generator is not None else "cpu"
        noise = torch.rand(n_items, self.config.places, generator=generator, device=device)
        places = torch.argsort(noise.to(self.cls_token.device), dim=1, stable=True)
        first = torch.arange(self.config.times, device=places.device) * self.config.places
        return (places.unsqueeze(-1) + first).flatten(1)

    def embed_patches(self, patches: Tensor) -> Tensor:
        """Apply the patch embedding to normalised patches: (..., patch_pixels) to (..., width)."""
        proj: Any = self.patch_embed["proj"]
        return nn.functional.linear(patches, proj.weight.flatten(1), proj.bias)

    def _encode(self, patches: Tensor, positions: Tensor, blocks: nn.ModuleList) -> Tensor:
        """Run blocks over [cls] and uint8 patches at their positions: (n_items, 1 + patches, width)."""
        cls_token = (self.cls_token + self.encoder_positions[:, :1]).expand(len(patches), -1, -1)
        x = self.embed_patches(normalised(patches, self.cls_token.dtype)) + positions
        x = torch.cat([cls_token, x], dim=1)
        for block in blocks:
            x = block(x)
        return x

    def forward_encoder(self, visible_patches: Tensor, visible: Tensor) -> Tensor:
        """Encode the visible patches, uint8, given their indices: (n_items, 1 + visible_patches, width)."""
        return self.norm(self._encode(visible_patches, self.encoder_positions[0, 1:][visible], self.blocks))

    def forward_decoder(self, latent: Tensor, shuffle: Tensor) -> Tensor:
        """Predict the hidden patches' normalised pixels, in the order of the shuffle: float (n_items, hidden, pixels).

        Attention does not know the order of its tokens, so they stay shuffled, each with its own position.
        """
        x = self.decoder_embed(latent)
        hidden = self.mask_token.expand(len(x), shuffle.shape[1] + 1 - x.shape[1], -1)
        places = nn.functional.pad(shuffle + 1, (1, 0))
        x = torch.cat([x, hidden], dim=1) + self.decoder_positions[0][places]
        for block in self.decoder_blocks[:-1]:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(_last_block(self.decoder_blocks[-1], x, latent.shape[1]))).float()

    def forward(self, items: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the mean squared error over the pixels of hidden patches, in normalised units (a scalar)."""
        return self.forward_loss(items, generator)

    def forward_loss(self, items: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the mean squared error over the pixels of hidden patches, in normalised units (a scalar).

        Under autocast the weights are cast once and everything but the loss runs in the lower precision, residual
        stream and norms too: casting activations to and fro costs more than it buys here (the loss curve is that of
        float32 within noise: `edp_assets_tests/benchmarks/mae_training.py`).
        """
        device = self.cls_token.device.type
        if not torch.is_autocast_enabled(device):
            return self._loss(items, generator)
        dtype = torch.get_autocast_dtype(device)
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        cast = {f"model.{name}": tensor.to(dtype) for name, tensor in tensors.items()}
        with torch.autocast(device, enabled=False):
            return torch.func.functional_call(_Loss(self), cast, (items, generator))

    def _loss(self, items: Tensor, generator: torch.Generator | None) -> Tensor:
        shuffle, shown, hidden = self._shuffle(items, generator)
        latent = self.forward_encoder(shown, shuffle[:, : shown.shape[1]])
        target = normalised(hidden, torch.float32)
        if self.config.normalise_pixels:
            mean, spread = _mean_and_spread(target)
            target = (target - mean) / spread
        return nn.functional.mse_loss(self.forward_decoder(latent, shuffle), target)

    def _shuffle(self, items: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the shuffle, and the visible and hidden patches in its order, uint8."""
        patches = self.patchify(items)
        shuffle = self.shuffled_patches(len(items), generator)
        rows = shuffle + self.config.patches * torch.arange(len(items), device=shuffle.device).unsqueeze(-1)
        shuffled = patches.flatten(0, 1).index_select(0, rows.flatten()).view(patches.shape)
        visible = self.config.visible_patches
        return shuffle, shuffled[:, :visible], shuffled[:, visible:]

    @torch.no_grad()
    def reconstruct(self, items: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Hide patches and fill them in, for people to look at.

        Returns:
            The items with hidden patches as predicted, 0..1, and the mask, 1 where hidden; both of the items' shape.
            An encoder trained on normalised patches predicts contrast alone: the patch's own mean and spread are put
            back.
        """
        shuffle, shown, hidden = self._shuffle(items, generator)
        prediction = self.forward_decoder(self.forward_encoder(shown, shuffle[:, : shown.shape[1]]), shuffle)
        if self.config.normalise_pixels:
            mean, spread = _mean_and_spread(normalised(hidden, torch.float32))
            prediction = prediction * spread + mean
        filled = normalised(self.patchify(items), torch.float32)
        places = shuffle[:, shown.shape[1] :].unsqueeze(-1).expand_as(prediction)
        mask = torch.zeros_like(filled).scatter_(1, places, 1.0)
        filled = filled.scatter_(1, places, prediction) * PIXEL_STD + PIXEL_MEAN
        return self.unpatchify(filled).clamp(0, 1), self.unpatchify(mask)

    @torch.no_grad()
    def embed(self, items: Tensor, pooling: tuple[TokenStatistic, ...] = ("cls",)) -> Tensor:
        """Return statistics of the tokens after the penultimate block, nothing hidden: (n_items, n_statistics * width).

        By default the [cls] token (appendix A.1). The last block and the final norm are not applied:
        `hidden_states[-2]` in Hugging Face's terms, timm's `get_intermediate_layers(n=[depth - 2])`.
        """
        tokens = self._encode(self.patchify(items), self.encoder_positions[:, 1:], self.blocks[:-2])
        return pooled_after(self.blocks[-2], tokens, pooling)


class _Loss(nn.Module):
    """The loss as a module's forward, which is what `torch.func.functional_call` calls."""

    def __init__(self, model: MaskedViT) -> None:
        super().__init__()
        self.model = model

    def forward(self, items: Tensor, generator: torch.Generator | None) -> Tensor:
        return self.model._loss(items, generator)


def _blocks(width: int, heads: int, depth: int) -> nn.ModuleList:
    return nn.ModuleList(
        Block(width, heads, mlp_ratio=4, qkv_bias=True, norm_layer=LayerNorm, attn_layer=Attention)
        for _ in range(depth)
    )


def _last_block(block: Any, x: Tensor, first: int) -> Tensor:
    """Run a block for the tokens from `first` on alone: after the last block nobody reads the others."""
    x = x[:, first:] + block.attn(block.norm1(x), first_query=first)
    return x + block.mlp(block.norm2(x))


def normalised(patches: Tensor, dtype: torch.dtype) -> Tensor:
    """Scale 8-bit pixels to about zero mean and unit spread."""
    return patches.to(dtype).mul_(1 / (255 * PIXEL_STD)).sub_(PIXEL_MEAN / PIXEL_STD)


def _mean_and_spread(target: Tensor) -> tuple[Tensor, Tensor]:
    """Return each patch's own mean and standard deviation, over all its pixels and channels (He et al.)."""
    return target.mean(-1, keepdim=True), (target.var(-1, keepdim=True) + 1e-6).sqrt()


def sincos_positions(width: int, grid: tuple[int, ...]) -> NDArray[np.float64]:
    """Return fixed sine-cosine positions (1 + patches, width), zeros for the [cls] token first.

    Of (row, column), the first half of the dimensions tells the column, the second half the row (He et al.); of
    (time, row, column), the first quarter tells the time and the rest is as before (Feichtenhofer et al. 2022). Each
    part is sines, then cosines.
    """
    *time, rows, columns = np.indices(grid).reshape(len(grid), -1)
    spatial = width - width // 4 * len(time)
    parts = [_sincos(width // 4, t) for t in time] + [_sincos(spatial // 2, at) for at in (columns, rows)]
    return np.concatenate([np.zeros((1, width)), np.concatenate(parts, axis=1)])


def _sincos(width: int, position: NDArray[np.integer]) -> NDArray[np.float64]:
    frequencies = 1 / 10000 ** (np.arange(width // 2) / (width // 2))
    angles = np.outer(position, frequencies)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
