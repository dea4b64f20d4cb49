"""What a cell's page costs at many variants: `python -m edp_assets_tests.report.size 1000000 10000000`.

Each size in a process of its own: seconds and peak memory of building the page, and its bytes.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from edp_assets.report.names import cell_page
from edp_assets_tests.report.planted import SHOWN, Planted, phenotypes

HITS = 2_000
"""Variants of each phenotype that are associated."""
BLOCK = 65_536


def frames(variants: int) -> Iterator[pl.DataFrame]:
    """Yield the statistics of the first cell's phenotypes over 22 chromosomes."""
    organ, icd10 = SHOWN[0]
    for method, cluster in phenotypes(organ, icd10):
        for first in range(0, variants, BLOCK):
            k = np.arange(first, min(first + BLOCK, variants))
            p = -np.log10(np.random.default_rng([first, len(method)]).uniform(size=len(k)))
            p[k % (variants // HITS) == 0] += 8
            yield pl.DataFrame({"k": k, "neg_log_10_p_value": p}).select(
                encoder=pl.lit("mae"), organ=pl.lit(organ), icd10=pl.lit(icd10), method=pl.lit(method),
                cluster=pl.lit(cluster, pl.Int32), chromosome=(pl.col("k") * 22 // variants + 1).cast(pl.String),
                base_pair_location=pl.col("k") * 22 % variants * 140_000_000 // variants + 1, effect_allele=pl.lit("A"),
                other_allele=pl.lit("G"), effect_allele_frequency=pl.lit(0.3), beta=pl.lit(0.1),
                standard_error=pl.lit(0.02), neg_log_10_p_value="neg_log_10_p_value", rsid=pl.format("rs{}", "k"),
                n=pl.lit(45_714),
            )  # fmt: skip


def measure(root: Path, variants: int) -> None:
    """Write the statistics, build the report, and print what the cell's page took."""
    planted = Planted(root)
    planted.plant_gwas(*SHOWN[0], frames(variants))
    planted.mirror()
    command = [sys.executable, "-m", "edp_assets_tests.report.size", "--build", str(root)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    page = planted.home.report / cell_page(*SHOWN[0])
    print(
        f"{variants:,} variants x {len(phenotypes(*SHOWN[0]))} phenotypes: {told}, {page.stat().st_size / 1e6:.2f} MB"
    )


def build(root: Path) -> None:
    """Build the cell's page of a home, and print seconds and peak memory; imports and other pages not counted."""
    import edp_assets.figures.interactive_gwas
    import edp_assets.graph  # noqa: F401
    from edp_assets.assets.stage import REGISTRY
    from edp_assets.report.cell import cell
    from edp_assets.report.lineage import Lineage
    from edp_assets.report.results import Results
    from edp_assets.report.site import write_site
    from edp_assets.report.sources import Sources
    from edp_assets.storage.home import Home
    from edp_assets.storage.workspace import Workspace

    workspace = Workspace(Home(root / "home"))
    sources = Sources(workspace, Results(workspace.home.warehouse), Lineage(workspace, REGISTRY))
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    write_site(workspace.home.report, [cell(sources, *SHOWN[0])])
    seconds, peak = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{seconds:.1f} s, peak memory {peak / 1e3:.0f} MB ({before / 1e3:.0f} MB before)")


if __name__ == "__main__":
    if sys.argv[1] == "--build":
        build(Path(sys.argv[2]))
    else:
        for size in sys.argv[1:]:
            with tempfile.TemporaryDirectory() as folder:
                measure(Path(folder), int(size))
