"""What an import took, missed, guessed and left: lines for the terminal, and the text of import_report.md.

Collecting and writing down belongs here; each finding is made where it is found.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Taken:
    """A field that went into the cohort.

    Attributes:
        what: the cohort's column.
        source: UK Biobank's field and instance, or how the value was made.
        columns: the export's columns.
        people: participants with a value.
    """

    what: str
    source: str
    columns: str
    people: int


@dataclass
class Report:
    """Findings of an import, in the order of reading.

    Attributes:
        taken: fields that went in.
        missing: fields that are not there, what for, and what follows.
        guessed: choices made for the user, each with its reason.
        left: what was left out, counted.
        to_do: what a user has to do before the cohort runs, or should look at.
    """

    taken: list[Taken] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    guessed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    to_do: list[str] = field(default_factory=list)

    @property
    def sections(self) -> list[tuple[str, list[str]]]:
        """The sections other than what was taken, with their titles; empty ones are left out."""
        titled = [
            ("Missing", self.missing),
            ("Guessed: correct what does not hold", self.guessed),
            ("Left out", self.left),
            ("To do", self.to_do),
        ]
        return [(title, lines) for title, lines in titled if lines]

    def lines(self) -> list[str]:
        """Return the report for a terminal."""
        widths = [max([0, *(len(getattr(each, name)) for each in self.taken)]) for name in ("what", "source")]
        lines = ["Taken"]
        for each in self.taken:
            columns = f" ({each.columns})" if each.columns else ""
            lines.append(f"  {each.what:{widths[0]}}  {each.source:{widths[1]}}  {each.people:>9,}{columns}")
        for title, found in self.sections:
            lines += ["", title, *(f"  - {line}" for line in found)]
        return lines

    def markdown(self, head: str) -> str:
        """Return the report as Markdown under a heading line."""
        rows = [f"| {t.what} | {t.source} | {t.people} | {t.columns.replace('|', chr(92) + '|')} |" for t in self.taken]
        text = [f"# {head}", "", "| taken | from | people | columns |", "|---|---|---|---|", *rows]
        for title, found in self.sections:
            text += ["", f"## {title}", "", *(f"- {line}" for line in found)]
        return "\n".join(text) + "\n"
