"""The report's folder: pages are written where what they show has changed, and removed once nothing plans them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edp_assets.figures.content import hash_of_sources
from edp_assets.report.results import digest
from edp_assets.storage.home import replace_bytes, replace_text

MANIFEST = "manifest.json"
"""What each page was made from, by its path: it is written again where that is another."""

FORMAT = 1
OWN = ("report.css", "report.js", "plots.js")
BOKEH = ("bokeh.min.js", "bokeh-api.min.js")


@dataclass(frozen=True)
class Page:
    """A page that is to be there.

    Attributes:
        path: relative to the report's folder.
        content: plain values that differ wherever what it shows does.
        render: makes it.
    """

    path: str
    content: Any
    render: Callable[[], str]


@dataclass
class Written:
    """What was done: pages written, found current, and removed."""

    written: int = 0
    current: int = 0
    removed: int = 0


def write_site(folder: Path, pages: Iterable[Page]) -> Written:
    """Bring the folder up to date. What is killed goes on where it was: each page is noted as soon as it is there.

    Only pages that an earlier report noted are ever removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_assets(folder / "assets")
    manifest = _Manifest(folder / MANIFEST)
    done, planned = Written(), set()
    for page in pages:
        planned.add(page.path)
        of_page, path = digest([version(), page.content]), folder / page.path
        if manifest.pages.get(page.path) == of_page and path.exists():
            done.current += 1
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, page.render())
        manifest.note(page.path, of_page)
        done.written += 1
    for gone in sorted(set(manifest.pages) - planned):
        (folder / gone).unlink(missing_ok=True)
        done.removed += 1
    manifest.close(planned)
    return done


class _Manifest:
    """The pages that are there; a line is added for each as it is written, and the whole written anew at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pages: dict[str, str] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                page, of_page = json.loads(line)
            except ValueError:  # a process died while it added the line: that page is written again
                continue
            self.pages[page] = of_page

    def note(self, page: str, of_page: str) -> None:
        self.pages[page] = of_page
        with self.path.open("a") as file:
            file.write(json.dumps([page, of_page]) + "\n")

    def close(self, planned: Iterable[str]) -> None:
        kept = set(planned)
        self.pages = {page: of_page for page, of_page in self.pages.items() if page in kept}
        replace_text(self.path, "".join(json.dumps(pair) + "\n" for pair in sorted(self.pages.items())))


@cache
def version() -> str:
    """Return a hash of this package, the figures it draws and the library that draws them: others make other pages."""
    return hash_of_sources(f"{FORMAT} {metadata.version('bokeh')}", "edp_assets.report", "edp_assets.figures")


def _write_assets(folder: Path) -> None:
    """Copy style, scripts and Bokeh's scripts beside the pages, once: nothing is fetched from anywhere."""
    folder.mkdir(parents=True, exist_ok=True)
    static = files("edp_assets.report") / "static"
    for file in (*(static / name for name in OWN), *(_bokeh_scripts() / name for name in BOKEH)):
        place, content = folder / file.name, file.read_bytes()
        if not place.exists() or place.read_bytes() != content:
            replace_bytes(place, content)


def _bokeh_scripts() -> Path:
    """Return the folder of Bokeh's scripts. Its Python side is not imported: the pages' script draws."""
    found = find_spec("bokeh")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("bokeh is not installed: pip install bokeh")
    return Path(found.submodule_search_locations[0]) / "server" / "static" / "js"
