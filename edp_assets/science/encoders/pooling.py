"""From tokens to one vector a scan: statistics of an item's tokens, then statistics over the scan's items.

The paper reads the [cls] token and averages it over items (appendix A.1), which is the default. The mean forgets what
varies within a scan: an organ of many small slices and one of few large ones may have the same. The statistics here
that are not linear in the tokens (spread, largest, smallest) keep some of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edp_assets.settings import ItemStatistic, PooledSettings, TokenStatistic

_OF_TOKENS: dict[TokenStatistic, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": lambda cls_token, patches: cls_token,
    "patch_mean": lambda cls_token, patches: patches.mean(1),
    "patch_spread": lambda cls_token, patches: patches.std(1, correction=0),
    "patch_max": lambda cls_token, patches: patches.amax(1),
    "patch_min": lambda cls_token, patches: patches.amin(1),
}


@dataclass(frozen=True)
class Pooling:
    """Which statistics an embedding holds, fields as in `PooledSettings`: each of the tokens, of it each over items."""

    tokens: tuple[TokenStatistic, ...] = ("cls",)
    items: tuple[ItemStatistic, ...] = ("mean",)

    @classmethod
    def from_settings(cls, encoder: PooledSettings) -> Pooling:
        """Build from an encoder's section."""
        return cls(encoder.pooling, encoder.pooling_over_items)

    def dimensions(self, width: int) -> int:
        """Return how many dimensions an embedding has, of an encoder of this width."""
        return len(self.items) * len(self.tokens) * width

    def __str__(self) -> str:
        return f"{' '.join(self.tokens)} over items {' '.join(self.items)}"


def token_statistics(tokens: Tensor, wanted: tuple[TokenStatistic, ...]) -> Tensor:
    """Pool an item's tokens, [cls] first: (n_items, 1 + n_patches, width) to (n_items, n_statistics * width).

    The spread is the standard deviation over the patches, a dimension at a time, as are largest and smallest.
    """
    return torch.cat([_OF_TOKENS[name](tokens[:, 0], tokens[:, 1:]) for name in wanted], dim=1)


class ItemStatistics:
    """Statistics over the items of one scan, which come piece by piece, in any pieces; held in float64."""

    def __init__(self, wanted: tuple[ItemStatistic, ...], dimensions: int) -> None:
        self.wanted, self.seen = wanted, 0
        self._total, self._squares = np.zeros(dimensions), np.zeros(dimensions)
        self._max, self._min = np.full(dimensions, -np.inf), np.full(dimensions, np.inf)

    def add(self, z: NDArray[np.floating]) -> None:
        """Take the next items, (n_items, dimensions)."""
        z = z.astype(np.float64)
        self.seen += len(z)
        self._total += z.sum(axis=0)
        self._squares += np.square(z).sum(axis=0)
        self._max = np.maximum(self._max, z.max(axis=0))
        self._min = np.minimum(self._min, z.min(axis=0))

    def pooled(self) -> NDArray[np.float32]:
        """Return the statistics one after another, (n_statistics * dimensions,).

        The spread is the standard deviation over items (0 for a single one).
        """
        mean = self._total / self.seen
        found: dict[ItemStatistic, NDArray[np.float64]] = {
            "mean": mean,
            "spread": np.sqrt(np.maximum(self._squares / self.seen - np.square(mean), 0)),
            "max": self._max,
            "min": self._min,
        }
        return np.concatenate([found[name] for name in self.wanted]).astype(np.float32)
