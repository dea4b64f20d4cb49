"""Time and peak memory of `edp import-ukb` at UK Biobank size: `python -m edp_assets_tests.ukb_import_size [people]`.

Draws an export of 502,000 people in each of two layouts (ukbconv: 846 columns, 243 of them codes and 243 dates; RAP:
the codes packed in one), imports both, and says whether they give the same tables. 1.6 GB of files for a while.
"""

from __future__ import annotations

import filecmp
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

PEOPLE = 502_000
GENOTYPED = 0.81
IMAGED = 0.1
ARRAY = 243
"""Elements of field 41270."""

OTHERS = 300
"""Columns that an import does not want."""

BATCH = 20_000
LAYOUTS = ("ukbconv", "rap")
INSTANCED = (21003, 21001, 54, 53)

MEASURE = """
import resource, sys, time
from edp_assets.cli import cli
started = time.perf_counter()
cli(sys.argv[1:], standalone_mode=False)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(f"MEASURED {time.perf_counter() - started:.0f} s, peak memory {peak:.2f} GiB")
"""


def header(layout: str) -> list[str]:
    """Return the names of the columns."""
    fields: list[tuple[int, int, int | None]] = [(31, 0, None), (34, 0, None), (52, 0, None)]
    fields += [(field, visit, None) for field in INSTANCED for visit in range(4)]
    fields += [(22000, 0, None), *((22009, 0, i) for i in range(1, 41))]
    fields += [(20000 + i, 0, None) for i in range(OTHERS)]
    fields += [(41270, 0, i) for i in range(ARRAY)] if layout == "ukbconv" else [(41270, 0, None)]
    fields += [(41280, 0, i) for i in range(ARRAY)]
    if layout == "ukbconv":
        return ["eid", *(f"{field}-{visit}.{array or 0}" for field, visit, array in fields)]
    names = []
    for field, visit, array in fields:
        name = f"participant.p{field}" + (f"_i{visit}" if field in INSTANCED else "")
        names.append(name + ("" if array is None else f"_a{array}"))
    return ["participant.eid", *names]


def rows(n: int, layout: str) -> Iterator[list[str]]:
    """Yield the rows of n people, the same people in both layouts."""
    rng = np.random.default_rng(0)
    codes = np.array([f"{letter}{i:03d}" for letter in "EFIJKMN" for i in range(1000)])
    for start in range(0, n, BATCH):
        m = min(BATCH, n - start)
        components, bmi, came = rng.normal(size=(m, 40)), rng.normal(27, 4, (m, 2)), rng.random(m) < IMAGED
        counts = np.minimum(rng.geometric(0.09, m) - 1, ARRAY - 1)
        others, absent = rng.integers(0, 4, (m, OTHERS)), rng.random((m, OTHERS)) < 0.6
        for k in range(m):

            def visits(first: str, imaging: str, came: bool = bool(came[k])) -> list[str]:
                return [first, "", imaging if came else "", ""]

            row = [str(1_000_000 + start + k), str(k % 2), str(1940 + k % 30), str(1 + k % 12)]
            row += visits(str(40 + k % 30), str(50 + k % 30)) + visits(f"{bmi[k, 0]:.4f}", f"{bmi[k, 1]:.4f}")
            row += visits("11010", "11025") + visits("2008-05-02", "2017-03-04") + [str(k % 95 + 1)]
            row += [f"{value:.5f}" for value in components[k]]
            row += ["" if no else str(value) for value, no in zip(others[k], absent[k], strict=True)]
            theirs = list(rng.choice(codes, counts[k]))
            empty = [""] * (ARRAY - len(theirs))
            row += [*theirs, *empty] if layout == "ukbconv" else ["|".join(theirs)]
            yield [*row, *(["2010-01-02"] * len(theirs)), *empty]


def main() -> None:
    """Write, import and compare."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else PEOPLE
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "all.bed").write_bytes(b"\x6c\x1b\x01")
        genotyped = range(1_000_000, 1_000_000 + int(GENOTYPED * n))
        (folder / "all.fam").write_text("".join(f"{eid} {eid} 0 0 1 -9\n" for eid in genotyped))
        for name in ("fat", "water", "liver"):
            (folder / "images" / "1000001").mkdir(parents=True, exist_ok=True)
            (folder / "images" / "1000001" / f"{name}.nii.gz").write_bytes(b"x")
        for layout in LAYOUTS:
            quote = '"' if layout == "ukbconv" else ""
            with (folder / f"{layout}.csv").open("w") as file:
                for row in chain([header(layout)], rows(n, layout)):
                    file.write(quote + f"{quote},{quote}".join(row) + quote + "\n")
            size = (folder / f"{layout}.csv").stat().st_size / 1e9
            command = ["import-ukb", "--tables", f"{folder}/{layout}.csv", "--images", f"{folder}/images"]
            command += ["--genotypes", f"{folder}/all.bed", "--out", f"{folder}/{layout}"]
            done = subprocess.run([sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=True)
            print(f"{layout}: {n:,} people, {size:.2f} GB: {done.stdout.split('MEASURED ')[-1].strip()}")
            (folder / f"{layout}.csv").unlink()
        for name in ("participants.csv", "diagnoses.csv"):
            same = filecmp.cmp(folder / "ukbconv" / name, folder / "rap" / name, shallow=False)
            print(f"{name}: {'the same' if same else 'DIFFERS'} from both layouts")


if __name__ == "__main__":
    main()
