"""The GWAS of many scores of an organ from its stored products: a block of variants is read once for all of them.

How a score's statistics follow from the products is in `science.genetics.projection`; the stages are in `association`.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from edp_assets.assets.encoders import matrix
from edp_assets.assets.people import Sample
from edp_assets.assets.stage import StageRun
from edp_assets.storage.columns import PHENOTYPE
from edp_assets.storage.lake import Partition, Partitions, Stored, Together
from edp_assets.storage.statistics_frame import StatisticsBlock

log = logging.getLogger(__name__)

VARIANTS_AT_ONCE = 16_384
PHENOTYPES_AT_ONCE = 64
"""With the variants they bound what is held at once: three float64 arrays, 25 MB."""

BYTES_A_ROW = 16
"""Of stored summary statistics, as measured (benchmarks/projection.py)."""

Direct = Callable[[StageRun, Sample, np.ndarray, dict[str, Any]], Iterator[pl.DataFrame]]
"""Of a run, its sample, scores and label the GWAS from the genotypes, for what is not linear in the basis."""


@dataclass
class _Scores:
    """Phenotypes of several cells, as coordinates in the organ's basis."""

    places: list[int] = field(default_factory=list)
    labels: list[dict[str, Any]] = field(default_factory=list)
    c: list[np.ndarray] = field(default_factory=list)
    yy: list[float] = field(default_factory=list)
    largest_p: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.places)


def score_gwas(
    runs: Sequence[StageRun],
    edp_scores: Sequence[Partition],
    association_basis: pl.DataFrame,
    embedding_associations: Partitions,
    direct: Direct,
) -> Together:
    """Return the GWAS of every phenotype of some cells of one organ."""
    members = [Stored(()) for _ in runs]

    def frames() -> Iterator[tuple[int, pl.DataFrame | pa.Table]]:
        sample = Sample.of_basis(association_basis)
        scores, others = _Scores(), []
        basis = matrix(association_basis, "basis")
        for place, (run, of_cell) in enumerate(zip(runs, edp_scores, strict=True)):
            phenotypes = of_cell.scan().collect().partition_by("method", "cluster", maintain_order=True)
            members[place].metadata["phenotypes"] = len(phenotypes)
            if not phenotypes:
                members[place].metadata["skipped"] = (
                    "no phenotype of the cell is selected: phenotype_selection says why"
                )
            for phenotype in phenotypes:
                label = phenotype.select(*PHENOTYPE).row(0, named=True)
                y = association_basis.select("eid").join(phenotype, on="eid", how="left", maintain_order="left")
                values = y["score"].to_numpy()
                if label["method"] == "classifier" and run.workspace.settings.classifier.score == "cross_fitted":
                    others.append((place, run, label, values))
                else:
                    _add(scores, place, run, label, values, basis, sample.covariates)
        _say_size(runs[0], len(scores), embedding_associations)
        yield from _from_products(scores, embedding_associations, sample, members)
        for place, run, label, values in others:
            for frame in direct(run, sample, values, label):
                yield place, frame

    return Together(members, frames())


def _add(
    scores: _Scores,
    place: int,
    run: StageRun,
    label: dict[str, Any],
    y: np.ndarray,
    basis: np.ndarray,
    covariates: np.ndarray,
) -> None:
    from edp_assets.science.genetics.projection import LARGEST_OUTSIDE, score_coordinates

    c, yy, outside = score_coordinates(y, basis, covariates)
    if outside > LARGEST_OUTSIDE:
        raise ValueError(
            f"{dict(run.cell)}: {outside:.2e} of a score's variance lies outside the association basis; "
            f"at most {LARGEST_OUTSIDE} is wanted. It is of other embeddings: materialise the basis anew."
        )
    scores.places.append(place)
    scores.labels.append(label)
    scores.c.append(c)
    scores.yy.append(float(yy))
    settings = run.workspace.settings.gwas
    scores.largest_p.append(1.0 if label["icd10"] in settings.full_codes else settings.stored_max_p)


def _from_products(
    scores: _Scores, embedding_associations: Partitions, sample: Sample, members: list[Stored]
) -> Iterator[tuple[int, pa.Table]]:
    """Yield (cell's place, rows) of every score, one block of variants after another."""
    from edp_assets.science.genetics.blocks import VARIANT
    from edp_assets.science.genetics.calibration import StreamedLambda
    from edp_assets.science.genetics.projection import associate

    if not len(scores):
        return
    n, n_covariates = sample.covariates.shape
    c, yy = np.column_stack(scores.c), np.array(scores.yy)
    inflation, stored = StreamedLambda(len(scores)), np.zeros(len(scores), np.int64)
    for cell in embedding_associations:
        for products in embedding_associations.partition(cell).batches(VARIANTS_AT_ONCE):
            products = products.filter(pl.col("genotype_ss") > 0)  # else nothing is left to test beside the covariates
            block = StatisticsBlock(products.select(*VARIANT, "effect_allele_frequency"))
            gz, gg = matrix(products, "products"), products["genotype_ss"].to_numpy()
            for start in range(0, len(scores), PHENOTYPES_AT_ONCE):
                chosen = slice(start, start + PHENOTYPES_AT_ONCE)
                found = associate(gz, gg, c[:, chosen], yy[chosen], n, n_covariates)
                for k in range(len(found.beta)):
                    i = start + k
                    p = found.neg_log_10_p_value[k]
                    inflation.add(i, p)
                    rows = None if scores.largest_p[i] == 1 else np.flatnonzero(p >= -np.log10(scores.largest_p[i]))
                    stored[i] += len(p) if rows is None else len(rows)
                    statistics = {
                        "beta": found.beta[k],
                        "standard_error": found.standard_error[k],
                        "neg_log_10_p_value": p,
                    }
                    yield scores.places[i], block.table(scores.labels[i], n, statistics, rows)
    counts, lambdas = inflation.variants, inflation.values()
    for i, place in enumerate(scores.places):
        key = {name: scores.labels[i][name] for name in ("method", "cluster")}
        told = {"n": n, "variants": int(counts[i]), "lambda_gc": float(lambdas[i]), "stored_max_p": scores.largest_p[i]}
        members[place].notes.setdefault("phenotypes", []).append({**key, **told})
        if stored[i] < counts[i]:
            members[place].metadata["variants_not_stored"] = members[place].metadata.get(
                "variants_not_stored", 0
            ) + int(counts[i] - stored[i])


def _say_size(run: StageRun, phenotypes: int, embedding_associations: Partitions) -> None:
    """Tell how much will be written, and refuse what the disk cannot hold."""
    settings = run.workspace.settings.gwas
    variants = sum(embedding_associations.partition(cell).rows for cell in embedding_associations)
    rows = phenotypes * variants
    # A null phenotype stores a share of its variants that is the largest p.
    size = rows * (1.0 if settings.full_codes else settings.stored_max_p) * BYTES_A_ROW
    if rows >= 100_000_000:
        log.info("%d phenotypes x %d variants: about %.1f GB will be written", phenotypes, variants, size / 1e9)
    free = shutil.disk_usage(run.workspace.home.root).free
    if size > free:
        raise OSError(
            f"{'/'.join(run.spec.asset)}: {phenotypes} phenotypes x {variants} variants take about {size / 1e9:.1f} GB "
            f"and {free / 1e9:.1f} GB are free: free disk, or store less with [gwas] stored_max_p (1e-3 keeps a "
            "thousandth)."
        )
