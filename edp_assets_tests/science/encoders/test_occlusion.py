"""Occlusion of an encoder that is known in full: what a part adds is what was planted in it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edp_assets.science.encoders.occlusion import Occlusion


class Sums(torch.nn.Module):
    """Embeds an item as the mean of channel 0 in the upper left quarter, and of channel 1 everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.anything = torch.nn.Parameter(torch.zeros(1))

    def embed(self, items: torch.Tensor, pooling: tuple[str, ...] = ("cls",)) -> torch.Tensor:
        x = items.float()
        return torch.stack([x[:, 0, ..., :8, :8].flatten(1).mean(1), x[:, 1].flatten(1).mean(1)], dim=1)


def item(shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(0)
    found = rng.integers(100, 200, shape, dtype=np.uint8)
    found[..., 12:, :] = 0  # outside the organ
    return found


@pytest.mark.parametrize("shape", [(2, 16, 16), (2, 3, 16, 16)])
def test_occlusion__is_what_hiding_changes(shape: tuple[int, ...]) -> None:
    image = item(shape)
    found = Occlusion.of(Sums(), image, blocks=4).map(lambda change: 2 * change[:, 0])
    assert (found[2:] == 0).all()
    assert (found[:, 2:] == 0).all()
    inside = image[0][(image > 0).any(axis=0)]
    mean = np.rint(inside.mean())
    for row in range(2):
        for column in range(2):
            block = image[0, ..., 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].astype(float)
            share = block.size / image[0, ..., :8, :8].size
            assert found[row, column] == pytest.approx(2 * share * (block.mean() - mean), rel=1e-4)


def test_occlusion__of_nothing_is_nothing() -> None:
    assert (Occlusion.of(Sums(), np.zeros((2, 16, 16), np.uint8)).map(lambda change: change[:, 0]) == 0).all()


def test_occlusion__bad_input_says_what_was_wanted() -> None:
    with pytest.raises(ValueError, match="sides at least 32"):
        Occlusion.of(Sums(), item((2, 16, 16)), blocks=32)
