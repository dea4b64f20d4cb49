"""The house style of all figures, and turning a figure into bytes or markdown. No data is drawn here.

Figures are `matplotlib.figure.Figure` objects, never pyplot's: they need no display, keep no global state, and are
freed like any other object.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from edp_assets.figures.colours import GREY, INK, PALE

DPI = 100
FONT, SMALL = 10, 9
LINE = SMALL * 1.25  # height of a line of small text, points
GAP = 4.0  # between a point and its text, points


def new_figure(width: float, height: float, title: str = "") -> Figure:
    """Return an empty figure of this size in inches, on white, with its title."""
    fig = Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")
    if title:
        fig.suptitle(title, fontsize=FONT + 2, color=INK)
    return fig


def style_axes(ax: Axes, xlabel: str = "", ylabel: str = "", *, grid: bool = True) -> None:
    """Give axes the house style: two spines, a faint grid behind the data, readable labels."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.tick_params(labelsize=SMALL, color=GREY, labelcolor=INK)
    ax.set_xlabel(xlabel, fontsize=FONT, color=INK)
    ax.set_ylabel(ylabel, fontsize=FONT, color=INK)
    if grid:
        ax.grid(color=PALE, linewidth=0.6)
        ax.set_axisbelow(True)


def place_labels(
    ax: Axes,
    x: Sequence[float],
    y: Sequence[float],
    texts: Sequence[str],
    avoid: NDArray | None = None,
    size: NDArray | None = None,
) -> None:
    """Write texts at their points: above, beside, or further up with a line, wherever they cover nothing.

    The axes must have their limits; the upper one in y is raised where texts need room.

    Args:
        ax: where to write.
        x: each text's point.
        y: each text's point.
        texts: the first ones get the best places.
        avoid: (n, 2) points in data units that no text may cover.
        size: width and height of the axes in points, where it is known: to measure it, the whole figure is laid out.
    """
    if not len(texts):
        return
    size = axes_points(ax) if size is None else size
    anchors = np.column_stack([x, y]).reshape(-1, 2)
    obstacles = anchors if avoid is None else np.concatenate([anchors, avoid])
    halves = [0.31 * SMALL * len(text) + 2 for text in texts]
    for _ in range(20):
        low, high = np.column_stack([ax.get_xlim(), ax.get_ylim()])
        points, blocked = ((a - low) / (high - low) * size for a in (anchors, obstacles))
        places = _free_places(points, halves, blocked, float(size[0]))
        if max((bottom + LINE for _, bottom in places), default=0.0) <= size[1]:
            break
        ax.set_ylim(low[1], low[1] + (high[1] - low[1]) * 1.1)
    for anchor, (px, py), (centre, bottom), text in zip(anchors, points, places, texts, strict=True):
        far = bottom > py + GAP
        ax.annotate(
            text,
            tuple(anchor),
            xytext=(centre - px, bottom - py),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=SMALL,
            color=INK,
            path_effects=[withStroke(linewidth=2, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2}
            if far
            else None,
        )


def _free_places(points: NDArray, halves: Sequence[float], blocked: NDArray, width: float) -> list[tuple[float, float]]:
    """Return the centre and bottom of each text box, in points of the axes: the first candidate that covers nothing."""
    places: list[tuple[float, float]] = []
    for (px, py), half in zip(points, halves, strict=True):
        above = [(px, py + GAP + step * LINE / 4) for step in range(200)]
        beside = [(px + half + GAP, py - LINE / 2), (px - half - GAP, py - LINE / 2)]
        for centre, bottom in (above[0], *beside, *above[1:]):
            centre = float(np.clip(centre, half, max(half, width - half)))
            inside = (np.abs(blocked[:, 0] - centre) < half + 1) & (
                np.abs(blocked[:, 1] - bottom - LINE / 2) < LINE / 2 + 1
            )
            covers = any(
                abs(centre - c) < half + h and abs(bottom - b) < LINE for (c, b), h in zip(places, halves, strict=False)
            )
            if not inside.any() and not covers:
                break
        places.append((centre, bottom))
    return places


def to_png(fig: Figure, texts: Mapping[str, str] | None = None) -> bytes:
    """Return the figure as the bytes of a PNG file, with these texts in it."""
    lay_out(fig)
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=DPI, metadata=dict(texts or {}))
    return buffer.getvalue()


def to_markdown(fig: Figure, alt: str = "figure") -> str:
    """Return the figure as a markdown image that carries its own data, as Dagster's metadata shows it."""
    return png_to_markdown(to_png(fig), alt)


def png_to_markdown(png: bytes, alt: str = "figure") -> str:
    """Return the bytes of a PNG file as a markdown image."""
    return f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})"


def lay_out(fig: Figure) -> None:
    """Lay the figure out for good: what is placed by it stays there, and drawing does not do it again."""
    engine = fig.get_layout_engine()
    if engine is not None:
        engine.execute(fig)
        fig.set_layout_engine(None)  # saved with an engine, a figure is drawn twice and laid out each time


def axes_points(ax: Axes, *, laid_out: bool = False) -> NDArray[np.float64]:
    """Return the width and height of the axes in points; the figure is laid out first, unless it is already."""
    fig = ax.get_figure(root=True)
    assert fig is not None  # noqa: S101  axes of this package always lie in a figure
    if not laid_out:
        lay_out(fig)
    box = ax.get_window_extent()
    return np.array([box.width, box.height]) * 72 / fig.dpi
