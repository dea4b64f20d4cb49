"""What every encoder is, whichever its kind: the types that training, embedding and checkpoints rely on."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from edp_assets.settings import TokenStatistic


class EncoderConfig(Protocol):
    """Shape of an encoder: a frozen dataclass, whose class has `from_dict`, the inverse of `to_dict`."""

    @property
    def kind(self) -> str:
        """`mae`, `video_mae` or `imagenet`."""

    @property
    def item_shape(self) -> tuple[int, ...]:
        """(channels, resolution, resolution) of a slice or (channels, frames, resolution, resolution)."""

    @property
    def width(self) -> int:
        """Dimensions of a token."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON."""


class Encoder(Protocol):
    """A torch module that embeds."""

    @property
    def config(self) -> Any:
        """Its `EncoderConfig`."""

    def embed(self, images: Tensor, pooling: tuple[TokenStatistic, ...] = ("cls",)) -> Tensor:
        """Turn uint8 items (n, *item_shape) into float32 (n, n_statistics * width): tokens after the penultimate block.

        The statistics of them stand side by side (`pooling.token_statistics`); by default the [cls] token alone.
        """
