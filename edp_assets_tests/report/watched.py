"""A browser as tests use it: how it is started, and a page of it that notes what went wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
WAIT = 30_000
"""How long a busy machine may take, ms."""


@dataclass
class Watched:
    """A browser's page, with what it asked for and what went wrong on it."""

    page: Any
    wrong: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: message.type == "error" and self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.asked.add(request.url))

    def go(self, report: Path, path: str) -> Any:
        """Open a page of the report."""
        self.page.goto((report / path).as_uri())
        return self.page
