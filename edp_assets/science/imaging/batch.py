"""Many scans from files to crops, read side by side and handed out in order, with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from edp_assets.science.imaging.crops import Crop, crop_scan
from edp_assets.science.imaging.nifti import ImageError, read_volume


def crop_scans(files: Sequence[tuple[Sequence[str], str, int | None]], workers: int = 2) -> Iterator[Crop | ImageError]:
    """Crop each (image files, mask file, mask label); a scan that cannot be used gives its error instead.

    Threads, not processes: nearly all the time goes to decompression and numpy, which release the interpreter lock.
    All scans of one call may be in memory at once; call it a few dozen at a time.
    """

    def crop(scan: tuple[Sequence[str], str, int | None]) -> Crop | ImageError:
        images, mask, label = scan
        try:
            return crop_scan([read_volume(path) for path in images], read_volume(mask), label)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(crop, files)
