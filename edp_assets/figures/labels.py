"""Which points of an interactive figure are named: the strongest, where their texts stand apart, inside the frame.

The page's script writes a text above its point, centred; how large it comes out is estimated here, in screen pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edp_assets.figures.specification import Figure

Label = tuple[float, float, str]

FRAME_WIDTH, OUTSIDE = 800, 70
"""Of a plot as wide as the page, beside its legend; and what of a figure's height is its axis and tools."""
CHARACTER, LINE, ABOVE = 6.5, 15, 24
"""Width of a letter, height of a line, and how far the top of a text is above its point."""
MARGIN = 0.04
"""Of an axis that is left free at either end."""
AGAIN = 30
"""Rounds in which an axis and the texts at its ends settle on a width."""


def name_points(figure: Figure, points: NDArray[np.float64], named: Iterable[Label], most: int) -> None:
    """Name points of a figure; its axes get ranges in which all points, thresholds and texts lie.

    Args:
        figure: has its thresholds.
        points: (n, 2) of all that is drawn.
        named: the strongest first. One whose text would touch that of a stronger one is left out: a hover tells it.
        most: names.
    """
    wanted = [label for label in named if math.isfinite(label[0]) and math.isfinite(label[1])][: 3 * most]
    if not wanted:
        return
    height = figure.height - OUTSIDE
    shown = points[np.isfinite(points).all(axis=1)]
    x = _extent([*shown[:, 0], *(line.at for line in figure.lines if line.upright)])
    y = _extent([*shown[:, 1], *(line.at for line in figure.lines if not line.upright)])
    for _ in range(AGAIN):
        room = [(at, half_width(text) / FRAME_WIDTH * (x[1] - x[0])) for at, _, text in wanted]
        x = min(x[0], *(at - half for at, half in room)), max(x[1], *(at + half for at, half in room))
    y = y[0], max(y[1], *(y[0] + (at - y[0]) / (1 - ABOVE / height) for _, at, _ in wanted))
    figure.x.range, figure.y.range = x, y
    figure.labels = _apart(wanted, FRAME_WIDTH / (x[1] - x[0]), height / (y[1] - y[0]), most)


def half_width(text: str) -> float:
    """Return half of how wide a text is written, screen pixels."""
    return CHARACTER * len(text) / 2


def _extent(values: Sequence[float]) -> tuple[float, float]:
    low, high = float(min(values)), float(max(values))
    free = MARGIN * ((high - low) or 1.0)
    return low - free, high + free


def _apart(wanted: list[Label], per_x: float, per_y: float, most: int) -> list[Label]:
    """Return the labels that touch no stronger one's; `per_x` and `per_y` are the pixels of a unit."""
    kept: list[Label] = []
    for x, y, text in wanted:
        near = (
            abs(x - other) * per_x < half_width(text) + half_width(theirs) and abs(y - above) * per_y < LINE
            for other, above, theirs in kept
        )
        if len(kept) < most and not any(near):
            kept.append((x, y, text))
    return kept


def shared(named: Iterable[Label], letters: int, between: str) -> list[Label]:
    """Return a label a place: texts of the same place are written as one, each cut to so many letters in all."""
    texts: dict[tuple[str, str], tuple[float, float, list[str]]] = {}
    for x, y, text in named:
        # Two fits of the same people agree to rounding alone.
        texts.setdefault((f"{x:.6g}", f"{y:.6g}"), (x, y, []))[2].append(text)
    return [(x, y, _joined(here, letters, between)) for x, y, here in texts.values()]


def _joined(texts: list[str], letters: int, between: str) -> str:
    """Return two texts, and how many more there are."""
    two, more = texts[:2], len(texts) - 2
    each = letters if len(two) == 1 else letters * 3 // 4
    joined = between.join(text if len(text) <= each else f"{text[: each - 1].rstrip()}…" for text in two)
    return f"{joined} +{more}" if more > 0 else joined
