"""What of a slice a score looks at: how much it changes when a part of the organ is hidden (Zeiler and Fergus 2014)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edp_assets.science.encoders.interface import Encoder
from edp_assets.settings import TokenStatistic

_ITEMS_AT_ONCE = 64


@dataclass(frozen=True)
class Occlusion:
    """How an item's embedding changes when one block of it after another is hidden, whatever score is made of it.

    Attributes:
        blocks: along each side.
        places: row and column of the blocks that hold something of the organ.
        changes: (len(places), n_dims) change of the item's embedding by hiding each.
    """

    blocks: int
    places: list[tuple[int, int]]
    changes: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        encoder: Encoder,
        item: NDArray[np.uint8],
        blocks: int = 8,
        tokens: tuple[TokenStatistic, ...] = ("cls",),
    ) -> Occlusion:
        """Hide one block of an item after another.

        Voxels of the organ in the block take the item's mean inside the organ, a channel each: its outline stays, what
        is in it goes. Of a subvolume the block is hidden in all slices.

        Args:
            encoder: on any device.
            item: uint8 (n_channels, n_rows, n_columns) or (n_channels, n_frames, n_rows, n_columns); 0 outside the
                organ.
            blocks: along each side.
            tokens: statistics of the item's tokens, see `pooling`.
        """
        if item.ndim not in (3, 4) or not 1 <= blocks <= min(item.shape[-2:]):
            raise ValueError(f"wanted an item of 3 or 4 axes, its sides at least {blocks}; found {item.shape}")
        inside = (item > 0).any(axis=0)
        mean = np.array([np.rint(c[inside].mean()) if inside.any() else 0 for c in item]).astype(np.uint8)
        places, hidden = [], []
        edges = [np.linspace(0, side, blocks + 1).round().astype(int) for side in item.shape[-2:]]
        for row in range(blocks):
            for column in range(blocks):
                block = np.zeros_like(inside)
                block[..., edges[0][row] : edges[0][row + 1], edges[1][column] : edges[1][column + 1]] = True
                block &= inside
                if block.any():
                    places.append((row, column))
                    hidden.append(np.where(block[None], mean.reshape(-1, *[1] * inside.ndim), item))
        if not places:
            return cls(blocks, [], np.empty((0, 0)))
        z = _embed(encoder, [item, *hidden], tokens)
        return cls(blocks, places, z[1:] - z[0])

    def map(self, score: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return how much each block adds to a score.

        Args:
            score: of changes of the item's embedding (n, n_dims) the score of each, (n,).

        Returns:
            (blocks, blocks) score as it is less the score when hidden; 0 where there is nothing of the organ.
        """
        found = np.zeros((self.blocks, self.blocks))
        if self.places:
            as_it_is = np.zeros((1, self.changes.shape[1]))
            scores = score(np.concatenate([as_it_is, self.changes]))
            found[tuple(np.array(self.places).T)] = scores[0] - scores[1:]
        return found


def _embed(encoder: Encoder, items: list[NDArray[np.uint8]], tokens: tuple[TokenStatistic, ...]) -> NDArray[np.float64]:
    assert isinstance(encoder, torch.nn.Module)  # noqa: S101
    device = next(encoder.eval().parameters()).device
    parts = []
    with torch.inference_mode():
        for first in range(0, len(items), _ITEMS_AT_ONCE):
            batch = torch.from_numpy(np.stack(items[first : first + _ITEMS_AT_ONCE])).to(device)
            parts.append(encoder.embed(batch, tokens).cpu().numpy().astype(np.float64))
    return np.concatenate(parts)
