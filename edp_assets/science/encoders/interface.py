"""What every encoder is, whichever its kind: the types that training, embedding and checkpoints rely on."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


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
        """Dimensions of an embedding."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON."""


class Encoder(Protocol):
    """A torch module that embeds."""

    @property
    def config(self) -> Any:
        """Its `EncoderConfig`."""

    def embed(self, images: Tensor) -> Tensor:
        """Turn uint8 items (n, *item_shape) into float32 (n, width): the [cls] token after the penultimate block."""
