"""Figures that help to name a score: where in the organ it looks. The people of its tails are drawn by `imaging`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edp_assets.figures.colours import GREY, INK
from edp_assets.figures.imaging import image_grid, show_slice
from edp_assets.figures.render import FONT, SMALL

BAR = 0.9
"""Inches beside the slices that say what colours mean."""
UNIT = "less affected with it hidden (red),\nmore affected (blue), SD of the score"


def occlusion_maps(
    images: Sequence[NDArray[np.uint8]], maps: Sequence[NDArray[np.float64]], labels: Sequence[str], title: str = ""
) -> Figure:
    """Draw slices, and below each which parts speak for the trait (red) or against it (blue), at one scale for all.

    Args:
        images: (n_y, n_x) each, 8 bits.
        maps: (n_blocks, n_blocks) each, of the same slice: how much more affected a part makes somebody count, in
            standard deviations of the score; 0 is not coloured.
        labels: one a slice.
        title: above the figure.
    """
    if not images or not len(images) == len(maps) == len(labels):
        raise ValueError(
            f"wanted as many slices, maps and labels, and one at least; {len(images)}, {len(maps)}, {len(labels)}"
        )
    height, width = images[0].shape
    fig, axes = image_grid(2, len(images), height / width, title)
    width_in, height_in = fig.get_size_inches()
    fig.set_size_inches(width_in + BAR, height_in)
    largest = max(float(np.abs(one).max()) for one in maps) or 1.0
    for column, (image, one) in enumerate(zip(images, maps, strict=True)):
        for row in (0, 1):
            show_slice(axes[row, column], image, 0, 255)
        coloured = axes[1, column].imshow(
            np.where(one == 0, np.nan, one), cmap="RdBu_r", vmin=-largest, vmax=largest, alpha=0.6, origin="lower",
            interpolation="nearest", extent=(-0.5, width - 0.5, -0.5, height - 0.5),
        )  # fmt: skip
        axes[0, column].set_title(labels[column], fontsize=FONT, color=INK)
    for row, name in enumerate(("slice", "patches\nhidden")):
        axes[row, 0].set_ylabel(name, fontsize=FONT, color=INK)
    bar = fig.colorbar(coloured, ax=axes.ravel().tolist(), shrink=0.85, aspect=30)
    bar.set_label(UNIT, fontsize=SMALL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, color=GREY, labelcolor=INK)
    return fig
