"""A page an organ that lists its scans, where every lineage ends; participants' ids are in none of it.

A file is told by the pattern of its name, {eid} in place of the id, and by the hash of its signature.
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from edp_assets.report import meanings as mean
from edp_assets.report.html import table
from edp_assets.report.names import organ_page, scans_page
from edp_assets.report.results import digest
from edp_assets.report.site import Page
from edp_assets.report.sources import Sources
from edp_assets.report.unknown import NOT_MADE
from edp_assets.storage.cells import cell_of

SHARED_BY = 5
"""Scans that have a pattern in common before it is shown: one of few may tell whose they are."""
OTHER = "a name of its own, not shown"


def scans(sources: Sources, organ: str) -> Page:
    """Return the page of an organ's scans."""
    path = scans_page(organ)
    asset, cell = ("scans",), cell_of({"organ": organ})
    stored = sources.lineage.stored(asset).get(cell)
    left = _left_out(sources, organ)
    looked = _looked_at(sources, organ)
    content = [sources.head, None if stored is None else [stored.version, stored.inputs], left.rows(), looked]
    return Page(path, content, lambda: _render(sources, organ, path, left))


def _render(sources: Sources, organ: str, path: str, left: pl.DataFrame) -> str:
    workspace, cell = sources.workspace, cell_of({"organ": organ})
    there = cell in sources.lineage.stored(("scans",))
    rows = workspace.lake.read(("scans",), cell) if there else pl.DataFrame()
    patterns, listed = described(rows, workspace.cohort.folder, sources.settings.organs[organ].channels)
    return sources.page(
        "scans.html.j2",
        path,
        f"Scans of {organ}",
        organ=organ,
        organ_page=organ_page(organ),
        count=rows.height,
        patterns=table(patterns, "Where the files lie, relative to the cohort's folder", meanings=mean.PATTERNS),
        scans=table(listed, "Scans, in the order of their hashes", meanings=mean.SCANS,
                    elsewhere="the table scans of the lake has them all"),
        left=table(left, "Scans of which no crop was made, by reason", meanings=mean.LEFT_OUT,
                   empty="None." if _looked_at(sources, organ) else NOT_MADE),
    )  # fmt: skip


def _looked_at(sources: Sources, organ: str) -> bool:
    """Return whether crops were made of the organ's scans: before that it is not known which are left out."""
    return cell_of({"organ": organ}) in sources.lineage.stored(("masked_crops",))


def _left_out(sources: Sources, organ: str) -> pl.DataFrame:
    of_crops = pl.col("stage").is_in(["scans", "masked_crops"])  # an association leaves out people, not scans
    excluded = sources.results.table("excluded").filter(of_crops, organ=organ)
    return excluded.group_by("stage", "reason").agg(scans=pl.len()).sort("stage", "reason")


def described(rows: pl.DataFrame, folder: Path, channels: tuple[str, ...]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the patterns of the files' names, and the scans by hash; neither holds an id.

    Args:
        rows: eid, mask, mask_label, images (list of paths, in the order of the channels), signature.
        folder: the cohort's: paths below it are told relative to it.
        channels: the organ's.

    Returns:
        file (mask or channel), pattern, scans (how many); and scan (a number), signature, mask_label, files (the
        numbers of patterns).
    """
    if not rows.height:
        return pl.DataFrame(), pl.DataFrame()
    kinds = ["mask", *channels]
    found = [
        [pattern(each, row["eid"], folder) for each in (row["mask"], *row["images"])]
        for row in rows.iter_rows(named=True)
    ]
    long = pl.DataFrame(
        [(kind, each) for files in found for kind, each in zip(kinds, files, strict=False)],
        schema=["file", "pattern"],
        orient="row",
    )
    counted = long.group_by("file", "pattern").agg(scans=pl.len())
    shared = pl.when(pl.col("scans") >= min(SHARED_BY, rows.height)).then("pattern").otherwise(pl.lit(OTHER))
    patterns = counted.group_by("file", pattern=shared).agg(pl.col("scans").sum()).sort("file", "pattern")
    listed = rows.select(
        signature=pl.Series([digest(text)[:16] for text in rows["signature"]]), mask_label="mask_label"
    )
    return patterns, listed.sort("signature").with_row_index("scan", offset=1)


def pattern(path: str, eid: str, folder: Path) -> str:
    """Return a file's path below the cohort's folder with {eid} in place of the participant's id.

    >>> pattern("/data/cohort/images/7100001_liver.nii.gz", "7100001", Path("/data/cohort"))
    'images/{eid}_liver.nii.gz'
    """
    place = Path(path)
    told = str(place.relative_to(folder)) if place.is_relative_to(folder) else f"…/{place.name}"
    # A number is an id wherever it stands by itself, with zeros before it or without; another id is taken out whole.
    return re.sub(rf"(?<!\d)0*{eid}(?!\d)", "{eid}", told) if eid.isdigit() else told.replace(eid, "{eid}")
