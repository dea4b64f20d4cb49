"""What the platform itself costs at many organs and codes: a first fill, no change, three codes changed, the report.

    python -m edp_assets_tests.benchmarks.platform [--organs 10] [--codes 700] [--people 5000] [--folder DIR]

Embeddings are drawn, not learned; everything from there to gene hits is the real graph. Science is the time inside the
stages' own functions, the platform's share is all the rest: ranges, events, reading inputs, writing, the warehouse.
With --folder its cohort and home stay there, and a later call goes on with them.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

DIMENSIONS, CHROMOSOMES, VARIANTS = 32, ("1", "2"), 200
CHANGED = 3
LEFT_OUT = (
    "scans", "masked_crops", "organ_volumes", "encoder", "embeddings", "encoder_quality", "organ_measures", "age",
    "volume", "size_embeddings", "sizes", "score_correlations", "interpretation_figures",
)  # fmt: skip
"""Assets that need images, or that are drawn here."""

SCIENCE = [0.0, 0.0]
"""Seconds inside the stages' own functions: on the clock, and of CPU."""


@contextmanager
def science() -> Iterator[None]:
    """Count what is done within as science."""
    clock, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        SCIENCE[0] += time.perf_counter() - clock
        SCIENCE[1] += time.process_time() - cpu


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a stage's function that adds its own time, and that of making its rows, to SCIENCE."""

    def rows(frames: Iterable[Any]) -> Iterator[Any]:
        iterator = iter(frames)
        while True:
            with science():
                frame = next(iterator, None)
            if frame is None:
                return
            yield frame

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with science():
            made = function(*args, **kwargs)
        if not isinstance(getattr(made, "frames", None), pl.DataFrame) and not callable(made.frames):
            made.frames = rows(made.frames)
        return made

    return wrapped


def time_stages() -> None:
    """Have every stage that is defined from now on timed; before the modules of assets are imported."""
    from edp_assets.assets import stage as module

    if len(module.REGISTRY):
        raise RuntimeError("the stages are defined already: run this benchmark in a process of its own")
    original = module.stage

    def stage(*args: Any, **kwargs: Any) -> Callable[..., Any]:
        decorate = original(*args, **kwargs)
        return lambda function: decorate(timed(function))

    module.stage = stage  # type: ignore[assignment]


def code_names(number: int) -> list[str]:
    """Return that many three-character codes."""
    return [f"{chr(65 + i // 100)}{i % 100:02d}" for i in range(number)]


def write_cohort(folder: Path, organs: int, codes: int, people: int) -> None:
    """Write a cohort folder: tables, genotypes, and scans that nobody reads."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    eids = [str(1_000_000 + i) for i in range(people)]
    names = [f"organ_{chr(97 + i)}" for i in range(organs)]
    pl.DataFrame(
        {"eid": eids, "age": rng.normal(60, 7, people), "sex": rng.integers(0, 2, people), "pc1": 0.1}
    ).write_csv(folder / "participants.csv")
    (folder / "scan.nii.gz").write_bytes(b"nobody reads it")
    scans = [{"eid": e, "organ": o, "mask": "scan.nii.gz", "image_t1": "scan.nii.gz"} for o in names for e in eids]
    pl.DataFrame(scans).write_csv(folder / "scans.csv")
    cases = [
        {"eid": eids[i], "icd10": code}
        for code in code_names(codes)
        for i in rng.choice(people, rng.integers(people // 100, people // 20), replace=False)
    ]
    pl.DataFrame(cases).write_csv(folder / "diagnoses.csv")
    for chromosome in CHROMOSOMES:
        calls = rng.choice([0, 2, 3], (VARIANTS, (people + 3) // 4 * 4), p=[0.2, 0.5, 0.3]).astype(np.uint8)
        packed = calls.reshape(VARIANTS, -1, 4) @ np.array([1, 4, 16, 64], dtype=np.uint8)
        stem = folder / f"chr{chromosome}"
        stem.with_suffix(".bed").write_bytes(b"\x6c\x1b\x01" + packed.astype(np.uint8).tobytes())
        stem.with_suffix(".bim").write_text(
            "".join(f"{chromosome} rs{chromosome}_{i} 0 {5_000_000 + 50_000 * i} A G\n" for i in range(VARIANTS))
        )
        stem.with_suffix(".fam").write_text("".join(f"{e} {e} 0 0 0 -9\n" for e in eids))
    sections = "".join(f'[organs.{name}]\nchannels = ["t1"]\npatch = 6\nresolution = 48\n' for name in names)
    (folder / "cohort.toml").write_text(
        '[cohort]\nname = "platform"\ngenome_build = "GRCh37"\nparticipants = "participants.csv"\n'
        'diagnoses = "diagnoses.csv"\nscans = "scans.csv"\n[genotypes]\npath = "chr{chromosome}.bed"\n'
        '[ancestry]\nmax_kinship = "none"\n[association]\ncovariates = ["age", "sex"]\n'
        "[gwas]\nstored_max_p = 1e-3\n[clustering]\nresolution = 0.5\n" + sections
    )


def plant(workspace: Any) -> None:
    """Store drawn embeddings and volumes as the stages that would make them do."""
    from edp_assets.assets.stage import REGISTRY
    from edp_assets.storage.lake import Stored, cell_of
    from edp_assets.storage.workspace import Fingerprints

    eids = pl.read_csv(workspace.cohort.folder / "participants.csv", schema_overrides={"eid": pl.String})["eid"]
    for place, organ in enumerate(sorted(workspace.settings.organs)):
        z = np.random.default_rng(place).normal(size=(len(eids), DIMENSIONS)).astype(np.float32)
        z += 3 * np.eye(DIMENSIONS, dtype=np.float32)[np.random.default_rng(place).integers(0, 6, len(eids))]
        frames = {
            ("organ_volumes",): pl.DataFrame({"eid": eids, "voxels": 1000, "volume_ml": 1000.0 + z[:, 0]}),
            ("mae", "embeddings"): pl.DataFrame({"encoder": ["mae"] * len(eids), "eid": eids, "z": z}),
        }
        for asset, frame in frames.items():
            spec, cell = REGISTRY[asset].spec, cell_of({"organ": organ})
            made = frame.with_columns(organ=pl.lit(organ))
            workspace.lake.write(asset, cell, spec.table, Stored(made), Fingerprints(workspace, spec).of(cell))


def change(folder: Path, codes: list[str]) -> None:
    """Give each code a case more."""
    path = folder / "diagnoses.csv"
    table = pl.read_csv(path, schema_overrides={"eid": pl.String})
    everybody = pl.read_csv(folder / "participants.csv", schema_overrides={"eid": pl.String})["eid"]
    new = [(sorted(set(everybody) - set(table.filter(icd10=code)["eid"]))[0], code) for code in codes]
    pl.concat([table, pl.DataFrame(new, schema=table.schema, orient="row")]).write_csv(path)


def main(folder: Path, organs: int, codes: int, people: int, say: Callable[[str], None]) -> None:
    """Fill, refresh without a change and with three codes changed, and build the report; print what each costs."""
    time_stages()
    os.environ["EDP_HOME"] = str(folder / "home")
    filled = (folder / "cohort").exists()
    if not filled:
        write_cohort(folder / "cohort", organs, codes, people)
    from edp_assets.assets.stage import REGISTRY
    from edp_assets.report.build import build_report
    from edp_assets.runner import Choice, run
    from edp_assets.storage.home import Home
    from edp_assets.storage.workspace import Workspace

    home = Home.from_environment()
    home.prepare()
    home.bind(folder / "cohort")
    if not filled:
        plant(Workspace(home))
    wanted = [
        s for s in REGISTRY.values() if s.spec.asset[-1] not in LEFT_OUT and s.group not in ("few_shot", "adjustment")
    ]
    wanted = [s for s in wanted if s.spec.asset[0] not in ("video_mae", "imagenet", "untrained", "hand_made")]
    choice = Choice(select=" or ".join(f'key:"{"/".join(s.spec.asset)}"' for s in wanted))
    steps = {"first fill": [], "no change": [], f"{CHANGED} codes changed": code_names(codes)[:CHANGED]}
    for name, changed in steps.items():
        if changed:
            change(folder / "cohort", changed)
        SCIENCE[:] = [0.0, 0.0]
        started, cpu = time.perf_counter(), time.process_time()
        outcome = run(Workspace(home), choice, say)
        wall, used, made = time.perf_counter() - started, time.process_time() - cpu, sum(outcome.made.values())
        cells = outcome.made.get("mae/phenotype_models", 0)
        rest, rest_cpu = wall - SCIENCE[0], used - SCIENCE[1]
        print(
            f"{name}: {wall:.1f} s, {made} partitions of {cells} organ x code cells; science {SCIENCE[0]:.1f} s, "
            f"platform {rest:.1f} s ({rest / max(made, 1):.4f} s a partition, {rest / max(cells, 1):.3f} s a cell)"
            f", of CPU {rest_cpu:.1f} s ({rest_cpu / max(cells, 1):.3f} s a cell)",
            flush=True,
        )
    for name in ("first report", "report, no change"):
        build_report(Workspace(home), lambda line, name=name: print(f"{name}: {line}", flush=True))  # type: ignore[misc]
    places = {"Dagster's databases": home.dagster, "lake": home.lake, "report": home.report}
    sizes = {name: sum(f.stat().st_size for f in place.rglob("*") if f.is_file()) for name, place in places.items()}
    sizes["warehouse"] = home.warehouse.stat().st_size
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{', '.join(f'{name} {size / 1e6:.0f} MB' for name, size in sizes.items())}; peak memory {memory:.1f} GiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for option, default in (("--organs", 10), ("--codes", 700), ("--people", 5000)):
        parser.add_argument(option, type=int, default=default)
    parser.add_argument("--folder", type=Path, help="where cohort and home stay; else they are removed at the end")
    parser.add_argument("--quiet", action="store_true")
    given = parser.parse_args()
    tell: Callable[[str], None] = (lambda _: None) if given.quiet else lambda line: print(line, file=sys.stderr)
    with tempfile.TemporaryDirectory() as temporary:
        main(given.folder or Path(temporary), given.organs, given.codes, given.people, tell)
