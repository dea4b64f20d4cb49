"""What a finished demo run found of what was planted: genes by method, and calibration on the null chromosomes.

`make acceptance` runs the demo over three seeds and prints these; a lighter run stands in the test suite.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from edp_assets.storage import warehouse
from edp_assets_tests.planted_claims import claims

EDPS = ("classifier", "clustering", "island")
PHENOTYPE = ["encoder", "organ", "icd10", "method", "cluster"]


@dataclass(frozen=True)
class Found:
    """Planted genes found (in the right organ), and the others that were hit.

    `by_method` counts planted genes by method and by encoder, "edp" being all EDPs together.
    """

    planted: int
    by_method: dict[str, int]
    missed: list[str]
    not_planted: list[str]
    null_hits: int


def found(home: Path, organs: tuple[str, ...] = ("liver", "kidneys", "heart")) -> Found:
    """Compare the gene hits with the truth. The code's own GWAS has no organ: any organ's gene of it counts."""
    truth = json.loads((home / "demo_cohort/truth.json").read_text())
    planted = {v["gene"]: v["organ"] for v in truth["variants"] if v["organ"] in organs}
    hits = warehouse.query(
        home / "warehouse.duckdb", "SELECT encoder, organ, method, gene FROM gene_hits WHERE gene IS NOT NULL"
    )
    right = hits.filter(
        pl.col("gene").is_in(list(planted))
        & (pl.col("organ").is_null() | (pl.col("organ") == pl.col("gene").replace_strict(planted, default="")))
    )
    with_learned = right.filter(pl.col("encoder").is_null() | (pl.col("encoder") != "untrained"))
    by_method = dict(with_learned.group_by("method").agg(pl.col("gene").n_unique()).iter_rows())
    by_method |= dict(right.drop_nulls("encoder").group_by("encoder").agg(pl.col("gene").n_unique()).iter_rows())
    learned = pl.col("method").is_in(EDPS) & (pl.col("encoder") != "untrained")  # the control's are counted apart
    edp = set(right.filter(learned)["gene"])
    leads = warehouse.query(home / "warehouse.duckdb", "SELECT chromosome FROM lead_variants")["chromosome"]
    others = hits.filter(learned & ~pl.col("gene").is_in(list(planted)))
    return Found(
        planted=len(planted),
        by_method={**by_method, "edp": len(edp)},
        missed=sorted(set(planted) - edp),
        not_planted=sorted(set(others["gene"])),
        null_hits=int(leads.is_in(truth["null_chromosomes"]).sum()),
    )


@dataclass(frozen=True)
class Calibration:
    """Lambda GC of every EDP of an organ on the null chromosomes, and its sampling interval round 1."""

    organ: str
    lambdas: list[float]
    effective_variants: float
    interval: tuple[float, float]
    widest: tuple[float, float]

    @property
    def inside(self) -> int:
        """EDPs within the interval of a single phenotype (95%)."""
        low, high = self.interval
        return sum(low <= value <= high for value in self.lambdas)

    @property
    def calibrated(self) -> bool:
        """The median lies within the 95% interval of one phenotype, and all within it at 95% for all together."""
        low, high = self.interval
        lowest, highest = self.widest
        middle = float(np.median(self.lambdas))
        return low <= middle <= high and lowest <= min(self.lambdas) and max(self.lambdas) <= highest


def calibrations(home: Path) -> Iterator[Calibration]:
    """Yield each organ's calibration.

    The effective number of independent variants is `calibration.effective_number`: from the correlations of the null
    chromosomes' genotypes in the organ's own sample, covariates projected out. The interval is that of the median of as
    many independent chi-squares; for all phenotypes together its level is Bonferroni's.
    """
    from edp_assets.science.genetics.calibration import effective_number, lambda_gc, lambda_interval
    from edp_assets.science.genetics.genotypes import open_genotypes
    from edp_assets.science.genetics.variant_qc import keep_variants, variant_stats

    cohort = home / "demo_cohort"
    null = json.loads((cohort / "truth.json").read_text())["null_chromosomes"]
    statistics = warehouse.query(
        home / "warehouse.duckdb",
        "SELECT encoder, organ, icd10, method, cluster, neg_log_10_p_value AS p FROM gwas_summary_stats "
        "WHERE encoder IS NOT NULL AND encoder <> 'untrained' AND list_contains(?, chromosome)",
        [null],
    )
    for (organ,), of_organ in sorted(statistics.group_by("organ"), key=lambda pair: pair[0]):
        lambdas = [lambda_gc(group["p"].to_numpy()) for _, group in of_organ.group_by(PHENOTYPE)]
        basis = pl.read_parquet(
            home / f"lake/mae/association_basis/organ={organ}/part.parquet", hive_partitioning=False
        )
        covariates = np.array(basis["covariates"].to_list())
        blocks = []
        for chromosome in null:
            with open_genotypes(cohort / f"genotypes/chr{chromosome}.bed") as genotypes:
                place = {eid: i for i, eid in enumerate(genotypes.sample_ids)}
                block = genotypes.read(0, genotypes.n_variants, np.array([place[eid] for eid in basis["eid"]]))
            keep, _ = keep_variants(variant_stats(block), 0.01, 20, 0.1)
            blocks.append(block[keep])
        effective = effective_number(blocks, covariates)
        level = 1 - 0.05 / len(lambdas)
        yield Calibration(str(organ), lambdas, effective, lambda_interval(effective), lambda_interval(effective, level))


def describe(home: Path) -> bool:
    """Print what was found and return whether all that must hold does."""
    result = found(home)
    counts = result.by_method
    edp, imaging = counts["edp"], counts.get("icd10_imaging_cohort", 0)
    print(f"  planted genes found by EDPs: {edp} of {result.planted}; missed: {', '.join(result.missed) or 'none'}")
    print(f"    mae {counts.get('mae', 0)}, video_mae {counts.get('video_mae', 0)}")
    print("    " + ", ".join(f"{method} {counts.get(method, 0)}" for method in EDPS))
    print(f"    the code itself, imaging cohort: {imaging}; whole cohort: {counts.get('icd10_whole_cohort', 0)}")
    baselines = (*EDPS, "icd10_imaging_cohort", "icd10_whole_cohort", "edp", "mae", "video_mae", "imagenet")
    print(f"    controls: {', '.join(f'{name} {n}' for name, n in sorted(counts.items()) if name not in baselines)}")
    print(f"  other genes that EDPs hit: {', '.join(result.not_planted) or 'none'}")
    print(f"  hits on the null chromosomes, any method: {result.null_hits}")
    holds = edp >= 0.8 * result.planted and imaging <= edp / 4 and result.null_hits == 0
    for organ in calibrations(home):
        low, high = organ.interval
        print(
            f"  lambda GC on the null chromosomes, {organ.organ}: median {np.median(organ.lambdas):.3f} of "
            f"{len(organ.lambdas)} EDPs ({min(organ.lambdas):.3f} to {max(organ.lambdas):.3f}); "
            f"95% interval {low:.3f} to {high:.3f} ({organ.effective_variants:.0f} effective variants), "
            f"{organ.inside} inside"
        )
        holds &= organ.calibrated
    for claim in claims(home, counts):
        print(f"  {claim}")
        holds &= claim.holds is not False
    print(f"  {'all holds' if holds else 'NOT all holds'}")
    return holds


def ask_for_sizes(cohort_toml: Path, sizes: Sequence[str]) -> None:
    """Have encoders of these sizes compared in the liver, whose genes are the most (Table 6)."""
    asked = f'[evidence]\nsizes = {json.dumps(sizes)}\nsizes_organs = ["liver"]\n'
    text = cohort_toml.read_text()
    if asked not in text:
        cohort_toml.write_text(text.replace("[evidence]\n", asked, 1))


def main() -> None:
    """Run the demo for each seed under its own home, and print what it found."""
    import os

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(".edp-acceptance"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sizes", nargs="+", help="sizes of encoders to compare: tiny S takes an hour a seed")
    arguments = parser.parse_args()
    holds = True
    for seed in arguments.seeds:
        home = arguments.home.resolve() / f"seed{seed}"
        command = [sys.executable, "-c", "from edp_assets.cli import main; main()", "demo", "--seed", str(seed)]
        environment = {**os.environ, "EDP_HOME": str(home)}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        if arguments.sizes:
            ask_for_sizes(home / "demo_cohort/cohort.toml", arguments.sizes)
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        print(f"seed {seed}")
        holds &= describe(home)
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
