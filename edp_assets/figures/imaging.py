"""Figures of scans and encoders: crops, training loss, reconstructions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from edp_assets.figures.colours import BLUE, GREY, INK
from edp_assets.figures.render import FONT, new_figure, style_axes

MAX_COLUMNS = 8


def crop_montage(
    crops: Sequence[NDArray[np.uint8]],
    labels: Sequence[str],
    title: str = "",
    channels: Sequence[str] = (),
    spacing_mm: Sequence[tuple[float, float, float]] = (),
) -> Figure:
    """Draw the middle slices of several crops, a column a crop: axial ones, a row a channel, then coronal ones below.

    Args:
        crops: each (n_channels, n_z, n_y, n_x), RAS+; the first eight are drawn, all at one scale.
        labels: one a crop.
        title: above the figure.
        channels: their names, for the rows.
        spacing_mm: voxel edges along x, y, z, one a crop; without them there are no coronal slices, whose proportions
            need them.
    """
    if not crops or len(crops) != len(labels):
        raise ValueError(f"a montage needs crops and one label each, found {len(crops)} crops, {len(labels)} labels")
    crops, labels = crops[:MAX_COLUMNS], labels[:MAX_COLUMNS]
    n_channels = crops[0].shape[0]
    planes = {"": [crop[:, crop.shape[1] // 2] for crop in crops]}
    if spacing_mm:
        planes[" coronal"] = [_coronal(crop, edges) for crop, edges in zip(crops, spacing_mm, strict=False)]
    sizes = [tuple(max(s.shape[axis] for s in slices) for axis in (1, 2)) for slices in planes.values()]
    width = max(w for _, w in sizes)
    heights = [height for height, _ in sizes for _ in range(n_channels)]
    fig, axes = image_grid(len(heights), len(crops), sum(heights) / len(heights) / width, title, heights)
    for plane, (suffix, slices) in enumerate(planes.items()):
        for channel in range(n_channels):
            row = axes[plane * n_channels + channel]
            for ax, image in zip(row, slices, strict=True):
                show_slice(ax, _centred(image[channel], sizes[plane][0], width), 0, 255)
            if channel < len(channels):
                row[0].set_ylabel(channels[channel] + suffix.replace(" ", "\n"), fontsize=FONT, color=INK)
    for ax, label in zip(axes[0], labels, strict=True):
        ax.set_title(label, fontsize=FONT, color=INK)
    return fig


def _coronal(crop: NDArray[np.uint8], spacing_mm: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Return the middle coronal slice (n_channels, n_z, n_x), slices repeated so that its pixels are square."""
    n_z = crop.shape[1]
    repeated = max(1, round(n_z * spacing_mm[2] / spacing_mm[0]))
    return crop[:, np.arange(repeated) * n_z // repeated, crop.shape[2] // 2]


class CropSample:
    """A uniform random sample of the crops that stream by (reservoir sampling): what a person would look at first."""

    def __init__(self, seed: int, size: int = MAX_COLUMNS) -> None:
        self.seen = 0
        self._size = size
        self._rng = np.random.default_rng(seed)
        self._kept: list[tuple[NDArray[np.uint8], tuple[float, float, float], str]] = []

    def add(self, voxels: NDArray[np.uint8], spacing_mm: tuple[float, float, float], label: str) -> None:
        """Take note of one crop (n_channels, n_z, n_y, n_x)."""
        self.seen += 1
        place = len(self._kept) if self.seen <= self._size else int(self._rng.integers(self.seen))
        if place < self._size:
            self._kept[place : place + 1] = [(voxels, spacing_mm, label)]

    @property
    def labels(self) -> list[str]:
        """What the sampled crops are called."""
        return [label for _, _, label in self._kept]

    def montage(self, title: str = "", channels: Sequence[str] = ()) -> Figure:
        """Draw the sample with `crop_montage`."""
        crops, spacing_mm, _ = zip(*self._kept, strict=True)
        return crop_montage(crops, self.labels, title, channels, spacing_mm)


def training_loss(losses: Sequence[float] | NDArray, title: str = "") -> Figure:
    """Draw the mean training loss of each epoch (n_epochs,)."""
    fig = new_figure(5, 3.2, title)
    ax = fig.subplots()
    style_axes(ax, "epoch", "loss")
    values = np.asarray(losses, dtype=float)
    ax.plot(np.arange(1, len(values) + 1), values, color=BLUE, linewidth=1.6, marker="o", markersize=3.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(values):
        ax.annotate(
            f"{values[-1]:.4g}",
            (len(values), values[-1]),
            xytext=(0, 7),
            textcoords="offset points",
            ha="right",
            fontsize=FONT,
            color=INK,
        )
        ax.set_xlim(0.5, len(values) + 0.5)
        ax.margins(y=0.12)
    return fig


def reconstructions(original: NDArray, masked: NDArray, reconstruction: NDArray, title: str = "") -> Figure:
    """Draw slices as they are, as the encoder saw them and as it rebuilt them, one under the other.

    Args:
        original: (n_slices, n_channels, n_y, n_x); the first eight images are drawn, every channel an image.
        masked: the same, with NaN where patches were hidden.
        reconstruction: the same.
        title: above the figure.
    """
    arrays = [np.asarray(a, dtype=float) for a in (original, masked, reconstruction)]
    if arrays[0].ndim != 4 or len({a.shape for a in arrays}) != 1:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ValueError(f"three arrays (n_slices, n_channels, n_y, n_x) wanted, found {shapes}")
    images = [a.reshape(-1, *a.shape[2:])[:MAX_COLUMNS] for a in arrays]
    n, height, width = images[0].shape
    fig, axes = image_grid(3, n, height / width, title)
    for column in range(n):
        low, high = float(np.nanmin(images[0][column])), float(np.nanmax(images[0][column]))
        for row in range(3):
            show_slice(axes[row, column], images[row][column], low, high)
    for row, name in enumerate(("original", "seen", "rebuilt")):
        axes[row, 0].set_ylabel(name, fontsize=FONT, color=INK)
    return fig


def neighbours(images: NDArray[np.uint8], title: str = "") -> Figure:
    """Draw scans with those nearest to them, a row a scan.

    Args:
        images: (n_queries, 1 + n_neighbours, n_y, n_x), 8 bits; the query first, then the nearest first.
        title: above the figure.
    """
    rows, columns, height, width = images.shape
    fig, axes = image_grid(rows, columns, height / width, title)
    for column in range(columns):
        axes[0, column].set_title("scan" if column == 0 else f"nearest {column}", fontsize=FONT, color=INK)
        for row in range(rows):
            show_slice(axes[row, column], images[row, column], 0, 255)
    return fig


def image_grid(
    rows: int, columns: int, aspect: float, title: str, heights: Sequence[float] | None = None
) -> tuple[Figure, NDArray]:
    """Return a figure of image panels whose width suits their number; `aspect` is mean height over width."""
    edge = 1.5 if columns > 4 else 1.9
    fig = new_figure(edge * columns + 0.5, edge * aspect * rows + 0.6, title)
    fig.get_layout_engine().set(h_pad=0.03, w_pad=0.03, hspace=0, wspace=0)  # type: ignore[union-attr, call-arg]
    return fig, fig.subplots(rows, columns, squeeze=False, height_ratios=heights)


def show_slice(ax: Axes, image: NDArray, low: float, high: float) -> None:
    """Draw one slice, anterior up; what is NaN stays grey."""
    ax.set_facecolor(GREY)
    ax.imshow(image, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def _centred(image: NDArray, height: int, width: int) -> NDArray:
    """Return the image in the middle of a black one of this size."""
    top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
    padded = np.zeros((height, width), dtype=image.dtype)
    padded[top : top + image.shape[0], left : left + image.shape[1]] = image
    return padded
