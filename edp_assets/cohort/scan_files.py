"""What is inside the scans' files: every mask and image read in full, and cropped as a run would.

Only the contents belong here; which files there are is told by `scans`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl

from edp_assets.cohort.config import Cohort
from edp_assets.cohort.problems import Problem
from edp_assets.settings import OrganSettings

WANTED = "whole image files on one grid, and a mask that holds the whole organ"
BATCH = 64
"""Scans between two progress messages; all of a batch may be in memory at once."""


def check_scan_files(
    cohort: Cohort, scans: pl.DataFrame, workers: int = 2, log: Callable[[str], None] | None = None
) -> list[Problem]:
    """Read every file of the scans; each file that cannot be used is an "excluded" problem.

    Threads, not processes: decompression and numpy release the interpreter lock.

    Args:
        cohort: the cohort.
        scans: the table of `scans.read_scan_rows`.
        workers: scans read at once.
        log: takes progress lines.
    """
    file = cohort.label(cohort.scans)
    problems: list[Problem] = []
    rows = scans.sort("row").to_dicts()

    def check(row: dict[str, Any]) -> list[str]:
        settings = cohort.settings.organs[row["organ"]]
        images = [row[f"image_{channel}"] for channel in settings.channels]
        return scan_errors((images, row["mask"], row["mask_label"]), row["organ"], settings)

    with ThreadPoolExecutor(max(workers, 1)) as pool:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            for row, errors in zip(batch, pool.map(check, batch), strict=True):
                where = f"row {row['row']}, eid {row['eid']}, {row['organ']}"
                for error in errors:
                    found, _, remedy = error.replace(f"{cohort.folder}/", "").rpartition("; ")
                    remedy += "; until then the scan is left out"
                    problems.append(Problem("excluded", file, where, WANTED, found, remedy))
            if log is not None:
                log(f"read {start + len(batch)} of {len(rows)} scans")
    return problems


def scan_errors(scan: tuple[list[str], str, str | None], organ: str, settings: OrganSettings) -> list[str]:
    """Return what is wrong with one scan: of each file that cannot be read, else of what they are together.

    Messages read "reason: file: wanted ..., found ...; remedy".

    Args:
        scan: image files in the order of the organ's channels, mask file, mask label.
        organ: the organ's name.
        settings: its limits.
    """
    from edp_assets.science.imaging.batch import crop_file
    from edp_assets.science.imaging.nifti import ImageError, read_volume

    def error_of(path: str, work: Callable[[], object]) -> str | None:
        try:
            work()
        except ImageError as error:
            return str(error)
        except MemoryError:
            return f"too large: {path}: more voxels than the memory holds; check the header, or use fewer workers"
        return None

    images, mask, _ = scan
    if (error := error_of(mask, lambda: crop_file(scan, organ, settings))) is None:
        return []
    # Something is wrong: each file is read alone, that all unreadable ones are told.
    unreadable = [error_of(path, lambda path=path: read_volume(path)) for path in (mask, *images)]  # type: ignore[misc]
    return [each for each in unreadable if each] or [error]
