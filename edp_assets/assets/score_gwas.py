"""The GWAS of many scores of an organ from its stored products: a block of variants is read once for all of them.

How a score's statistics follow from the products is in `science.genetics.projection`; the stages are in `association`.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from edp_assets.assets.encoders import matrix
from edp_assets.assets.loco import NO_OFFSET, sums_of_squares
from edp_assets.assets.people import Sample
from edp_assets.assets.stage import StageRun
from edp_assets.storage.columns import PHENOTYPE
from edp_assets.storage.lake import Stored, Together
from edp_assets.storage.statistics_frame import StatisticsBlock
from edp_assets.storage.upstream import Partition, Partitions

log = logging.getLogger(__name__)

VARIANTS_AT_ONCE = 16_384
SCORES_AT_ONCE = 64
"""Of people by scores, and of scores by variants, what is held at once: 25 MB an array."""

BYTES_A_ROW = 16
"""Of stored summary statistics, as measured (benchmarks/projection.py)."""

Direct = Callable[[StageRun, Sample, np.ndarray, dict[str, Any]], Iterator[pa.Table]]
"""Of a run, its sample, scores and label the GWAS from the genotypes, for what is not linear in the basis."""


def score_gwas(
    runs: Sequence[StageRun],
    edp_scores: Sequence[Partition],
    association_basis: pl.DataFrame,
    embedding_associations: Partitions,
    loco_basis: Partition | None,
    direct: Direct,
) -> Together:
    """Return the GWAS of every phenotype of some cells of one organ."""
    members = [Stored(()) for _ in runs]

    def frames() -> Iterator[tuple[int, pa.Table]]:
        sample = Sample.of_basis(association_basis)
        scores = _Scores(association_basis, sample.covariates, members)
        others = []
        for place, (run, of_cell) in enumerate(zip(runs, edp_scores, strict=True)):
            for phenotype in cell_phenotypes(of_cell, members[place].metadata):
                label, y = phenotype.select(*PHENOTYPE).row(0, named=True), scores.in_order(phenotype)
                if label["method"] == "classifier" and run.workspace.settings.classifier.score == "cross_fitted":
                    others.append((place, run, label, y))
                else:
                    scores.add(place, run, label, y)
        scores.reduce()
        _say_size(runs[0], scores.largest_p, embedding_associations)
        if scores.places:
            yield from _from_products(scores, embedding_associations, loco_basis, members)
        for place, run, label, y in others:
            if run.workspace.settings.loco.enabled:
                members[place].metadata["loco_classifier"] = NO_OFFSET
            for frame in direct(run, sample, y, label):
                yield place, frame

    return Together(members, frames())


def cell_phenotypes(edp_scores: Partition, metadata: dict[str, Any]) -> list[pl.DataFrame]:
    """Return a cell's phenotypes, and add to its metadata how many; slices of rows, where copies would cost the most.

    Each phenotype is one stretch of rows.
    """
    scores = edp_scores.columns(*PHENOTYPE, "eid", "score")
    changes = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift()) for name in ("method", "cluster"))
    starts = [*scores.with_row_index("row").filter(changes)["row"], scores.height]
    phenotypes = [scores[a:b] for a, b in pairwise(sorted({0, *starts}))]
    metadata["phenotypes"] = len(phenotypes)
    if not phenotypes:
        metadata["skipped"] = "no phenotype of the cell is selected: phenotype_selection says why"
    return phenotypes


class OutsideError(RuntimeError):
    """A score that is not of the embeddings that the organ's basis is of."""


class _Scores:
    """Phenotypes of several cells, as coordinates in the organ's basis."""

    def __init__(self, association_basis: pl.DataFrame, covariates: np.ndarray, members: list[Stored]) -> None:
        self._eid = association_basis["eid"]
        self._basis, self._covariates = matrix(association_basis, "basis"), covariates
        self._members = members
        self._waiting: list[tuple[int, StageRun, dict[str, Any], np.ndarray]] = []
        self._c: list[np.ndarray] = []
        self._yy: list[np.ndarray] = []
        self._people: tuple[pl.Series, np.ndarray] | None = None
        self.places: list[int] = []
        self.labels: list[dict[str, Any]] = []
        self.largest_p: list[float] = []

    @property
    def shape(self) -> tuple[int, int]:
        """People, and covariates with the intercept."""
        return len(self._basis), self._covariates.shape[1]

    def in_order(self, phenotype: pl.DataFrame) -> np.ndarray:
        """Return a phenotype's scores in the basis's order of people, NaN where somebody has none."""
        if self._people is None or not self._people[0].equals(phenotype["eid"]):
            place = pl.DataFrame({"eid": phenotype["eid"], "place": np.arange(phenotype.height)})
            found = self._eid.to_frame().join(place, on="eid", how="left", maintain_order="left")["place"]
            self._people = phenotype["eid"], found.fill_null(phenotype.height).to_numpy()
        return np.append(phenotype["score"].to_numpy(), np.nan)[self._people[1]]

    def add(self, place: int, run: StageRun, label: dict[str, Any], y: np.ndarray) -> None:
        self._waiting.append((place, run, label, y))
        if len(self._waiting) == SCORES_AT_ONCE:
            self.reduce()

    def coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        """Return c (n_components, n_scores) and yy (n_scores,) of all scores."""
        return np.concatenate(self._c, axis=1), np.concatenate(self._yy)

    def reduce(self) -> None:
        """Take the people out of the scores that wait; what cannot be associated is left out and told of its cell."""
        waiting, self._waiting = self._waiting, []
        try:
            self._reduce(waiting)
        except ValueError:
            for one in waiting:  # which of them it is
                try:
                    self._reduce([one])
                except ValueError as error:
                    place, _, label, _ = one
                    told = self._members[place].metadata.setdefault("not_associated", {})
                    told[f"{label['method']} {label['cluster']}"] = str(error)

    def _reduce(self, waiting: list[tuple[int, StageRun, dict[str, Any], np.ndarray]]) -> None:
        from edp_assets.science.genetics.projection import LARGEST_OUTSIDE, score_coordinates

        if not waiting:
            return
        places, runs, labels, scores = zip(*waiting, strict=True)
        # Always as many columns: the last digits of a matrix product depend on its width, and a score's statistics
        # must not depend on what is made beside it.
        padded = np.column_stack([*scores, *[scores[-1]] * (SCORES_AT_ONCE - len(scores))])
        found = score_coordinates(padded, self._basis, self._covariates)
        c, yy, outside = (values[..., : len(scores)] for values in found)
        for run, share in zip(runs, outside, strict=True):
            if share > LARGEST_OUTSIDE:
                raise OutsideError(
                    f"{dict(run.cell)}: {share:.2e} of a score's variance lies outside the association basis; "
                    f"at most {LARGEST_OUTSIDE} is wanted. It is of other embeddings: materialise the basis anew."
                )
        self._c.append(c)
        self._yy.append(yy)
        self.places += places
        self.labels += labels
        gwas = runs[0].workspace.settings.gwas
        self.largest_p += [gwas.largest_p(label["icd10"]) for label in labels]


def _from_products(
    scores: _Scores, embedding_associations: Partitions, loco_basis: Partition | None, members: list[Stored]
) -> Iterator[tuple[int, pa.Table]]:
    """Yield (cell's place, rows) of every score, one block of variants after another."""
    from edp_assets.science.genetics.blocks import VARIANT
    from edp_assets.science.genetics.score_tests import ScoreTests

    n, n_covariates = scores.shape
    c, yy = scores.coordinates()
    tests, offset_yy = ScoreTests(c, yy, n, n_covariates, np.array(scores.largest_p)), sums_of_squares(loco_basis, c)
    if offset_yy:
        _say_predicted(1 - np.mean(list(offset_yy.values()), axis=0) / yy, scores, members)
    for number, cell in enumerate(embedding_associations):
        for products in embedding_associations.partition(cell).batches(VARIANTS_AT_ONCE):
            products = products.filter(pl.col("genotype_ss") > 0)  # else nothing is left to test beside the covariates
            if not products.height:
                continue
            block = StatisticsBlock(products.select(*VARIANT, "effect_allele_frequency"))
            position = products["base_pair_location"].to_numpy()
            gz, gg = matrix(products, "products"), products["genotype_ss"].to_numpy()
            yy_here = offset_yy.get(dict(cell)["chromosome"])
            for tested in tests.block(gz, gg, np.full(len(gg), number), position, yy_here):
                label = scores.labels[tested.score]
                yield scores.places[tested.score], block.table(label, n, vars(tested.association), tested.rows)
    for i, inflation in enumerate(tests.inflation.results()):
        member, stored = members[scores.places[i]], int(tests.kept[i])
        key = {name: scores.labels[i][name] for name in ("method", "cluster")}
        told = {"n": n, **vars(inflation), "variants_stored": stored, "stored_max_p": scores.largest_p[i]}
        member.notes.setdefault("phenotypes", []).append({**key, **told})
        if stored < inflation.variants:
            left = member.metadata.get("variants_not_stored", 0) + inflation.variants - stored
            member.metadata["variants_not_stored"] = left


def _say_predicted(share: np.ndarray, scores: _Scores, members: list[Stored]) -> None:
    """Tell what share of each score's variance its LOCO offsets take out, mean over chromosomes; below 0 they harm."""
    for place, label, of_score in zip(scores.places, scores.labels, share, strict=True):
        told = members[place].metadata.setdefault("loco_variance_predicted", {})
        told[f"{label['method']} {label['cluster']}"] = round(float(of_score), 4)


def _say_size(run: StageRun, largest_p: Sequence[float], embedding_associations: Partitions) -> None:
    """Tell how much will be written, and refuse what the disk cannot hold."""
    phenotypes = len(largest_p)
    variants = sum(embedding_associations.partition(cell).rows for cell in embedding_associations)
    # A null phenotype stores a share of its variants that is the largest p.
    size = sum(largest_p) * variants * BYTES_A_ROW
    if phenotypes * variants >= 100_000_000:
        log.info("%d phenotypes x %d variants: about %.1f GB will be written", phenotypes, variants, size / 1e9)
    free = shutil.disk_usage(run.workspace.home.root).free
    if size > free:
        raise OSError(
            f"{'/'.join(run.spec.asset)}: {phenotypes} phenotypes x {variants} variants take about {size / 1e9:.1f} GB "
            f"and {free / 1e9:.1f} GB are free: free disk, or store less with [gwas] stored_max_p (1e-3 keeps a "
            "thousandth)."
        )
