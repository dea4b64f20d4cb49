"""Many scans from files to crops, read side by side and handed out in order, with bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from edp_assets.science.imaging.crops import Crop, crop_scan
from edp_assets.science.imaging.exclusions import require_usable
from edp_assets.science.imaging.nifti import ImageError, read_volume
from edp_assets.settings import OrganSettings

ScanFiles = tuple[Sequence[str], str, str | None]
"""Image files in the order of the organ's channels, mask file, mask label."""

MOST_WORKERS = 16
"""Each holds about 60 MB at UK Biobank's Dixon geometry; more than this wait for the disk."""


def crop_file(scan: ScanFiles, organ: str, settings: OrganSettings) -> Crop:
    """Crop one scan, its files read one after another: one image is in memory at a time.

    Raises:
        ImageError: as `read_volume`, `crop_scan` and `require_usable`.
    """
    images, mask, label = scan
    return require_usable(crop_scan(map(read_volume, images), read_volume(mask), label, organ), settings, mask)


def crop_scans(
    files: Sequence[ScanFiles], organ: str, settings: OrganSettings, workers: int | None = None
) -> Iterator[Crop | ImageError]:
    """Crop each scan; one that cannot be used gives its error instead.

    Threads, not processes: nearly all the time goes to decompression and numpy, which release the interpreter lock.
    All crops of one call may be in memory at once; call it a few dozen at a time.

    Args:
        files: the scans.
        organ: their organ.
        settings: its limits.
        workers: scans read at once; None: one a core.
    """

    def crop(scan: ScanFiles) -> Crop | ImageError:
        try:
            return crop_file(scan, organ, settings)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(workers or min(os.cpu_count() or 1, MOST_WORKERS)) as pool:
        yield from pool.map(crop, files)
