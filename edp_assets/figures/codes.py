"""How codes are drawn in the plots they are selected on: coloured by ICD-10 chapter, the best named, with a key.

What a code is called and which chapter it is of comes in with the data; which plot is drawn is in `phenotypes`.
"""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from numpy.typing import NDArray

from edp_assets.figures.colours import CYCLE, GREEN, GREY, INK
from edp_assets.figures.render import LINE, SMALL, axes_points, place_labels

MAX_LABELS = 15
MAX_COLOURS = 8
FEW = 10
"""Codes of a plot up to which all are named, the others' points drawn larger."""
DESCRIPTION = 42
"""Letters of a description that the key shows."""

CHAPTERS = {
    "I": "infections", "II": "neoplasms", "III": "blood and immunity", "IV": "endocrine and metabolic",
    "V": "mental", "VI": "nervous system", "VII": "eye", "VIII": "ear", "IX": "circulatory", "X": "respiratory",
    "XI": "digestive", "XII": "skin", "XIII": "musculoskeletal", "XIV": "genitourinary", "XV": "pregnancy",
    "XVI": "perinatal", "XVII": "congenital", "XVIII": "symptoms and findings", "XIX": "injury and poisoning",
    "XX": "external causes", "XXI": "contact with services", "XXII": "special purposes",
}  # fmt: skip
"""ICD-10's chapters in a word or two, as a legend has room for."""


class CodePalette:
    """Which colour each chapter has in a figure: those of the best and most selected codes have their own, others grey.

    Where no code has a chapter (labels that are no ICD-10 codes), the selected ones are green.
    """

    def __init__(self, table: pl.DataFrame, y: str) -> None:
        table = with_names(table).sort(["selected", y], descending=True, nulls_last=True).with_row_index("rank")
        counted = (
            table.drop_nulls("chapter")
            .group_by("chapter")
            .agg(
                best=(pl.col("selected") & (pl.col("rank") < MAX_LABELS)).sum(),
                n=pl.col("selected").sum(),
                codes=pl.len(),
            )
            .sort(["best", "n", "codes", "chapter"], descending=[True, True, True, False])
        )
        own = counted["chapter"].head(MAX_COLOURS)
        order = list(CHAPTERS)
        in_order = sorted(own, key=lambda c: order.index(c) if c in order else len(order))
        self.chapters = dict(zip(in_order, CYCLE, strict=False))
        self.others = counted.height > len(own) or table["chapter"].null_count() > 0

    def colour(self, chapter: str | None, *, selected: bool) -> str:
        """Return the colour of a code."""
        if not self.chapters:
            return GREEN if selected else GREY
        return self.chapters.get(chapter or "", GREY)

    def legend(self) -> list[tuple[str, str]]:
        """Return the colours with what they mean."""
        if not self.chapters:
            return [(GREEN, "selected"), (GREY, "not selected")]
        named = [(colour, f"{name}  {CHAPTERS.get(name, '')}") for name, colour in self.chapters.items()]
        return [*named, *([(GREY, "other")] if self.others else [])]


def with_names(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table with the columns chapter and description, null where it has none."""
    absent = [name for name in ("chapter", "description") if name not in table.columns]
    return table.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in absent)


def best_codes(table: pl.DataFrame, y: str, most: int = MAX_LABELS) -> pl.DataFrame:
    """Return the selected codes that are highest in `y`, at most so many; all codes where there are but a few."""
    named = with_names(table)
    if named.height > FEW:
        named = named.filter(pl.col("selected"))
    return named.sort(["selected", y], descending=True, nulls_last=True).head(most)


def code_points(ax: Axes, table: pl.DataFrame, x: str, y: str, palette: CodePalette) -> None:
    """Draw one point a code, in its chapter's colour: the selected ones large, the others small and faint."""
    table = with_names(table)
    others = (14, 0.35) if table.height > FEW else (28, 0.5)
    for selected, size, alpha in ((False, *others), (True, 34, 0.9)):
        points = table.filter(pl.col("selected") == selected)
        colours = [palette.colour(chapter, selected=selected) for chapter in points["chapter"]]
        ax.scatter(points[x].to_numpy(), points[y].to_numpy(), s=size, c=colours, alpha=alpha, linewidths=0)
    ax.margins(0.08)
    ax.set_ylim(bottom=0, top=max(1.0, ax.get_ylim()[1]))


def label_codes(ax: Axes, best: pl.DataFrame, table: pl.DataFrame, x: str, y: str, size: NDArray | None = None) -> None:
    """Write codes at their points, covering none of the table's selected ones; `size` is as in `place_labels`."""
    avoid = table.filter(pl.col("selected") | (pl.len() <= FEW)).select(x, y).to_numpy()
    place_labels(ax, best[x].to_list(), best[y].to_list(), best["icd10"].to_list(), avoid, size)


def draw_key(ax: Axes, palette: CodePalette, best: pl.DataFrame) -> None:
    """Turn axes into a key: what the colours mean, and what the named codes are called."""
    ax.set_axis_off()
    ax.set(xlim=(0, 1), ylim=(0, 1))
    lines: list[tuple[str | None, str]] = [(None, "ICD-10 chapter" if palette.chapters else "")]
    lines += palette.legend()
    named = [row for row in best.select("icd10", "chapter", "description").iter_rows() if row[2]]
    if named:
        lines += [(None, ""), (None, "codes")]
        lines += [(palette.colour(chapter, selected=True), f"{code}  {short(text)}") for code, chapter, text in named]
    step = LINE * 1.1 / float(axes_points(ax)[1])
    for k, (colour, text) in enumerate(lines):
        y = 1 - (k + 0.5) * step
        if colour is None:
            ax.text(0, y, text, va="center", fontsize=SMALL, color=INK, fontweight="bold")
        else:
            ax.plot([0.02], [y], marker="o", color=colour, markersize=SMALL * 0.6, clip_on=False)
            ax.text(0.06, y, text, va="center", fontsize=SMALL, color=INK)


def short(text: str, letters: int = DESCRIPTION) -> str:
    """Return a text cut after a whole word where it is long."""
    if len(text) <= letters:
        return text
    return text[: letters - 1].rsplit(" ", 1)[0].rstrip(",;(") + "…"
