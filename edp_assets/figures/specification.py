"""What an interactive figure shows, as plain values; the page's script (`report/static/plots.js`) draws it from them.

How it looks beside colours and sizes, the house style, is the script's.
"""

from __future__ import annotations

import base64
import math
import zlib
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
"""Texts that come this often each, on average, are sent once each, and which of them a row has."""
FASTEST = 1
"""Level of compression: the higher ones take long for a few per cent."""


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
        columns: the table; marks that have the same one share it in the page.
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

    def plain(self, table: int) -> dict[str, Any]:
        """Return the JSON of it, of that table of the figure: what is not set is left out."""
        made = {
            "kind": self.kind,
            "table": table,
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
        tables = {id(mark.columns): mark.columns for mark in self.marks}
        place = {table: number for number, table in enumerate(tables)}
        return {
            "x": self.x.plain(),
            "y": self.y.plain(),
            "height": self.height,
            "width": self.width,
            "tables": [{name: packed(column) for name, column in table.items()} for table in tables.values()],
            "marks": [mark.plain(place[id(mark.columns)]) for mark in self.marks],
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
    """Return the JSON of a column: texts a list, repeated ones {of: them, type: which}, numbers {type: base64 of zlib}.

    The script does the opposite.
    """
    if not isinstance(column, list):
        return {ARRAYS[column.dtype]: base64.b64encode(zlib.compress(column.tobytes(), FASTEST)).decode()}
    place = {text: number for number, text in enumerate(dict.fromkeys(column))}
    if not 0 < len(place) <= min(len(column) / REPEATED, 65536):
        return column
    which = np.array([place[text] for text in column], "<u1" if len(place) <= 256 else "<u2")
    return {"of": list(place), **packed(which)}
