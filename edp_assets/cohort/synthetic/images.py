"""Writes every scan of the synthetic cohort, over processes. What a scan looks like is in `anatomy.py`."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from edp_assets.cohort.synthetic.anatomy import ORIENTATION_SHARES, ORIENTATIONS, draw_scan, nifti_bytes, store_as
from edp_assets.cohort.synthetic.traits import ORGANS

CHUNK = 20
"""Participants a task: a few seconds of work."""


@dataclass(frozen=True)
class Sitter:
    """One participant to be scanned: `index` seeds the draw; `traits` by name; `sizes` log size by organ."""

    index: int
    eid: str
    traits: dict[str, float]
    sizes: dict[str, float]


def scan_paths(organ: str, eid: str) -> dict[str, str]:
    """Return the paths of a scan's files, relative to the cohort folder, under scans.csv's column names."""
    stem = f"images/{organ}/{eid}"
    return {
        "mask": f"{stem}_mask.nii.gz",
        "image_fat": f"{stem}_fat.nii.gz",
        "image_water": f"{stem}_water.nii.gz",
    }


def _write_chunk(folder: Path, seed: int, sitters: list[Sitter]) -> int:
    """Write the scans of some participants; returns how many participants."""
    for sitter in sitters:
        for number, organ in enumerate(ORGANS):
            # A generator a scan: the bytes are the same however the work is divided.
            rng = np.random.default_rng([seed, 9, number, sitter.index])
            orientation = str(rng.choice(ORIENTATIONS, p=ORIENTATION_SHARES))
            scan = store_as(draw_scan(rng, organ, sitter.traits, sitter.sizes[organ]), orientation)
            paths = scan_paths(organ, sitter.eid)
            for name, volume in (("mask", scan.mask), ("image_fat", scan.fat), ("image_water", scan.water)):
                (folder / paths[name]).write_bytes(nifti_bytes(volume, scan.affine))
    return len(sitters)


def _one_thread() -> None:
    """Keep a worker's matrix products on one thread: the workers are the parallelism."""
    threadpool_limits(1)


def _chunks_done(folder: Path, seed: int, chunks: list[list[Sitter]], workers: int) -> Iterator[int]:
    """Write all chunks; yields the participants of each as it is done."""
    if workers <= 1:
        for chunk in chunks:
            yield _write_chunk(folder, seed, chunk)
        return
    # spawn: polars and BLAS have threads, which do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread)
    try:
        for future in as_completed([pool.submit(_write_chunk, folder, seed, chunk) for chunk in chunks]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def write_images(folder: Path, seed: int, sitters: list[Sitter], *, workers: int, log: Callable[[str], None]) -> None:
    """Write three organs of every sitter under `folder`/images.

    Args:
        folder: The cohort folder.
        seed: Of the cohort.
        sitters: The imaging cohort.
        workers: Processes; 1 writes in this one.
        log: Takes a line of progress now and then.
    """
    for organ in ORGANS:
        (folder / "images" / organ).mkdir(parents=True)
    chunks = [sitters[i : i + CHUNK] for i in range(0, len(sitters), CHUNK)]
    done, told = 0, 0
    for count in _chunks_done(folder, seed, chunks, min(workers, len(chunks))):
        done += count
        if done - told >= len(sitters) / 8 or done == len(sitters):
            log(f"images: {done:,} of {len(sitters):,} participants, {len(ORGANS)} organs each")
            told = done
