"""Reading and cropping a scan at UK Biobank's Dixon geometry against MONAI, nibabel and bare decompression.

Two channels and a mask, .nii.gz; one thread each. Figures are the best of runs one after another, as over a cohort.
"""

from __future__ import annotations

import gzip
import importlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edp_assets_tests.benchmarks.result import Result, compare, seconds

SHAPE = (224, 174, 370)
AFFINE = np.array([[-2.232, 0, 0, 250], [0, 2.232, 0, -192], [0, 0, 3, -1041], [0, 0, 0, 1.0]])
ROUNDS = 9
SCANS = (200, 2_000)


def run() -> list[Result]:
    """One scan's crop by each program; and the memory of 200 and 2,000 scans."""
    with tempfile.TemporaryDirectory() as folder:
        images, mask = write_scan(Path(folder))
        return [*_speed(images, mask), _memory(images, mask)]


def write_scan(folder: Path, seed: int = 0) -> tuple[list[Path], Path]:
    """Write a body with a liver in it, noise as a magnitude image has it, as stored files: int16, axes L A S."""
    import nibabel

    rng = np.random.default_rng(seed)
    x, y, z = (
        np.linspace(-1, 1, n, dtype=np.float32).reshape([-1 if a == i else 1 for a in range(3)])
        for i, n in enumerate(SHAPE)
    )
    radius = (x / 0.8) ** 2 + (y / 0.75) ** 2
    mask = ((x + 0.25) / 0.36) ** 2 + (y / 0.42) ** 2 + ((z - 0.15) / 0.14) ** 2 < 1
    paths = []
    for name, inner, rim in (("fat", 60, 400), ("water", 300, 50)):
        signal = np.where(radius < 1, np.where(radius < 0.7, inner, rim), 0)[:, :, 0].astype(np.float32)
        stored = np.empty(SHAPE, dtype=np.int16, order="F")
        for k in range(SHAPE[2]):
            texture = signal * (1 + 0.05 * rng.standard_normal(signal.shape, dtype=np.float32))
            real, imaginary = 4 * rng.standard_normal((2, *signal.shape), dtype=np.float32)
            stored[:, :, k] = np.rint(np.hypot(texture + real, imaginary))
        paths.append(folder / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(stored, AFFINE), paths[-1])
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), AFFINE), folder / "mask.nii.gz")
    return paths, folder / "mask.nii.gz"


def _speed(images: list[Path], mask: Path) -> list[Result]:
    from edp_assets.science.imaging.crops import crop_scan
    from edp_assets.science.imaging.nifti import read_volume

    files = [*images, mask]
    work: dict[str, Callable[[], object]] = {"ours": lambda: crop_scan(map(read_volume, images), read_volume(mask))}
    work["nibabel"] = lambda: _with_nibabel(images, mask)
    for name, decompress in _decompressors().items():
        work[name] = lambda decompress=decompress: [len(decompress(path.read_bytes())) for path in files]
    try:
        work["MONAI LoadImage + CropForeground"] = _monai(images, mask)
    except ModuleNotFoundError:
        print("MONAI is not installed: crops are not compared with it (pip install monai)")
    best = {}
    for name, each in work.items():
        each()  # what the program before has left in the allocator is not this one's cost
        best[name] = min(seconds(each) for _ in range(ROUNDS))
    ours = best.pop("ours")
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    note = f"{'x'.join(map(str, SHAPE))}, two channels and a mask, {megabytes:.0f} MB as .nii.gz, one thread"
    return [compare("crop_scan", ours, peer, theirs, note) for peer, theirs in best.items()]


def _decompressors() -> dict[str, Callable[[bytes], bytes]]:
    """Return every decompressor that is installed, each with its checksum verified."""
    found: dict[str, Callable[[bytes], bytes]] = {"gzip alone": gzip.decompress}
    names = (("deflate", "gzip_decompress"), ("isal.igzip", "decompress"), ("zlib_ng.gzip_ng", "decompress"))
    for module, function in names:
        try:
            found[f"{module.split('.')[0]} alone"] = getattr(importlib.import_module(module), function)
        except ModuleNotFoundError:
            print(f"{module} is not installed: bare decompression is not timed with it")
    return found


def _with_nibabel(images: list[Path], mask: Path) -> list[np.ndarray]:
    """Crop as a script would: whole arrays, the box of the mask's voxels, zero outside."""
    import nibabel

    inside = np.asanyarray(nibabel.as_closest_canonical(nibabel.load(mask)).dataobj) > 0
    box = tuple(slice(hit.min(), hit.max() + 1) for hit in np.nonzero(inside))
    arrays = (np.asanyarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj) for path in images)
    return [np.where(inside[box], array[box], 0) for array in arrays]


def _monai(images: list[Path], mask: Path) -> Callable[[], object]:
    """Return MONAI's two steps alone: it neither turns the scan to RAS+, nor zeroes what is outside, nor scales."""
    from monai.transforms import Compose, CropForegroundd, LoadImaged

    keys = [*(f"image_{i}" for i in range(len(images))), "mask"]
    steps = Compose([LoadImaged(keys, ensure_channel_first=True), CropForegroundd(keys, source_key="mask")])
    return lambda: steps(dict(zip(keys, [*map(str, images), str(mask)], strict=True)))


def _memory(images: list[Path], mask: Path) -> Result:
    """Peak memory of the crops' stage at both numbers of scans, each in a process of its own; the scan is small."""
    peaks = [
        int(subprocess.run([sys.executable, "-m", __name__, str(n)], capture_output=True, text=True, check=True).stdout)
        for n in SCANS
    ]
    note = f"peak memory of masked_crops' frames, {SCANS[1]:,} scans against {SCANS[0]}; hippocampus-sized scans"
    few, many = (peak / 1e3 for peak in peaks)
    return Result("masked_crops_memory", many, "MB", f"{SCANS[0]} scans", few, few / many, note)


def peak_memory(n_scans: int) -> int:
    """Return the peak resident memory, kB, of cropping this many scans as the stage does."""
    import nibabel
    import polars as pl

    from edp_assets.assets.imaging import crop_frames
    from edp_assets.settings import OrganSettings
    from edp_assets.storage.lake import Stored

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        image, mask = Path(folder) / "image.nii.gz", Path(folder) / "mask.nii.gz"
        inside = np.zeros((64, 64, 48), np.uint8)
        inside[4:-4, 4:-4, 4:-4] = 1
        nibabel.save(nibabel.Nifti1Image(inside, np.eye(4)), mask)
        nibabel.save(nibabel.Nifti1Image(rng.integers(1, 250, inside.shape).astype(np.int16), np.eye(4)), image)
        scans = pl.DataFrame({"eid": [f"{i:06d}" for i in range(n_scans)]}).with_columns(
            images=pl.lit(pl.Series([[str(image)]])).first(),
            mask=pl.lit(str(mask)),
            mask_label=pl.lit(None, pl.String),
            signature=pl.lit(""),
        )
        stored = Stored(())
        rows = sum(frame.height for frame in crop_frames("organ", OrganSettings(channels=("t1",)), scans, stored))
        assert rows == n_scans, stored.excluded
    # Not ru_maxrss, which a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


if __name__ == "__main__":
    print(peak_memory(int(sys.argv[1])))
