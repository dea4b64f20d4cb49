"""The baseline: timm's ViT-B, supervised on ImageNet's categories, the same for every organ; never trained here.

Slices are resized to the size that the weights were trained at (224) rather than positions interpolated to the
organ's: a ViT is not scale-free, its 16-pixel patches know objects that fill the frame, and a kidney of 48 pixels
would be 3 x 3 patches. So patch and positions stay as trained, for any resolution, and the organ's patch plays no part.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edp_assets.science.encoders.last_block import pooled_after
from edp_assets.settings import ImagenetSettings, OrganSettings, TokenStatistic

FILE = "model.safetensors"


class WeightsError(ValueError):
    """The ImageNet weights are not there, or are another model's."""


@dataclass(frozen=True)
class ImagenetConfig:
    """Shape of the baseline: timm's model, and what an organ's slices look like."""

    kind: ClassVar[str] = "imagenet"

    model: str
    channels: int
    resolution: int
    width: int

    @property
    def item_shape(self) -> tuple[int, int, int]:
        """A slice: (channels, resolution, resolution)."""
        return self.channels, self.resolution, self.resolution

    @classmethod
    def from_settings(cls, organ: OrganSettings, encoder: ImagenetSettings) -> ImagenetConfig:
        """Build the shape for one organ; raises ValueError where timm has no such vision transformer."""
        with torch.device("meta"):
            model = _create(encoder.model, len(organ.channels))
        return cls(encoder.model, len(organ.channels), organ.resolution, model.embed_dim)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ImagenetConfig:
        """Build from what `to_dict` gave; an unknown or missing name raises TypeError."""
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON."""
        return asdict(self)


class ImagenetEncoder(nn.Module):
    """A timm vision transformer without its head; random weights drawn from `seed` until others are loaded.

    Images go in as uint8 (n_images, n_channels, resolution, resolution).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ImagenetConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.vit = _create(config.model, config.channels)
        # timm's weights sum over colour channels when adapted, so one mean and spread serves any channel.
        trained_on = self.vit.pretrained_cfg
        self.size = trained_on["input_size"][-1]
        for name in ("mean", "std"):
            value = sum(trained_on[name]) / len(trained_on[name])
            self.register_buffer(name, torch.tensor(value), persistent=False)

    @torch.no_grad()
    def embed(self, images: Tensor, pooling: tuple[TokenStatistic, ...] = ("cls",)) -> Tensor:
        """Return statistics of the tokens after the penultimate block: (n_images, n_statistics * width)."""
        if images.dtype != torch.uint8 or images.shape[1:] != self.config.item_shape:
            raise ValueError(
                f"wanted uint8 slices (n, {', '.join(map(str, self.config.item_shape))}), found {images.dtype} "
                f"{tuple(images.shape)}; cut them with the settings that this encoder was built on"
            )
        x = images.float() / 255
        if self.config.resolution != self.size:
            x = nn.functional.interpolate(x, size=(self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        x = self.vit.norm_pre(self.vit._pos_embed(self.vit.patch_embed((x - self.mean) / self.std)))
        for block in self.vit.blocks[:-2]:
            x = block(x)
        return pooled_after(self.vit.blocks[-2], x, pooling)


def load_imagenet(config: ImagenetConfig, weights: Path | None = None) -> ImagenetEncoder:
    """Return the baseline with ImageNet weights, channels adapted as timm does (colour weights repeated and scaled).

    Nothing is downloaded, and no pickle is read.

    Args:
        config: from `ImagenetConfig.from_settings`.
        weights: timm's safetensors file of the model; None looks in the Hugging Face hub cache.

    Raises:
        WeightsError: no file, or one that is not this model's; it says where to put which.
    """
    file = _find_weights(config.model, weights)
    try:
        state = load_file(file)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file}: wanted timm's safetensors file of {config.model}, found '{error}'") from None
    encoder = ImagenetEncoder(config)
    state = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    patches = state.get("patch_embed.proj.weight")
    if patches is not None and patches.ndim == 4:
        from timm.models import adapt_input_conv

        state["patch_embed.proj.weight"] = adapt_input_conv(config.channels, patches)
    try:
        encoder.vit.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{file}: wanted the weights of {config.model}, found others: {error}") from None
    return encoder.eval()


def _create(name: str, channels: int) -> Any:
    """Return timm's model with random weights, without the head; raises ValueError where it is no plain ViT."""
    known = timm.list_models(name.split(".")[0], module="vision_transformer")
    if not known:
        raise ValueError(f"wanted a vision transformer that timm knows, such as vit_base_patch16_224, found {name}")
    return timm.create_model(name, pretrained=False, in_chans=channels, num_classes=0)


def _find_weights(model: str, weights: Path | None) -> Path:
    if weights is not None:
        if not weights.is_file():
            raise WeightsError(f"{weights}: wanted timm's safetensors file of {model}, found no file; {_advice(model)}")
        return weights
    from huggingface_hub import constants, try_to_load_from_cache

    found = try_to_load_from_cache(f"timm/{model}", FILE, cache_dir=constants.HF_HUB_CACHE)
    if not isinstance(found, str):
        raise WeightsError(
            f"wanted the weights of {model}, found neither a file in the settings nor timm/{model} in the hub cache "
            f"({constants.HF_HUB_CACHE}); {_advice(model)}"
        )
    return Path(found)


def _advice(model: str) -> str:
    return (
        f"fetch {FILE} of the Hugging Face repository timm/{model} where there is network, copy it to the cohort's "
        f'folder and name it in cohort.toml: [encoders.imagenet] weights = "{FILE}"'
    )
