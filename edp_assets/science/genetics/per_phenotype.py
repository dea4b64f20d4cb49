"""Direct association of many phenotypes at once, each over the people who have it, in one pass over the genotypes.

Every phenotype has its own people, covariates projected out among them, genotypes mean-imputed among them, and filters
by their counts: its statistics are those of `regression.associate_directly` or `logistic.associate_binary` run on it
alone, whatever stands beside it. The sums over people are `masked_sums.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edp_assets.science.genetics.blocks import Block, dosages, filter_variants
from edp_assets.science.genetics.covariates import COLLINEAR, residualise
from edp_assets.science.genetics.masked_sums import MaskedSums, Sums
from edp_assets.science.genetics.null_model import NullModel, SeparationError, fit_null_model
from edp_assets.science.genetics.regression import (
    COLLINEAR_WITH_COVARIATES,
    Association,
    explained,
    linear_statistics,
)
from edp_assets.science.genetics.variant_qc import VariantStats, centre, keep_variants
from edp_assets.settings import AssociationSettings
from edp_assets.settings.association import MIN_CASES

_WELL_APART = 1e-2
"""Singular value of unit-length covariates above which their products, a tenth of the work, resolve them to 1e-12."""


@dataclass(frozen=True)
class Group:
    """The phenotypes that the same people have.

    Attributes:
        member: (n_participants,) who has them.
        phenotypes: their columns.
        coordinates: (n_columns, n_covariates); X[member] @ coordinates is the orthonormal basis of the covariates among
            them.
    """

    member: NDArray[np.bool_]
    phenotypes: list[int]
    coordinates: NDArray[np.float64]

    @property
    def n(self) -> int:
        """How many people."""
        return int(np.count_nonzero(self.member))


@dataclass(frozen=True)
class Tested:
    """One group's variants of a block.

    Attributes:
        group: the group.
        keep: (n_variants,) which variants pass the filters.
        left_out: how many do not, by reason.
        frequency: (n_variants,) of the effect allele among the group's people.
        associations: of each phenotype in the group, by its column: (n_kept,) each.
    """

    group: Group
    keep: NDArray[np.bool_]
    left_out: dict[str, int]
    frequency: NDArray[np.float64]
    associations: dict[int, Association]


def shared_columns(covariates: Sequence[NDArray[Any]], n_participants: int) -> NDArray[np.float64]:
    """Return X (n_participants, n_columns): ones, and the covariates in units of their standard deviation."""
    columns = [np.asarray(column, np.float64).reshape(n_participants, -1) for column in covariates]
    X = np.concatenate([np.empty((n_participants, 0)), *columns], axis=1)
    X = X - X.mean(axis=0)
    spread = X.std(axis=0)
    return np.concatenate([np.ones((n_participants, 1)), X / np.where(spread > 0, spread, 1)], axis=1)


def covariate_coordinates(X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return A (n_columns, n_covariates) with X A orthonormal, the intercept first: `covariate_basis` by coordinates.

    Constant and collinear directions are dropped by the same rules.

    Args:
        X: (n_participants, n_columns), the first column of ones.

    Raises:
        ValueError: as many covariates as participants.
    """
    n, n_columns = X.shape
    mean = X.mean(axis=0)
    centred = X[:, 1:] - mean[1:]
    length = np.linalg.norm(centred, axis=0)
    varies = np.flatnonzero(length > 1e-12 * np.sqrt(n) * np.abs(X[:, 1:]).max(axis=0, initial=0.0))
    unit = centred[:, varies] / length[varies]
    squares, V = np.linalg.eigh(unit.T @ unit)
    singular, V = np.sqrt(np.maximum(squares[::-1], 0.0)), V[:, ::-1].T
    if singular.min(initial=1.0) < _WELL_APART:
        _, singular, V = np.linalg.svd(np.linalg.qr(unit, mode="r"))
    rank = int(np.count_nonzero(singular > COLLINEAR * singular.max(initial=0.0)))
    if rank + 1 >= n - 1:
        raise ValueError(f"{rank + 1} covariates with the intercept leave nothing to test in {n} people")
    A = np.zeros((n_columns, rank + 1))
    A[0, 0] = 1 / np.sqrt(n)
    A[1 + varies, 1:] = V[:rank].T / singular[:rank] / length[varies, None]
    A[0, 1:] = -mean[1:] @ A[1:, 1:]
    return A


def group_phenotypes(
    Y: NDArray[np.float64], X: NDArray[np.float64], *, binary: bool = False
) -> tuple[list[Group], dict[int, str]]:
    """Group phenotypes by who has them, and say which cannot be associated, and why.

    Args:
        Y: (n_participants, n_phenotypes), NaN where a person does not have one.
        X: (n_participants, n_columns) from `shared_columns`, without gaps.
        binary: Y is 0 or 1; fewer than `MIN_CASES` cases or controls are not associated.
    """
    has = ~np.isnan(Y)
    by_pattern: dict[bytes, list[int]] = {}
    for column, packed in enumerate(np.packbits(has, axis=0).T):
        by_pattern.setdefault(packed.tobytes(), []).append(column)
    groups: list[Group] = []
    skipped: dict[int, str] = {}
    for columns in by_pattern.values():
        member = has[:, columns[0]]
        n = int(np.count_nonzero(member))
        if n == 0:
            skipped |= dict.fromkeys(columns, "nobody has a value, genotypes and every covariate")
            continue
        try:
            coordinates = covariate_coordinates(X[member])
        except ValueError as error:
            skipped |= dict.fromkeys(columns, str(error))
            continue
        y = Y[member][:, columns]
        residual = residualise(y, X[member] @ coordinates)
        flat = explained(y, np.square(residual).sum(axis=0))
        for place, column in enumerate(columns):
            values = y[:, place]
            if np.all(values == values[0]):
                skipped[column] = f"all {n} people have the value {values[0]:g}: nothing to associate"
            elif flat[place]:
                skipped[column] = f"the covariates explain it in all {n} people: nothing is left to associate"
            elif binary and min(values.sum(), n - values.sum()) < MIN_CASES:
                skipped[column] = (
                    f"{int(values.sum())} cases and {int(n - values.sum())} controls; at least {MIN_CASES} of each "
                    "are wanted"
                )
        usable = [column for column in columns if column not in skipped]
        if usable:
            groups.append(Group(member, usable, coordinates))
    return groups, skipped


class _Models:
    """What quantitative and binary models of grouped phenotypes have in common.

    Attributes:
        groups: the phenotypes that have a model.
        skipped: those that have none, by their column, and why.
    """

    def __init__(self, groups: list[Group], X: NDArray[np.float64], male: NDArray[np.bool_]) -> None:
        self.groups, self._X, self._male = groups, X, male
        self.skipped: dict[int, str] = {}
        self._members = np.array([group.member for group in groups]).reshape(len(groups), len(X))

    def _basis(self, group: Group) -> NDArray[np.float64]:
        return self._X[group.member] @ group.coordinates

    def _stats(self, place: int, sums: Sums, absent: Sums | None) -> tuple[VariantStats, NDArray[np.float64]]:
        """Return a group's counts of a block, and its sums of squares of centred, mean-imputed genotypes."""
        n, total, square = self.groups[place].n, sums.covariate[place][:, 0], sums.square[place]
        missing = np.zeros(len(total)) if absent is None else np.rint(absent.covariate[place][:, 0])
        called = n - missing
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / called
        spread = square - total * np.where(called > 0, mean, 0.0)
        constant = spread <= 1e-9 + 1e-14 * square  # dosages are stored to 1/16384 at the finest
        return VariantStats(n, mean / 2, missing / n, np.minimum(total, 2 * called - total), constant), spread

    def _keep(
        self, block: Block, group: Group, stats: VariantStats, settings: AssociationSettings
    ) -> tuple[NDArray[np.bool_], dict[str, int]]:
        if block.single.any() or settings.min_hwe_p > 0 or settings.min_info > 0:
            calls = dosages(block.calls[:, group.member])
            keep, reasons, _ = filter_variants(calls, block.repeated, block.single, self._male[group.member], settings)
            return keep, reasons
        return keep_variants(stats, settings.min_maf, settings.min_mac, settings.max_missing, repeated=block.repeated)


class QuantitativeModels(_Models):
    """Linear regression of quantitative phenotypes, with t-tests."""

    def __init__(
        self,
        Y: NDArray[np.float64],
        X: NDArray[np.float64],
        groups: list[Group],
        male: NDArray[np.bool_],
        offsets: dict[int, NDArray[np.float64]] | None = None,
    ) -> None:
        """Project the covariates out of each phenotype among its people.

        Args:
            Y: (n_participants, n_phenotypes), NaN where a person does not have one.
            X: (n_participants, n_columns) from `shared_columns`.
            groups: from `group_phenotypes`.
            male: (n_participants,).
            offsets: of each phenotype by its column, (n_participants,): taken from it before the covariates are, as
                regenie step 2 takes step 1's predictions.
        """
        super().__init__(groups, X, male)
        self._columns = [column for group in groups for column in group.phenotypes]
        residuals = np.zeros((len(X), len(self._columns)))
        at = 0
        for group in groups:
            y = Y[group.member][:, group.phenotypes]
            if offsets is not None:
                y = y - np.stack([offsets[column][group.member] for column in group.phenotypes], axis=1)
            residuals[group.member, at : at + len(group.phenotypes)] = residualise(y, self._basis(group))
            at += len(group.phenotypes)
        self._yy = np.square(residuals).sum(axis=0)
        self._sums = MaskedSums(X, self._members, residuals)

    def test(self, block: Block, settings: AssociationSettings) -> Iterator[Tested]:
        """Yield each group's associations with the variants of a block that pass the filters."""
        sums, absent = self._sums.of(block.calls)
        at = 0
        for place, group in enumerate(self.groups):
            stats, spread = self._stats(place, sums, absent)
            keep, reasons = self._keep(block, group, stats, settings)
            mine = slice(at, at + len(group.phenotypes))
            at += len(group.phenotypes)
            gy, gx, gg = sums.residual[keep, mine], sums.covariate[place][keep], sums.square[place][keep]
            if absent is not None:
                mean = 2 * stats.effect_allele_frequency[keep, None]
                gy = gy + mean * absent.residual[keep, mine]
                gx = gx + mean * absent.covariate[place][keep]
                gg = gg + mean[:, 0] ** 2 * absent.square[place][keep]
            left = gg - np.square(gx @ group.coordinates).sum(axis=1)
            left[stats.constant[keep] | (left < COLLINEAR_WITH_COVARIATES * spread[keep])] = 0.0
            df = group.n - group.coordinates.shape[1] - 1
            found = linear_statistics(gy.T, left, self._yy[mine], df)
            associations = {
                column: Association(found.beta[i], found.standard_error[i], found.neg_log_10_p_value[i])
                for i, column in enumerate(group.phenotypes)
            }
            yield Tested(group, keep, reasons, stats.effect_allele_frequency, associations)


class BinaryModels(_Models):
    """Score tests of binary phenotypes with saddlepoint tails; one without a null model is skipped."""

    def __init__(
        self,
        Y: NDArray[np.float64],
        X: NDArray[np.float64],
        groups: list[Group],
        male: NDArray[np.bool_],
        offsets: dict[int, NDArray[np.float64]] | None = None,
    ) -> None:
        """Fit each phenotype's null model; arguments as those of `QuantitativeModels`, offsets in log odds."""
        fitted, models, skipped = [], [], {}
        for group in groups:
            basis = X[group.member] @ group.coordinates
            kept = []
            for column in group.phenotypes:
                offset = None if offsets is None else offsets[column][group.member]
                try:
                    null = fit_null_model(Y[group.member, column], basis, offset)
                except SeparationError as error:
                    skipped[column] = str(error)
                    continue
                kept.append(column)
                models.append(null)
            if kept:
                fitted.append(Group(group.member, kept, group.coordinates))
        super().__init__(fitted, X, male)
        self.skipped = skipped
        self._nulls = models
        shape = (len(X), len(models))
        residuals, weights = np.zeros(shape), np.zeros(shape)
        self._coordinates, self._constants = [], []
        for i, (group, null) in enumerate(zip(self._of_each(), models, strict=True)):
            residuals[group.member, i] = null.residual
            weights[group.member, i] = null.weight**2
            weighted = null.weight[:, None] * self._basis(group)
            # The null model's basis in coordinates of X, and its products with the intercept.
            triangle = np.linalg.lstsq(weighted, null.basis, rcond=None)[0]
            self._coordinates.append(group.coordinates @ triangle)
            self._constants.append(null.weight @ null.basis)
        self._sums = MaskedSums(X, self._members, residuals, weights)

    def _of_each(self) -> list[Group]:
        return [group for group in self.groups for _ in group.phenotypes]

    def test(self, block: Block, settings: AssociationSettings) -> Iterator[Tested]:
        """Yield each group's associations with the variants of a block that pass the filters."""
        sums, absent = self._sums.of(block.calls)
        i = 0
        for place, group in enumerate(self.groups):
            stats, _ = self._stats(place, sums, absent)
            keep, reasons = self._keep(block, group, stats, settings)
            rows = np.flatnonzero(keep)
            associations = {}
            for column in group.phenotypes:
                associations[column] = self._score(block, group, i, rows, stats, sums, absent)
                i += 1
            yield Tested(group, keep, reasons, stats.effect_allele_frequency, associations)

    def _score(
        self,
        block: Block,
        group: Group,
        i: int,
        rows: NDArray[np.int64],
        stats: VariantStats,
        sums: Sums,
        absent: Sums | None,
    ) -> Association:
        from edp_assets.science.genetics.logistic import score_test

        null: NullModel = self._nulls[i]
        mean = 2 * stats.effect_allele_frequency[rows]
        score, gx = sums.residual[rows, i], sums.weighted_covariate[i][rows]
        gg = sums.weighted_square[i][rows]
        if absent is not None:
            score = score + mean * absent.residual[rows, i]
            gx = gx + mean[:, None] * absent.weighted_covariate[i][rows]
            gg = gg + mean**2 * absent.weighted_square[i][rows]
        # Of centred genotypes: the sums are of g, and g - mean differs by the intercept.
        score = score - mean * null.residual.sum()
        on_basis = gx @ self._coordinates[i] - mean[:, None] * self._constants[i]
        total = gg - 2 * mean * gx[:, 0] + mean**2 * np.square(null.weight).sum()
        total = np.where(stats.constant[rows], 0.0, np.maximum(total, 0.0))

        def genotypes(chosen: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[Any]]:
            G = dosages(block.calls[rows[chosen]][:, group.member])
            return G, centre(G)[0]

        return score_test(score, on_basis, total, null, genotypes)[0]
