"""What may be wrong with a cohort: `Problem`, its error, its excluded rows and its readable listing.

No checking belongs here: `tables`, `labels` and `check` find the problems.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["refused", "excluded", "note"]

HEADINGS: dict[Severity, str] = {
    "refused": "REFUSED ({n}): a run stops before any work",
    "excluded": "EXCLUDED ({n}): a run goes on without them, and counts them in the table `excluded`",
    "note": "NOTES ({n}): a run goes on; know them when you read its results",
}
WIDTH = 110


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a cohort folder, and what to do about it.

    Attributes:
        severity: "refused": a run stops before any work; "excluded": something is wrong and a run goes on without that
            participant, scan or code; "note": nothing to mend, but the reader of the results should know (who
            withdrew, what is not there).
        file: the file, relative to the cohort folder where it lies inside.
        where: the place in the file: "row 17", "eid 1000123", "" for the whole file. In text tables row 1 is the
            header, as spreadsheets and editors count; in .parquet row 1 is the first row of data.
        wanted: what should have been there.
        found: what is there.
        remedy: what to do.
    """

    severity: Severity
    file: str
    where: str
    wanted: str
    found: str
    remedy: str


class CohortError(ValueError):
    """A cohort that cannot be used; `problems` holds every reason, and the message lists them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__(format_problems(self.problems))

    def __reduce__(self) -> tuple[type[CohortError], tuple[list[Problem]]]:
        """Pickle by the problems, as process pools need."""
        return type(self), (self.problems,)


def refused(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems that stop a run."""
    return [problem for problem in problems if problem.severity == "refused"]


def format_problems(problems: Sequence[Problem], *, limit: int = 3, every: bool = True) -> str:
    """Return the problems as text for a terminal, by severity, like ones together.

    Args:
        problems: in the order found.
        limit: how many of one kind (same severity, file, wanted and remedy) are written out in full.
        every: name each of the others by its place ("and 37 more like it: row 19, ..."), so that nothing is dropped;
            else only count them.
    """
    if not problems:
        return "no problems found"
    parts: list[str] = []
    for severity, heading in HEADINGS.items():
        kinds: dict[tuple[str, str, str], list[Problem]] = {}
        for problem in problems:
            if problem.severity == severity:
                kinds.setdefault((problem.file, problem.wanted, problem.remedy), []).append(problem)
        if kinds:
            n = sum(len(kind) for kind in kinds.values())
            parts.append(
                "\n".join([heading.format(n=n), *(_format_kind(kind, limit, every) for kind in kinds.values())])
            )
    return "\n\n".join(parts)


def _format_kind(kind: list[Problem], limit: int, every: bool) -> str:
    first = kind[0]
    lines = [f"  {first.file}"]
    lines += [_wrap(f"{_place(p)}{p.found}", "    found:  ") for p in kind[:limit]]
    rest = kind[limit:]
    if rest:
        more = f"and {len(rest)} more like it"
        if every:
            same = all(p.found == first.found for p in kind)
            more += ": " + "; ".join(p.where if same and p.where else f"{_place(p)}{p.found}" for p in rest)
        lines.append(_wrap(more, "            "))
    lines.append(_wrap(first.wanted, "    wanted: "))
    lines.append(_wrap(first.remedy, "    to do:  "))
    return "\n".join(lines)


def _place(problem: Problem) -> str:
    return f"{problem.where}: " if problem.where else ""


def _wrap(text: str, lead: str) -> str:
    # Paths and ids are never broken: they are searched for and copied.
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_long_words=False,
        break_on_hyphens=False,
    )
