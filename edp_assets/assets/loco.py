"""LOCO offsets of an organ's association basis: what is left of it beside the other chromosomes, where asked for.

How the predictions are made, and why one fit serves every score, is `science/genetics/loco_ridge.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from edp_assets.assets.ancestry import candidates, dosages
from edp_assets.assets.encoders import matrix
from edp_assets.assets.stage import StageRun
from edp_assets.storage.lake import Stored
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partition

EXAMINED_EACH = 10
"""Variants looked at for each that is wanted: imputed ones are mostly rare."""

_PEOPLE_AT_ONCE = 8192

NO_OFFSET = "none: the phenotype is associated directly, not as a score of the association basis"
"""What is told of a GWAS that has no LOCO offset though [loco] is enabled."""


def loco_basis(run: StageRun, association_basis: Partition) -> Stored:
    """For every chromosome, the organ's basis less its prediction from the other chromosomes; empty unless enabled."""
    from edp_assets.science.genetics.loco_ridge import LocoRidge

    settings = run.workspace.settings.loco
    if not settings.enabled:
        return Stored(empty("loco_basis"), metadata={"skipped": "[loco] enabled is false"})
    eids = association_basis.columns("eid")["eid"]
    W, Q = _read(association_basis, "basis").astype(np.float32), _read(association_basis, "covariates")
    variants, examined = _common(run, eids.to_list())
    ridge = LocoRidge(
        _hard_calls(run, variants, eids.to_list()),
        variants["chromosome"].to_list(),
        W,
        Q,
        folds=settings.folds,
        heritability=settings.heritability,
        seed=settings.seed,
    )

    def frames() -> Iterator[pl.DataFrame]:
        for chromosome in run.workspace.chromosomes:
            columns = {"eid": eids, "basis": pl.Series(ridge.offset(W, chromosome))}
            yield pl.DataFrame({"organ": run["organ"], "chromosome": chromosome, **columns})

    told = {"participants": len(eids), "variants_examined": examined, "variants": variants.height}
    return Stored(frames(), metadata={**told, "penalty": round(ridge.penalty, 1)})


def tested_basis(association_basis: pl.DataFrame, loco_basis: Partition | None, chromosome: str) -> np.ndarray:
    """Return what a chromosome's variants are multiplied with, (n_participants, n_components): with offsets, if any.

    Raises:
        RuntimeError: the offsets are of other people than the basis.
    """
    if loco_basis is None or not loco_basis.rows:
        return matrix(association_basis, "basis")
    offset = loco_basis.scan().filter(pl.col("chromosome") == chromosome).collect()
    if not offset["eid"].equals(association_basis["eid"]):
        raise RuntimeError(
            f"loco_basis has {offset.height} people on chromosome {chromosome}, association_basis "
            f"{association_basis.height}: wanted the same, in one order. Materialise loco_basis anew."
        )
    return matrix(offset, "basis")


def sums_of_squares(loco_basis: Partition | None, c: np.ndarray) -> dict[str, np.ndarray]:
    """Return by chromosome the sums of squares (n_scores,) of offset scores; nothing where there are no offsets.

    Args:
        loco_basis: the organ's.
        c: (n_components, n_scores) coordinates of the scores in the association basis.
    """
    found: dict[str, np.ndarray] = {}
    if loco_basis is None or not loco_basis.rows:
        return found
    for part in loco_basis.batches(_PEOPLE_AT_ONCE):
        for of_chromosome in part.partition_by("chromosome", maintain_order=True):
            added = np.square(matrix(of_chromosome, "basis") @ c).sum(axis=0)
            chromosome = of_chromosome["chromosome"][0]
            found[chromosome] = found.get(chromosome, 0) + added
    return found


def _common(run: StageRun, people: list[str]) -> tuple[pl.DataFrame, int]:
    """Return the variants of the prediction: common and well called in these people; and how many were looked at."""
    from edp_assets.science.genetics.ancestry_variants import evenly_spaced, well_called

    settings, wanted = run.workspace.settings, run.workspace.settings.loco.variants
    seen = list(candidates(run, EXAMINED_EACH * wanted))
    least, missing = settings.ancestry.min_maf, settings.ancestry.max_missing
    good = [well_called(block, least, missing) for each in seen for block in dosages(run, each, people)]
    examined = sum(each.height for each in seen)
    if not any(each.any() for each in good):
        raise ValueError(
            f"{'/'.join(run.spec.asset)}: none of {examined} autosomal variants outside long-range LD has a minor "
            f"allele frequency of at least {least} and at most {missing:.0%} missing calls; leave [loco] out."
        )
    common = pl.concat(seen).filter(pl.Series(np.concatenate(good)))
    return common[evenly_spaced(common.height, wanted)], examined


def _hard_calls(run: StageRun, variants: pl.DataFrame, people: list[str]) -> np.ndarray:
    """Return the nearest hard calls (n_participants, n_variants), below 0 where missing."""
    calls, start = np.empty((len(people), variants.height), np.int8), 0
    for block in dosages(run, variants, people):
        calls[:, start : start + len(block)] = np.where(np.isnan(block), -1, np.rint(np.nan_to_num(block))).T
        start += len(block)
    return calls


def _read(association_basis: Partition, column: str) -> np.ndarray:
    return matrix(association_basis.columns(column), column)
