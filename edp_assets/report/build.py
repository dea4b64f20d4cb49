"""`edp report`: which pages there are, and bringing them up to date."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edp_assets.report.cell import cell
from edp_assets.report.evidence import evidence
from edp_assets.report.lineage import Lineage
from edp_assets.report.methods import methods
from edp_assets.report.names import INDEX
from edp_assets.report.organ import organ
from edp_assets.report.overview import overview
from edp_assets.report.results import Results
from edp_assets.report.scans import scans
from edp_assets.report.site import Page, write_site
from edp_assets.report.sources import Sources
from edp_assets.storage.figure_files import figure_files
from edp_assets.storage.workspace import Workspace


def build_report(workspace: Workspace, say: Callable[[str], None]) -> Path:
    """Bring the report under the workspace's home up to date and return its first page.

    Only pages of which something they show has changed are written again; those of cells that are no more are removed.
    """
    import edp_assets.graph  # noqa: F401  the stages register themselves
    from edp_assets.assets.stage import REGISTRY

    home, started = workspace.home, time.monotonic()
    sources = Sources(workspace, Results(home.warehouse), Lineage(workspace, REGISTRY))
    with home.making(("report",), [()]):
        done = write_site(home.report, pages(sources))
    if lost := sum(not (home.root / path).exists() for each in figure_files(home.warehouse).values() for path in each):
        say(f"{lost} figures are not there any more: pages are without them until `edp run` draws them again")
    seconds = time.monotonic() - started
    say(f"report: {done.written} pages written, {done.current} current, {done.removed} removed, in {seconds:.1f} s")
    return home.report / INDEX


def pages(sources: Sources) -> Iterator[Page]:
    """Yield every page; the first page last, so that what it leads to is there."""
    yield methods(sources)
    yield evidence(sources)
    for name in sources.organs:
        yield scans(sources, name)
        yield organ(sources, name)
    for name, icd10 in sources.shown:
        yield cell(sources, name, icd10)
    yield overview(sources)
