"""From frames and figures to markup: the templates' environment, tables that can be sorted, figures drawn when seen."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from edp_assets.report.names import EVIDENCE, INDEX, METHODS, href
from edp_assets.report.results import SHOWN_DIGITS, digest

if TYPE_CHECKING:
    from edp_assets.figures.specification import Figure

HEADS = {
    "icd10": "code",
    "neg_log_10_p_value": "-log10 p",
    "neg_log_10_p_bonferroni": "-log10 p, Bonferroni",
    "neg_log_10_q_value": "-log10 q",
    "base_pair_location": "position",
    "effect_allele_frequency": "frequency",
    "roc_auc": "AUC, best fold",
    "roc_auc_out_of_fold": "AUC, out of fold",
}
"""What columns are called on the pages where their own name is long; others have theirs, without underscores."""

_LIST = re.compile(r'<details class="columns" id="([^"]*)">.*?</details>', re.DOTALL)
"""What the columns of a table mean, as `table` has it."""

MAX_ROWS = 2_000
"""Most rows of a table that a page shows: more would not be read, and make the page slow."""


@cache
def environment() -> Environment:
    """Return the templates' environment: all that is filled in is escaped, and a name that is not given is an error."""
    made = Environment(
        loader=PackageLoader("edp_assets.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["number"] = lambda value: f"{value:,}"
    made.globals |= {"table": table, "plot": plot}
    return made


def page(template: str, path: str, title: str, navigation: Sequence[tuple[str, str]], **shown: Any) -> str:
    """Return a page.

    Args:
        template: its template.
        path: where it lies, relative to the report's folder.
        title: its name.
        navigation: (name, page) of what the head of every page links to beside overview, evidence and methods.
        shown: what the template shows.
    """
    places = [("Overview", INDEX), *navigation, ("Evidence", EVIDENCE), ("Methods", METHODS)]
    links = [(name, href(path, target), target == path) for name, target in places]
    made = environment().get_template(template)
    return _told_once(
        made.render(title=title, navigation=links, to=lambda target, part="": href(path, target, part), **shown)
    )


def _told_once(page: str) -> str:
    """Return a page on which of equal lists of columns the first is left, and a link to it where others were."""
    told = set()

    def first(found: re.Match[str]) -> str:
        if found[1] in told:
            return f'<p class="note"><a href="#{found[1]}">What the columns mean</a>: under the first such table.</p>'
        told.add(found[1])
        return found[0]

    return _LIST.sub(first, page)


def table(
    frame: pl.DataFrame,
    caption: str,
    *,
    meanings: Mapping[str, str],
    links: Mapping[str, Sequence[str | None]] | None = None,
    elsewhere: str = "the warehouse has them all",
    empty: str = "None.",
) -> Markup:
    """Return a frame as a table whose columns can be sorted by a click or a key.

    Args:
        frame: of more than `MAX_ROWS` rows the first are shown.
        caption: what it shows.
        meanings: column -> what it means, told with its head and, for who has no mouse, in a list under the table.
        links: column -> where its values lead, a row each.
        elsewhere: where the rows are that are not shown.
        empty: what is said where there is no row.
    """
    shown = frame.head(MAX_ROWS)
    columns = [
        (HEADS.get(name, name.replace("_", " ")), meanings.get(name, ""), dtype.is_numeric())
        for name, dtype in shown.schema.items()
    ]
    leads = [(links or {}).get(name) for name in shown.columns]
    rows = [
        [(*_cell(value), right, lead[number] if lead else None)
         for value, (_, _, right), lead in zip(row, columns, leads, strict=True)]
        for number, row in enumerate(shown.iter_rows())
    ]  # fmt: skip
    left = frame.height - shown.height
    made = environment().get_template("table.html.j2")
    return Markup(  # noqa: S704  escaped by the template
        made.render(
            caption=caption,
            columns=columns,
            rows=rows,
            left=left,
            elsewhere=elsewhere,
            empty=empty,
            list=f"columns-{digest(columns)[:8]}",
        )
    )


def _cell(value: object) -> tuple[str, str | None]:
    """Return a value as it is shown, and what it is sorted by where that is another text."""
    if value is None:
        return "", None
    if isinstance(value, bool):
        return "yes" if value else "no", None
    if isinstance(value, int):
        return f"{value:,}", str(value)
    if isinstance(value, float) and math.isnan(value):
        return "", None
    if isinstance(value, float):
        # A p-value of many zeros keeps its digits; a large number its units.
        return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{SHOWN_DIGITS}g}"), repr(value).replace(
            "inf", "Infinity"
        )  # as JavaScript reads it
    return str(value), None


def plot(figure: Figure, name: str, alt: str, note: str = "") -> Markup:
    """Return a figure that is drawn when it comes into view; its data is in the page.

    Args:
        figure: what it shows.
        name: unique on the page.
        alt: what it shows, in words, for who does not see it.
        note: told under it.
    """
    item = htmlsafe_json_dumps(figure.plain(), dumps=_compact)
    made = environment().get_template("plot.html.j2")
    shown = made.render(name=name, alt=alt, note=note, item=item, height=figure.height, width=figure.width)
    return Markup(shown)  # noqa: S704  escaped by the template


def _compact(value: object, **options: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False, **options)
