"""One pass over a file of summary statistics: of each phenotype what the checks need to know, in bounded memory.

What is measured is here; what of it is trouble, `statistics_checks.py` judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from edp_assets.science.genetics.inflation import Inflation, InflationStream
from edp_assets.science.genetics.tails import neg_log_10_p_from_z

PHENOTYPE = ("method", "cluster")
VARIANT = ("chromosome", "base_pair_location", "effect_allele", "other_allele")
STATISTICS = ("effect_allele_frequency", "beta", "standard_error", "neg_log_10_p_value", "n")
COLUMNS = (*PHENOTYPE, *VARIANT, *STATISTICS)
"""The columns that `summarise` reads."""

STANDARD_ERRORS = 6.0
"""How far chance is granted to move a single variant's effect or frequency, in standard errors: once in 10^9."""

P_SLACK = 0.01
P_SLACK_BINARY = 0.1
"""Of a binary trait: Firth's p is of the likelihood ratio, its error is Wald's (regenie's example: within 0.07)."""

_ROWS_AT_ONCE = 65_536
_LARGEST_Z = 37.0  # beyond it p-values are compared no longer: they agree that there is no doubt
_SCALE_BINS, _SCALE_WIDTH = 24_000, 0.005  # of ln(se sqrt(2 n f (1 - f))), from -60 to 60


@dataclass(frozen=True)
class Frequencies:
    """How a phenotype's effect allele frequencies compare with the genotype files', over the variants in common.

    Attributes:
        compared: variants in common.
        mean_difference: mean |f - reference|; 0 where none is in common.
        mean_by_chance: what it would be of this many people drawn from the files'.
        largest_difference: largest |f - reference|, less six standard errors of such a draw, at least 0.
        flipped: variants whose frequency fits the other allele's, and not its own.
    """

    compared: int = 0
    mean_difference: float = 0.0
    mean_by_chance: float = 0.0
    largest_difference: float = 0.0
    flipped: int = 0


@dataclass(frozen=True)
class PhenotypeSummary:
    """What one phenotype's summary statistics hold.

    Attributes:
        method: of the phenotype.
        cluster: of the phenotype; None where it has none.
        variants: rows.
        n: people analysed, the fewest of any variant.
        inflation: lambda GC, and how far chance moves it.
        not_finite: rows where beta, its error, -log10 p or the frequency is no number, the error not above 0, or
            -log10 p below 0.
        p_not_of_beta: rows whose p-value is not that of z = beta / standard_error, nor of one within slack (1 + |z|).
        sd: standard deviation of the phenotype, by the median of se sqrt(2 n f (1 - f)); NaN without rows. Of a binary
            trait, 1 / sqrt(prevalence (1 - prevalence)).
        error_misfits: rows whose standard error is `max_error_ratio` times above or below what sd, n and f give.
        largest_effect: largest |beta| less six standard errors, at least 0.
        repeated: rows whose variant stands before them already.
        frequencies: against the genotype files.
        thinned: rows of a large p are not stored; `inflation` is of all variants all the same.
    """

    method: str
    cluster: int | None
    variants: int
    n: int
    inflation: Inflation
    not_finite: int
    p_not_of_beta: int
    sd: float
    error_misfits: int
    largest_effect: float
    repeated: int
    frequencies: Frequencies
    thinned: bool = False


def summarise(
    batches: Iterable[pl.DataFrame], reference: pl.DataFrame, max_error_ratio: float, p_slack: float = P_SLACK
) -> list[PhenotypeSummary]:
    """Return what each phenotype's statistics hold, in order of appearance.

    Args:
        batches: frames of `COLUMNS`; phenotypes may alternate, the rows of a phenotype come by chromosome.
        reference: VARIANT and `frequency` of the effect allele, of variants drawn at random (`draw_reference`).
        max_error_ratio: see `PhenotypeSummary.error_misfits`.
        p_slack: see `PhenotypeSummary.p_not_of_beta`; P_SLACK_BINARY for a binary trait.
    """
    found: dict[tuple[str, int | None], _Phenotype] = {}
    both = _either_order(reference)
    for batch in _larger(batches):
        for part in batch.partition_by(*PHENOTYPE, maintain_order=True):
            key = part.select(PHENOTYPE).row(0)
            found.setdefault(key, _Phenotype()).add(part, both, p_slack)
    return [phenotype.summary(method, cluster, max_error_ratio) for (method, cluster), phenotype in found.items()]


def of_thinned(summaries: Iterable[PhenotypeSummary], notes: Iterable[Mapping[str, Any]]) -> list[PhenotypeSummary]:
    """Return summaries with the inflation over all variants where rows of a large p are not stored.

    Args:
        summaries: from `summarise`.
        notes: of each phenotype what its file notes: method, cluster, n, variants, lambda_gc, effective_variants,
            blocks, stored_max_p. A phenotype of which no row is stored has a note and no summary.
    """
    found = {(summary.method, summary.cluster): summary for summary in summaries}
    for note in notes:
        key = note["method"], note["cluster"]
        if note["stored_max_p"] < 1:
            told = Inflation(*(note[each.name] for each in fields(Inflation)))
            empty = _Phenotype(n=note["n"]).summary(*key, max_error_ratio=1.0)
            found[key] = replace(found.get(key, empty), inflation=told, thinned=True)
    return list(found.values())


def _larger(batches: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Join small frames, as a file of small row groups gives them: each costs a millisecond, whatever it holds."""
    held: list[pl.DataFrame] = []
    for batch in batches:
        held.append(batch.select(COLUMNS))
        if sum(frame.height for frame in held) >= _ROWS_AT_ONCE:
            yield pl.concat(held)
            held = []
    if held:
        yield pl.concat(held)


def _either_order(reference: pl.DataFrame) -> pl.DataFrame:
    """Return the reference with each variant's alleles in both orders, the frequency that of the first."""
    swapped = reference.rename({"effect_allele": "other_allele", "other_allele": "effect_allele"})
    swapped = swapped.with_columns(frequency=1 - pl.col("frequency")).select(reference.columns)
    return pl.concat([reference, swapped]).unique(list(VARIANT), keep="first")


@dataclass
class _Phenotype:
    """What is kept of a phenotype while its rows go by."""

    variants: int = 0
    n: int = 2**62
    chromosomes: dict[str, int] = field(default_factory=dict)
    inflation: InflationStream = field(default_factory=InflationStream)
    not_finite: int = 0
    p_not_of_beta: int = 0
    scales: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_SCALE_BINS, np.int64))
    largest_effect: float = 0.0
    repeats: _Repeats = field(default_factory=lambda: _Repeats())
    compared: list[pl.DataFrame] = field(default_factory=list)

    def add(self, rows: pl.DataFrame, reference: pl.DataFrame, p_slack: float) -> None:
        self.variants += rows.height
        f, beta, error, p, n = (rows[name].cast(pl.Float64).to_numpy() for name in STATISTICS)
        self.n = min(self.n, int(n.min()))
        with np.errstate(invalid="ignore"):
            sound = np.isfinite(beta) & np.isfinite(error) & np.isfinite(p) & np.isfinite(f) & (error > 0) & (p >= 0)
        self.not_finite += int((~sound).sum())
        stretches = rows["chromosome"].rle().struct.unnest()
        codes = [self.chromosomes.setdefault(name, len(self.chromosomes)) for name in stretches["value"]]
        position = rows["base_pair_location"].to_numpy()
        self.inflation.add(p, np.repeat(codes, stretches["len"]), position)
        self.repeats.add(stretches, position, rows.select(VARIANT[1:]).hash_rows().to_numpy())
        beta, error, p, n, f = beta[sound], error[sound], p[sound], n[sound], f[sound]
        if not len(beta):
            return
        self.p_not_of_beta += _p_not_of_beta(beta, error, p, n, p_slack)
        self.largest_effect = max(self.largest_effect, float((np.abs(beta) - STANDARD_ERRORS * error).max()))
        varies = (f > 0) & (f < 1)
        scale = np.log(error[varies]) + 0.5 * np.log(2 * n[varies] * f[varies] * (1 - f[varies]))
        bins = np.clip((scale / _SCALE_WIDTH).astype(np.int64) + _SCALE_BINS // 2, 0, _SCALE_BINS - 1)
        self.scales += np.bincount(bins, minlength=_SCALE_BINS)
        self.compared.append(_in_common(rows, reference))

    def summary(self, method: str, cluster: int | None, max_error_ratio: float) -> PhenotypeSummary:
        sd, misfits = float("nan"), 0
        if total := self.scales.sum():
            middle = int(np.searchsorted(np.cumsum(self.scales), total / 2))
            sd = float(np.exp((middle - _SCALE_BINS // 2 + 0.5) * _SCALE_WIDTH))
            reach = int(np.log(max_error_ratio) / _SCALE_WIDTH)
            misfits = int(total - self.scales[max(middle - reach, 0) : middle + reach + 1].sum())
        return PhenotypeSummary(
            method=method,
            cluster=cluster,
            variants=self.variants,
            n=self.n,
            inflation=self.inflation.result(),
            not_finite=self.not_finite,
            p_not_of_beta=self.p_not_of_beta,
            sd=sd,
            error_misfits=misfits,
            largest_effect=self.largest_effect,
            repeated=self.repeats.count(),
            frequencies=_compare(self.compared),
        )


class _Repeats:
    """Counts variants that stand twice: by hashes within a chromosome's stretch of rows, which go when it ends."""

    def __init__(self) -> None:
        self._chromosome: str | None = None
        self._hashes: list[NDArray[np.uint64]] = []
        self._bounds = (2**62, -1)
        self._ended: dict[str, tuple[int, int]] = {}
        self._count = 0

    def add(self, stretches: pl.DataFrame, position: NDArray[np.int64], hashes: NDArray[np.uint64]) -> None:
        start = 0
        for length, chromosome in stretches.select("len", "value").iter_rows():
            here, start = slice(start, start + length), start + length
            if chromosome != self._chromosome:
                self._end()
                self._chromosome = chromosome
            if chromosome in self._ended:
                # The chromosome's rows came before: what lies among them again is a repeat, or out of order.
                low, high = self._ended[chromosome]
                self._count += int(((position[here] >= low) & (position[here] <= high)).sum())
            first, last = int(position[here].min()), int(position[here].max())
            self._bounds = min(self._bounds[0], first), max(self._bounds[1], last)
            self._hashes.append(hashes[here])

    def _end(self) -> None:
        if self._chromosome is None:
            return
        hashes = np.concatenate(self._hashes)
        self._count += len(hashes) - len(np.unique(hashes))
        low, high = self._ended.get(self._chromosome, self._bounds)
        self._ended[self._chromosome] = min(low, self._bounds[0]), max(high, self._bounds[1])
        self._hashes, self._bounds, self._chromosome = [], (2**62, -1), None

    def count(self) -> int:
        self._end()
        return self._count


def _p_not_of_beta(
    beta: NDArray[np.float64], error: NDArray[np.float64], p: NDArray[np.float64], n: NDArray[np.float64], slack: float
) -> int:
    """Count p-values that are neither the normal distribution's of beta / error, nor Student's, nor between the two.

    How many covariates the degrees of freedom lack is not in the statistics: up to half of the people are granted.
    """
    z = np.abs(beta) / error
    plain = z < _LARGEST_Z
    # Student's t with df degrees of freedom stands for a normal of about sqrt(df ln(1 + t^2 / df)), which is smaller.
    df = np.maximum(n / 2, 1)
    smallest = np.sqrt(df * np.log1p(np.square(z) / df)) * (1 - 1 / (2 * df))
    nodes, tabulated = _z_table()
    of_p = np.interp(p, tabulated, nodes)
    granted = slack * (1 + z)
    wrong = plain & ((of_p < smallest - granted) | (of_p > z + granted))
    # Beyond the table p must at least be as small as Student's would be at its end.
    wrong |= ~plain & (of_p < np.minimum(smallest, _LARGEST_Z) - granted)
    return int(wrong.sum())


@cache
def _z_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return z from 0 to 40 and its -log10 p: between its nodes z is interpolated to 1e-4, ten times as fast."""
    z = np.concatenate([np.linspace(0, 1, 20_001), np.linspace(1, 40, 40_001)[1:]])
    return z, neg_log_10_p_from_z(z)


def _in_common(rows: pl.DataFrame, reference: pl.DataFrame) -> pl.DataFrame:
    """Return the frequencies and people of the rows that the reference holds (of `_either_order`)."""
    at = rows.filter(pl.col("base_pair_location").is_in(reference["base_pair_location"].implode()))
    return at.join(reference, on=list(VARIANT), maintain_order="left").select(
        f=pl.col("effect_allele_frequency"), n=pl.col("n").cast(pl.Float64), reference=pl.col("frequency")
    )


def _compare(parts: list[pl.DataFrame]) -> Frequencies:
    if not any(part.height for part in parts):
        return Frequencies()
    f, n, reference = pl.concat(parts).drop_nulls().to_numpy().T
    difference, other = np.abs(f - reference), np.abs(f - (1 - reference))
    error = np.sqrt(np.maximum(reference * (1 - reference), 1 / (2 * n)) / (2 * n))
    # Flipped: off its own frequency by more than chance, and by far nearer to the other allele's.
    flipped = (difference > STANDARD_ERRORS * error) & (other < difference / 2)
    return Frequencies(
        compared=len(f),
        mean_difference=float(difference.mean()),
        mean_by_chance=float(error.mean() * np.sqrt(2 / np.pi)),
        largest_difference=float(max((difference - STANDARD_ERRORS * error).max(), 0.0)),
        flipped=int(flipped.sum()),
    )


def sd_of_binary(cases: int, controls: int) -> float:
    """Return what `PhenotypeSummary.sd` of a binary trait is to be: 1 / sqrt(prevalence (1 - prevalence))."""
    n = cases + controls
    return float(n / np.sqrt(cases * controls))
