"""A cheap look at a cohort's files: what tells that one was replaced, and what of it the stored results have not seen.

Sizes and modification times alone; what a change touches is found by the refresh, which compares content.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import polars as pl

from edp_assets.assets.stage import REGISTRY
from edp_assets.cohort.config import FILE, OPTIONAL, Cohort
from edp_assets.cohort.reading import read_text_table
from edp_assets.cohort.scans import image_channels
from edp_assets.storage.workspace import Workspace, signature

IMAGES = "images"
"""What stands for the folders of all masks and images."""


def look(cohort: Cohort) -> dict[str, str]:
    """Return a short signature of each file that the cohort names, by the file's name as people read it.

    A genotype file's is of all that stand beside it under its name.

    Masks and images are looked at through their folders: a file that is added, removed or moved into its place is
    seen, one overwritten in its place is not (the nightly refresh looks at each).
    """
    names = ["participants", "diagnoses", "scans", *OPTIONAL, "kinship", "imagenet_weights", "step1_genotypes"]
    paths = [cohort.folder / FILE, *(getattr(cohort, name) for name in names), *cohort.label_tables.values()]
    found = {cohort.label(path): signature(path) for path in paths if path is not None}
    for path in cohort.genotype_paths().values():
        beside = sorted(file for file in path.parent.glob(f"{path.stem}.*") if file.suffix != ".bgi")
        found[cohort.label(path)] = repr([signature(file) for file in beside])
    folders = _image_folders(cohort.folder, cohort.scans, signature(cohort.scans), tuple(image_channels(cohort)))
    found[IMAGES] = repr([_modified(folder) for folder in folders])
    return {name: hashlib.sha256(stamp.encode()).hexdigest()[:8] for name, stamp in found.items()}


def _modified(folder: str) -> int:
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=2)
def _image_folders(folder: Path, scans: Path, stamp: str, channels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the folders of a scans table's files; by `stamp`, its signature, it is read once."""
    columns = ["mask", *(f"image_{channel}" for channel in channels)]
    table, _, _ = read_text_table(scans, scans.name, columns.__contains__, [])
    if table is None:
        return ()
    files = pl.concat([table[name] for name in columns if name in table.columns] or [pl.Series(dtype=pl.String)])
    return tuple(sorted({str((folder / file).parent) for file in files.drop_nulls()}))


def changed(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return the names of files that were added, removed or replaced."""
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def seen(workspace: Workspace) -> dict[str, str]:
    """Return the signatures of those files that the stored results have seen: what a first look compares with.

    Where every stored partition that reads cohort files is made from them as they are, all have been seen; cohort.toml
    only if it is older than the last run's start. Else none: a refresh too many rather than one too few.
    """
    for stage in REGISTRY.values():
        spec = stage.spec
        if spec.files:
            in_use = {name: workspace.keys(name) or frozenset() for name in spec.dimensions}
            stored = workspace.stored_cells(spec.asset)
            if workspace.stale_cells(spec, [cell for cell in stored if all(key in in_use[d] for d, key in cell)]):
                return {}
    now = look(workspace.cohort)
    last_run = workspace.home.root / "run.lock"
    if not last_run.exists() or (workspace.cohort.folder / FILE).stat().st_mtime > last_run.stat().st_mtime:
        del now[FILE]
    return now
