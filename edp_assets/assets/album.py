"""The figures of one cell: PNG files under the report, rows of a table, metadata. What is drawn is not decided here."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        self.rows: list[dict[str, Any]] = []
        self.metadata: dict[str, Any] = {}

    def add(self, figure: str, draw: partial[Figure], *, shown: bool = True, **names: str | int | None) -> None:
        """Write a figure as a PNG file, unless that is of the same; keep it for the metadata, where it is to be shown.

        Args:
            figure: its kind.
            draw: draws it, of plain values alone: they say whether it would come out the same.
            shown: whether it is metadata as well.
            names: what else names it, of the album's labels.
        """
        from edp_assets.figures.content import KEY, content_of, drawn_before
        from edp_assets.figures.render import png_to_markdown, to_png

        parts = [figure, *(str(names[label]) for label in self.labels if names.get(label) is not None)]
        path = self.folder / file_name("-".join(parts), ".png")
        content = content_of(draw)
        png = drawn_before(path, content)
        if png is None:
            png = to_png(draw(), {KEY: content})
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_bytes(path, png)
        if shown:
            self.metadata["_".join(parts)] = dg.MetadataValue.md(png_to_markdown(png, " ".join(parts)))
        label = {
            "encoder": self.run.encoder,
            "organ": self.run["organ"],
            **{name: names.get(name) for name in self.labels},
        }
        self.rows.append({**label, "figure": figure, "path": str(path.relative_to(self.run.workspace.home.root))})

    def stored(self) -> Stored:
        """Return the table of the figures; files of earlier ones that were not drawn again are removed."""
        drawn = {Path(row["path"]).name for row in self.rows}
        for file in self.folder.glob("*.png"):
            if file.name not in drawn:
                file.unlink()
        frame = pl.DataFrame(self.rows, schema=empty(self.run.spec.table).schema)
        return Stored(frame, metadata={"figures": frame.height, **self.metadata})
