"""What an interactive figure shows, as plain values; the page's script (`report/static/plots.js`) draws it from them.

How it looks beside colours and sizes, the house style, is the script's.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

Column = NDArray[Any] | list[str]
Kind = Literal["scatter", "quad", "varea", "line", "rect", "text"]

ARRAYS = {np.dtype("<f4"): "f32", np.dtype("<i4"): "i32", np.dtype("<u2"): "u16", np.dtype("<u1"): "u8"}
"""How arrays are called in the page; the script reads them as the little-endian bytes they are."""
REPEATED = 4
"""A column whose values come this often each, on average, is sent as its different values and which of them it has."""


@dataclass(frozen=True)
class Scale:
    """A colour by the value of a column.

    Attributes:
        column: its name.
        palette: from the lowest to the highest.
        low: at the first colour.
        high: at the last.
    """

    column: str
    palette: Sequence[str]
    low: float
    high: float

    def plain(self) -> dict[str, Any]:
        """Return the JSON of it."""
        return {"column": self.column, "palette": list(self.palette), "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Mark:
    """What is drawn of the rows of one table.

    Attributes:
        kind: of mark.
        columns: the table.
        at: what of the mark (x, y, left, top, width, text, ...) is which column, or the same number in all rows.
        colour: of lines and filling.
        alpha: of both.
        fill_alpha: of the filling alone, a number or a column.
        size: of a point, screen pixels.
        line_width: of a point's edge, screen pixels.
        legend: its entry in the legend, or none.
        tooltips: (label, text with @column) of what a hover tells, or none.
        link: the column of pages that a click opens, or none.
    """

    kind: Kind
    columns: Mapping[str, Column]
    at: Mapping[str, str | float]
    colour: str | Scale
    alpha: float = 1.0
    fill_alpha: float | str | None = None
    size: float | None = None
    line_width: float | None = None
    legend: str | None = None
    tooltips: Sequence[tuple[str, str]] = ()
    link: str | None = None

    def plain(self) -> dict[str, Any]:
        """Return the JSON of it: what is not set is left out."""
        made = {
            "kind": self.kind,
            "columns": {name: packed(column) for name, column in self.columns.items()},
            "at": dict(self.at),
            "colour": self.colour.plain() if isinstance(self.colour, Scale) else self.colour,
            "alpha": self.alpha,
            "fill_alpha": self.fill_alpha,
            "size": self.size,
            "line_width": self.line_width,
            "legend": self.legend,
            "tooltips": [list(told) for told in self.tooltips] or None,
            "link": self.link,
        }
        return {name: value for name, value in made.items() if value is not None}


@dataclass
class Axis:
    """An axis.

    Attributes:
        label: its name.
        range: where it starts and ends, None where the data does; or its factors.
        ticks: (place, label) of the only ticks, without a grid; None: where they are round numbers.
        opposite: above instead of below the plot.
    """

    label: str
    range: tuple[float | None, float | None] | list[str] = (None, None)
    ticks: list[tuple[float, str]] | None = None
    opposite: bool = False

    def plain(self) -> dict[str, Any]:
        """Return the JSON of it."""
        made = {"label": self.label, "range": list(self.range), "opposite": self.opposite}
        return made if self.ticks is None else {**made, "ticks": [list(tick) for tick in self.ticks]}


@dataclass(frozen=True)
class Line:
    """A threshold across the plot: at this height, or where it is `upright` at this place of the x axis."""

    at: float
    colour: str
    upright: bool = False

    def plain(self) -> dict[str, Any]:
        """Return the JSON of it."""
        return {"at": self.at, "colour": self.colour, "upright": self.upright}


@dataclass
class Figure:
    """An interactive figure.

    Attributes:
        x: its axis.
        y: its axis.
        height: screen pixels.
        width: screen pixels; None: as wide as the page.
        marks: from the lowest to the uppermost.
        lines: thresholds.
        labels: (x, y, text) of points that are named.
        legend: where it is, of the marks that have an entry; None: there is none.
    """

    x: Axis
    y: Axis
    height: int
    width: int | None = None
    marks: list[Mark] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    labels: list[tuple[float, float, str]] = field(default_factory=list)
    legend: Literal["right", "top_left"] | None = None

    def plain(self) -> dict[str, Any]:
        """Return the JSON of it; a label without a place is left out."""
        labels = [list(label) for label in self.labels if math.isfinite(label[0]) and math.isfinite(label[1])]
        return {
            "x": self.x.plain(),
            "y": self.y.plain(),
            "height": self.height,
            "width": self.width,
            "marks": [mark.plain() for mark in self.marks],
            "lines": [line.plain() for line in self.lines],
            "labels": labels,
            "legend": self.legend,
        }


def columns_of(table: pl.DataFrame, *names: str) -> dict[str, Column]:
    """Return columns as they are drawn: numbers in 4 bytes each, all else as texts."""
    return {name: _column(table[name]) for name in dict.fromkeys(names)}


def _column(column: pl.Series) -> Column:
    if column.dtype.is_float():
        return numbers(column.to_numpy())
    if column.dtype.is_integer() and not column.null_count():
        return column.to_numpy().astype("<i4")
    return [str(value) if value is not None else "" for value in column]


def numbers(values: NDArray[Any] | Sequence[float]) -> NDArray[Any]:
    """Return numbers as they are drawn."""
    return np.asarray(values).astype("<f4")


def packed(column: Column) -> Any:
    """Return the JSON of a column: texts a list, numbers {type: base64}, repeated values {of: them, type: which}.

    The script does the opposite.
    """
    values, places = _different(column)
    if 0 < len(values) <= min(len(column) / REPEATED, 65536):
        return {"of": _packed(values), **_packed(places.astype("<u1" if len(values) <= 256 else "<u2"))}
    return _packed(column)


def _different(column: Column) -> tuple[Column, NDArray[Any]]:
    """Return the different values of a column, and the place there of each of its rows."""
    if isinstance(column, list):
        place = {text: number for number, text in enumerate(dict.fromkeys(column))}
        return list(place), np.array([place[text] for text in column], int)
    return np.unique(column, return_inverse=True)


def _packed(column: Column) -> Any:
    if isinstance(column, list):
        return column
    return {ARRAYS[column.dtype]: base64.b64encode(column.tobytes()).decode()}
