"""What a scan found as rows of a table: one a trait, its statistics or why it has none, corrected for their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from edp_assets.science.phenome.scan import TraitResult
from edp_assets.science.phenotypes.enrichment import corrected

STATISTICS: dict[str, Any] = {
    "model": pl.String,
    "n": pl.Int64,
    "cases": pl.Int64,
    **dict.fromkeys(("beta", "standard_error", "neg_log_10_p_value"), pl.Float32),
    "levels": pl.List(pl.String),
    "level_n": pl.List(pl.Int64),
    **dict.fromkeys(("level_betas", "level_standard_errors"), pl.List(pl.Float32)),
    "reason": pl.String,
}
"""Columns of one trait's result; those of all traits together follow from them."""


def results_frame(
    dictionary: pl.DataFrame,
    results: Sequence[TraitResult | None],
    phenotype: int,
    earlier: pl.DataFrame,
    sources: Sequence[str],
) -> tuple[pl.DataFrame, int]:
    """Return the rows of one phenotype, and how many of them are earlier ones.

    Args:
        dictionary: trait, description, category, kind, levels, reason; one row a trait.
        results: of each row; None where the dictionary has a reason, or the earlier row stands.
        phenotype: its place among those scanned.
        earlier: rows as these, of the traits there were before, maybe under other names.
        sources: what each row is made from, empty where the dictionary has a reason: an earlier one of the same stays.
    """
    # Not by name: a trait may have another's values, a parent phecode its only child's, and then both are known.
    kept = {row["source"]: row for row in earlier.select("source", *STATISTICS).iter_rows(named=True)}
    rows, copied = [], 0
    columns = dictionary["levels"], dictionary["reason"]
    for levels, reason, result, source in zip(*columns, results, sources, strict=True):
        before = kept.get(source)
        if reason is not None:
            rows.append({"n": 0, "reason": reason})
        elif before is not None:
            rows.append({name: before[name] for name in STATISTICS})
            copied += 1
        else:
            assert result is not None  # noqa: S101
            rows.append(_tested(result, phenotype, levels))
    found = pl.DataFrame(rows, schema=STATISTICS)
    frame = dictionary.select("trait", "description", "category", "kind").hstack(found)
    p = frame["neg_log_10_p_value"].cast(pl.Float64).to_numpy()
    tested = np.isfinite(p)
    bonferroni, q_value = np.full(len(p), np.nan), np.full(len(p), np.nan)
    bonferroni[tested], q_value[tested] = corrected(p[tested])
    more = {"neg_log_10_p_bonferroni": bonferroni, "neg_log_10_q_value": q_value}
    frame = frame.with_columns(pl.Series(name, values).fill_nan(None) for name, values in more.items())
    return frame.with_columns(source=pl.Series(sources, dtype=pl.String)), copied


def _tested(result: TraitResult, phenotype: int, names: pl.Series | None) -> dict[str, object]:
    row: dict[str, object] = {
        "model": result.model,
        "n": result.n,
        "cases": result.cases,
        "reason": result.reasons[phenotype],
    }
    if result.reasons[phenotype] is not None:
        return row
    statistics = (
        ("beta", result.beta),
        ("standard_error", result.standard_error),
        ("neg_log_10_p_value", result.neg_log_10_p),
    )
    row |= {name: _or_none(values[phenotype]) for name, values in statistics}
    if result.model == "multinomial":
        row["levels"] = [f"{level:g}" if names is None else names[int(level)] for level in result.levels]
        row["level_n"] = list(result.level_n)
        row["level_betas"] = result.level_beta[phenotype].tolist()
        row["level_standard_errors"] = result.level_standard_error[phenotype].tolist()
    return row


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def counted_reasons(reasons: pl.Series) -> list[tuple[str, int]]:
    """Return why traits were not tested, each with how many, the most frequent first.

    Reasons that differ by a count in front alone ("9 cases: ...") are one.
    """
    return Counter(reasons.drop_nulls().str.replace_all(r"^\d+ ", "")).most_common()
