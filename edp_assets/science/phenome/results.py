"""What a scan found as rows of a table: one a trait, its statistics or why it has none, corrected for their number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from edp_assets.science.phenome.scan import TraitResult
from edp_assets.science.phenotypes.enrichment import corrected


def results_frame(dictionary: pl.DataFrame, results: Sequence[TraitResult | None], phenotype: int) -> pl.DataFrame:
    """Return the rows of one phenotype.

    Args:
        dictionary: trait, description, category, kind, levels, reason; one row a trait.
        results: of each row; None where the dictionary has a reason.
        phenotype: its place among those scanned.
    """
    rows = [
        _untested(reason) if result is None else _tested(result, phenotype, levels)
        for result, levels, reason in zip(results, dictionary["levels"], dictionary["reason"], strict=True)
    ]
    numbers: dict[str, Any] = dict.fromkeys(("beta", "standard_error", "neg_log_10_p_value"), pl.Float64)
    lists = {
        "levels": pl.List(pl.String),
        "level_betas": pl.List(pl.Float64),
        "level_standard_errors": pl.List(pl.Float64),
    }
    counts = {"model": pl.String, "n": pl.Int64, "cases": pl.Int64}
    schema: dict[str, Any] = {**counts, **numbers, "levels": pl.List(pl.String), **lists, "reason": pl.String}
    frame = dictionary.select("trait", "description", "category", "kind").hstack(pl.DataFrame(rows, schema=schema))
    p = frame["neg_log_10_p_value"].to_numpy()
    tested = np.isfinite(p)
    bonferroni, q_value = np.full(len(p), np.nan), np.full(len(p), np.nan)
    bonferroni[tested], q_value[tested] = corrected(p[tested])
    more = {"neg_log_10_p_bonferroni": bonferroni, "neg_log_10_q_value": q_value}
    return frame.with_columns(pl.Series(name, values).fill_nan(None) for name, values in more.items())


def _untested(reason: str | None) -> dict[str, object]:
    return {"n": 0, "reason": reason}


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
        row["level_betas"] = result.level_beta[phenotype].tolist()
        row["level_standard_errors"] = result.level_standard_error[phenotype].tolist()
    return row


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
