"""A phenome-wide scan: every trait on every phenotype of an organ, covariates beside it (paper, appendix A.2).

The trait is the outcome and the phenotype, at a standard deviation of 1, the exposure, as in PHESANT. Each pair is
fitted to the maximum of its likelihood; a trait's null model is fitted once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from edp_assets.science.genetics.covariates import covariate_basis, residualise
from edp_assets.science.genetics.tails import neg_log_10_p_from_z
from edp_assets.science.phenome.design import Floats
from edp_assets.science.phenome.linear import fit_linear
from edp_assets.science.phenome.logistic import fit_logistic
from edp_assets.science.phenome.multinomial import fit_multinomial
from edp_assets.science.phenome.newton import Fits
from edp_assets.science.phenome.ordinal import fit_ordinal
from edp_assets.science.phenome.traits import Model, Prepared, Rules, prepare

COLLINEAR = 1e-8
"""Share of an exposure's variance beside the covariates, below which nothing of it is left to test."""
LARGEST_ERROR = 10.0
"""Standard error of a log odds ratio a standard deviation, above which the exposure separates the categories: of ten
cases it is 0.3."""

NO_MAXIMUM = "the phenotype, or a covariate with it, separates the trait's categories: there is no largest likelihood"
NOTHING_LEFT = "the phenotype does not vary among these people, beside the covariates"


@dataclass(frozen=True)
class TraitResult:
    """One trait on every phenotype; NaN where there is none, and then a reason.

    Attributes:
        model: what it was tested as; None: not at all.
        n: people who count.
        cases: of a binary trait.
        beta: (n_phenotypes,) effect of a standard deviation of the phenotype, on the rank-normal trait or on log odds;
            NaN for an unordered trait, which has one a category.
        standard_error: likewise.
        neg_log_10_p: (n_phenotypes,) t-test, Wald's test, or for an unordered trait the likelihood-ratio test.
        reasons: (n_phenotypes,) why there is no result, or None.
        levels: values of an unordered trait, the reference first.
        level_n: people of each of them.
        level_beta: (n_phenotypes, n_levels - 1) of an unordered trait.
        level_standard_error: likewise.
    """

    model: Model | None
    n: int
    cases: int | None
    beta: Floats
    standard_error: Floats
    neg_log_10_p: Floats
    reasons: list[str | None]
    levels: tuple[float, ...] = ()
    level_n: tuple[int, ...] = ()
    level_beta: Floats = field(default_factory=lambda: np.empty((0, 0)))
    level_standard_error: Floats = field(default_factory=lambda: np.empty((0, 0)))


class PhenomeScan:
    """The phenotypes and covariates of one organ's people, on which traits are tested one after another."""

    def __init__(
        self, phenotypes: Floats, covariates: Sequence[NDArray[np.floating]], rules: Rules | None = None
    ) -> None:
        """Standardise the phenotypes.

        Args:
            phenotypes: (n_participants, n_phenotypes) without gaps.
            covariates: columns (n_participants,) or (n_participants, k) without gaps, no intercept.
            rules: limits of what is tested.

        Raises:
            ValueError: missing values, or as many covariates as people.
        """
        if not np.isfinite(phenotypes).all():
            missing = int((~np.isfinite(phenotypes)).any(axis=1).sum())
            raise ValueError(
                f"{missing} of {len(phenotypes)} people have no value of a phenotype; leave them out first"
            )
        self.rules = rules or Rules()
        self._columns = np.column_stack([np.empty((len(phenotypes), 0)), *covariates])
        centred = phenotypes - phenotypes.mean(axis=0)
        deviation = centred.std(axis=0, ddof=1)
        basis = covariate_basis([self._columns], len(phenotypes))
        # The covariates are in every model: without their part of it, a phenotype has the same effect, and Newton's
        # method starts near its end.
        left = residualise(centred / np.where(deviation > 0, deviation, 1.0), basis)
        self._exposures = np.ascontiguousarray(left.T)

    def test_all(self, traits: Sequence[tuple[Floats, str]]) -> list[TraitResult]:
        """Test several traits, as `test` does each, on all cores."""
        with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(lambda trait: self.test(*trait), traits))

    def test(self, values: Floats, kind: str) -> TraitResult:
        """Test one trait (n_participants,), NaN where missing, of a kind that `traits.prepare` takes."""
        prepared = prepare(values, kind, self._columns.shape[1] + 1, self.rules)
        if prepared.model is None:
            return self._untested(prepared, prepared.reason or "")
        people = np.flatnonzero(np.isfinite(prepared.y))
        y, exposures = prepared.y[people], self._exposures
        if len(people) < exposures.shape[1]:
            exposures = np.take(exposures, people, axis=1)
        try:
            basis = covariate_basis([self._columns[people]], len(y))
        except ValueError as error:
            return self._untested(prepared, str(error))
        # What is left of an exposure is told by its part beside the covariates of these people.
        left = np.einsum("ep,ep->e", exposures, exposures) - np.square(exposures @ basis).sum(axis=1)
        varies = left > COLLINEAR * len(y)
        if not varies.any():
            return self._untested(prepared, NOTHING_LEFT)
        result = self._fit(prepared, y, basis, exposures if varies.all() else exposures[varies])
        return _spread(result, varies)

    def _fit(self, prepared: Prepared, y: Floats, basis: Floats, exposures: Floats) -> TraitResult:
        n, n_fits, scaled = len(y), len(exposures), basis * np.sqrt(len(y))
        told = prepared.model, n, prepared.cases
        if prepared.model == "linear":
            linear = fit_linear(y, basis, exposures)
            return TraitResult(*told, linear.beta, linear.standard_error, linear.neg_log_10_p, [None] * n_fits)
        if prepared.model == "logistic":
            return _wald(told, fit_logistic(y, scaled, exposures))
        codes = y.astype(np.int64)
        if prepared.model == "ordinal":
            return _wald(told, fit_ordinal(codes, scaled[:, 1:], exposures))
        found = fit_multinomial(codes, scaled, exposures)
        fitted = found.converged & (np.nan_to_num(found.standard_error, nan=np.inf) < LARGEST_ERROR).all(axis=1)
        nothing = np.full(n_fits, np.nan)
        levels = np.where(fitted[:, None], found.beta, np.nan), np.where(fitted[:, None], found.standard_error, np.nan)
        p = np.where(fitted, found.neg_log_10_p, np.nan)
        level_n = tuple(np.bincount(codes).tolist())
        return TraitResult(*told, nothing, nothing, p, _reasons(fitted), prepared.levels, level_n, *levels)

    def _untested(self, prepared: Prepared, reason: str) -> TraitResult:
        n_fits = len(self._exposures)
        nothing = np.full(n_fits, np.nan)
        return TraitResult(None, prepared.n, None, nothing, nothing, nothing, [reason] * n_fits)


def _wald(told: tuple[Model | None, int, int | None], fits: Fits) -> TraitResult:
    """Return Wald's tests of the last parameter of each fit."""
    beta, error = fits.parameters[:, -1], fits.standard_errors[:, -1]
    fitted = fits.converged & (np.nan_to_num(error, nan=np.inf) < LARGEST_ERROR)
    beta, error = np.where(fitted, beta, np.nan), np.where(fitted, error, np.nan)
    return TraitResult(*told, beta, error, neg_log_10_p_from_z(beta / error), _reasons(fitted))


def _reasons(fitted: NDArray[np.bool_]) -> list[str | None]:
    return [None if each else NO_MAXIMUM for each in fitted]


def _spread(result: TraitResult, varies: NDArray[np.bool_]) -> TraitResult:
    """Return the result over all phenotypes, of which those that vary were tested."""
    if varies.all():
        return result
    places = np.flatnonzero(varies)

    def spread(values: Floats) -> Floats:
        whole = np.full((len(varies), *values.shape[1:]), np.nan)
        whole[places] = values
        return whole

    reasons: list[str | None] = [NOTHING_LEFT] * len(varies)
    for place, reason in zip(places, result.reasons, strict=True):
        reasons[place] = reason
    names = ["beta", "standard_error", "neg_log_10_p"]
    names += ["level_beta", "level_standard_error"] if result.levels else []
    whole: dict[str, Any] = {name: spread(getattr(result, name)) for name in names}
    return replace(result, reasons=reasons, **whole)
