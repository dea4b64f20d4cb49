"""The figures of one cell: PNG files under the report, rows of a table, metadata. What is drawn is not decided here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from edp_assets.assets.stage import StageRun
from edp_assets.storage.cells import file_name, folder_name
from edp_assets.storage.columns import phenotype_name
from edp_assets.storage.home import replace_bytes
from edp_assets.storage.lake import Stored
from edp_assets.storage.schemas import empty
from edp_assets.storage.withdrawal import scan_pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure_folder(run: StageRun, folders: tuple[str, ...]) -> Path:
    """Return where figures lie, below the folder of the run's encoder."""
    folder = run.workspace.home.figures / run.encoder
    for name in folders:
        folder /= folder_name(name)
    return folder


def scan_picture(run: StageRun, name: str, drawn: Figure) -> dg.MetadataValue:
    """Write a figure that shows people's scans as a PNG file of its organ, and return its path as metadata.

    A file, since who withdraws must leave it: what is in Dagster's event log stays there.
    """
    from edp_assets.figures.render import to_png

    path = scan_pictures(run.workspace.home, run["organ"]) / f"{'-'.join((*run.spec.asset, name))}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_bytes(path, to_png(drawn))
    return dg.MetadataValue.path(str(path))


def phenotype_title(run: StageRun, method: str, cluster: int | None) -> str:
    """Return the title of a figure of one phenotype of a cell."""
    return f"{run['organ']}, {run['icd10']}, {phenotype_name(method, cluster)} ({run.encoder})"


class Album:
    """The figures of one cell, in a folder of their own."""

    def __init__(self, run: StageRun, folders: tuple[str, ...], labels: tuple[str, ...]) -> None:
        """Make an empty album.

        Args:
            run: the cell.
            folders: where its files lie, below the encoder's folder.
            labels: columns of the table that name a figure beside its kind, encoder and organ; null where not given.
        """
        self.run = run
        self.labels = labels
        self.folder = figure_folder(run, folders)
        self._added: list[_Added] = []

    def add(self, figure: str, draw: partial[Figure], *, shown: bool = True, **names: str | int | None) -> None:
        """Take a figure, to be written as a PNG file and kept for the metadata, where it is to be shown.

        Args:
            figure: its kind.
            draw: draws it, of plain values alone: they say whether it would come out the same.
            shown: whether it is metadata as well.
            names: what else names it, of the album's labels.
        """
        self._added.append(_Added(figure, draw, shown, {label: names.get(label) for label in self.labels}))

    def stored(self) -> Stored:
        """Draw the figures, and return their table.

        One whose file is of the same is not drawn; files of earlier ones that were not drawn again are removed.
        """
        from edp_assets.figures.render import png_to_markdown

        pngs = self._pngs()
        root, rows, metadata = self.run.workspace.home.root, [], {}
        for added, (path, png) in zip(self._added, pngs.items(), strict=True):
            if added.shown:
                metadata["_".join(added.parts)] = dg.MetadataValue.md(png_to_markdown(png, " ".join(added.parts)))
            label = {"encoder": self.run.encoder, "organ": self.run["organ"], **added.names}
            rows.append({**label, "figure": added.figure, "path": str(path.relative_to(root))})
        for file in self.folder.glob("*.png"):
            if file not in pngs:
                file.unlink()
        frame = pl.DataFrame(rows, schema=empty(self.run.spec.table).schema)
        return Stored(frame, metadata={"figures": frame.height, **metadata})

    def _pngs(self) -> dict[Path, bytes]:
        """Return each figure's file, in their order, those of other content drawn."""
        from edp_assets.figures.content import KEY, content_of, drawn_before
        from edp_assets.figures.drawing import draw_all

        contents = {self._path(added): content_of(added.draw) for added in self._added}
        found = {path: drawn_before(path, content) for path, content in contents.items()}
        new = [
            (path, (added.draw, {KEY: contents[path]}))
            for added, (path, png) in zip(self._added, found.items(), strict=True)
            if png is None
        ]
        for (path, _), png in zip(new, draw_all([task for _, task in new]), strict=True):
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_bytes(path, png)
            found[path] = png
        return {path: png for path, png in found.items() if png is not None}

    def _path(self, added: _Added) -> Path:
        return self.folder / file_name("-".join(added.parts), ".png")


@dataclass(frozen=True)
class _Added:
    """A figure of an album."""

    figure: str
    draw: partial[Figure]
    shown: bool
    names: dict[str, str | int | None]

    @property
    def parts(self) -> list[str]:
        """What names it."""
        return [self.figure, *(str(name) for name in self.names.values() if name is not None)]
