"""What a trait of each kind is tested as: PHESANT's rules (Millard et al. 2018), on the people who are tested.

Which rules are followed: a continuous trait of fewer than 20 values is ordered (in PHESANT an integer one); one with a
fifth of the people or more at one value is cut in three bins, or two where a bin has too few; else it is made rank
normal. Values of an ordered or unordered trait that fewer than 10 people have count as missing; of two that are left
the trait is binary. Below 500 people, or 10 in either group, nothing is tested. Ties share their mean rank, where
PHESANT orders them at random. Its tables of UK Biobank's data codings (which values are missing, which order) are the
business of who writes the trait table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Model = Literal["linear", "logistic", "ordinal", "multinomial"]


@dataclass(frozen=True)
class Rules:
    """Limits of what is tested, and as what; defaults are PHESANT's."""

    min_cases: int = 10
    min_people: int = 500
    max_share: float = 0.2
    continuous_values: int = 20
    max_weights: int = 1000


@dataclass(frozen=True)
class Prepared:
    """A trait as its model takes it, or why it is not tested.

    Attributes:
        model: None where it is not tested.
        y: (n_participants,) rank-normal values, or categories 0, 1, ... (of a binary trait 1 is a case, of an unordered
            one 0 is the commonest); NaN for who does not count.
        levels: values of the categories, in the order of y.
        reason: why it is not tested; None where it is.
    """

    model: Model | None
    y: NDArray[np.float64]
    levels: tuple[float, ...] = ()
    reason: str | None = None

    @property
    def n(self) -> int:
        """People who count."""
        return int(np.isfinite(self.y).sum())

    @property
    def cases(self) -> int | None:
        """Cases of a binary trait."""
        return int(np.nansum(self.y)) if self.model == "logistic" else None


def prepare(values: NDArray[np.float64], kind: str, n_covariates: int, rules: Rules) -> Prepared:
    """Return a trait as it is tested.

    Args:
        values: (n_participants,) numbers, or numbers that stand for categories; NaN where missing.
        kind: continuous, binary, ordinal, categorical or phecode.
        n_covariates: columns of the covariates, with the intercept.
        rules: see `Rules`.
    """
    if kind == "continuous":
        prepared = _continuous(values, rules)
    elif kind == "phecode":
        prepared = _coded(values, np.array([0.0, 1.0]), "logistic")
    elif kind == "binary":
        prepared = _binary(values)
    else:
        prepared = _categories(values, rules, ordered=kind == "ordinal")
    reason = prepared.reason or _too_few(prepared, n_covariates, rules)
    return prepared if reason is None else Prepared(None, prepared.y, reason=reason)


def rank_normal(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return normal quantiles of (rank - 0.5) / n, NaN where missing; ties share their mean rank."""
    present = np.isfinite(values)
    result = np.full(len(values), np.nan)
    result[present] = special.ndtri((stats.rankdata(values[present]) - 0.5) / present.sum())
    return result


def _continuous(values: NDArray[np.float64], rules: Rules) -> Prepared:
    distinct, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    if len(distinct) < rules.continuous_values:
        return _categories(values, rules, ordered=True)
    if counts.max() >= rules.max_share * counts.sum():
        return _binned(values, rules)
    return Prepared("linear", rank_normal(values))


def _binary(values: NDArray[np.float64]) -> Prepared:
    levels = np.unique(values[np.isfinite(values)])
    if len(levels) > 2:
        return Prepared(None, values, reason=f"{len(levels)} values where a binary trait has two")
    return _coded(values, levels, "logistic")


def _categories(values: NDArray[np.float64], rules: Rules, *, ordered: bool) -> Prepared:
    """Return an ordered or unordered trait; values that too few people have count as missing."""
    levels, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    levels, counts = levels[counts >= rules.min_cases], counts[counts >= rules.min_cases]
    if len(levels) <= 2:
        return _coded(values, levels, "logistic")
    if ordered:
        return _coded(values, levels, "ordinal")
    commonest = int(counts.argmax())
    return _coded(values, np.append(levels[commonest], np.delete(levels, commonest)), "multinomial")


def _binned(values: NDArray[np.float64], rules: Rules) -> Prepared:
    """Return three bins of equal sizes as far as ties allow, cut between values as PHESANT's equalSizedBins does."""
    present = values[np.isfinite(values)]
    low, high = np.quantile(present, [1 / 3, 2 / 3])
    if low == present.min():
        rest = present[present > low]
        middle = np.median(rest)
        upper = np.nextafter(middle, np.inf) if middle == rest.min() else middle
        cuts = np.nextafter(low, np.inf), upper
    elif high == present.max():
        rest = present[present < high]
        middle = np.median(rest)
        cuts = (np.nextafter(middle, np.inf) if middle == rest.min() else middle), high
    elif low == high:
        cuts = low, np.nextafter(low, np.inf)
    else:
        cuts = low, high
    bins = np.where(np.isfinite(values), np.searchsorted(cuts, values, side="right").astype(float), np.nan)
    counts = np.array([(bins == each).sum() for each in range(3)])
    if (counts >= rules.min_cases).all():
        return _coded(bins, np.arange(3.0), "ordinal")
    if counts[0] + counts[1] >= rules.min_cases and counts[2] >= rules.min_cases:
        return _coded(np.where(bins == 0, 1.0, bins), np.array([1.0, 2.0]), "logistic")
    return _coded(np.where(bins == 2, 1.0, bins), np.array([0.0, 1.0]), "logistic")


def _coded(values: NDArray[np.float64], levels: NDArray[np.float64], model: Model) -> Prepared:
    """Return a categorical trait coded 0, 1, ... in the order of its levels; a value that is none is missing."""
    y = np.full(len(values), np.nan)
    for code, level in enumerate(levels):
        y[values == level] = code
    if len(levels) < 2:
        # One value that counts, or none: its people are told, as controls or as who is there.
        return Prepared(None, y, reason=_one_value(values, levels))
    return Prepared(model, y, tuple(float(level) for level in levels))


def _one_value(values: NDArray[np.float64], levels: NDArray[np.float64]) -> str:
    people = int(np.isfinite(values).sum())
    if not people:
        return "nobody of these people has a value"
    return f"{len(levels)} of its values has enough people, of {people} with any: two are needed"


def _too_few(prepared: Prepared, n_covariates: int, rules: Rules) -> str | None:
    n = prepared.n
    if prepared.model == "logistic":
        cases = int(np.nansum(prepared.y))
        for who, count in (("cases", cases), ("controls", n - cases)):
            if count < rules.min_cases:
                return f"{count} {who}: at least {rules.min_cases} are needed"
    if n < rules.min_people:
        return f"{n} people: at least {rules.min_people} are needed"
    weights = (len(prepared.levels) - 1) * (n_covariates + 1)
    if prepared.model == "multinomial" and weights > rules.max_weights:
        return f"{len(prepared.levels)} categories: {weights} coefficients, at most {rules.max_weights} are fitted"
    return None
