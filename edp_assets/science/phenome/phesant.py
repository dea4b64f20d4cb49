"""A scan's results under the columns of PHESANT's results-combined.txt, tab separated as there.

`beta` is -999 where a trait has one a category, as PHESANT's is; the categories' own rows follow, named
trait-reference#category, as in its multinomial results. `n` is cases/controls(all) of a binary trait. p-values smaller
than a float can be are written out all the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from edp_assets.science.genetics.tails import neg_log_10_p_from_z

COLUMNS = ("varName", "varType", "n", "beta", "lower", "upper", "pvalue", "resType", "description", "Cat1_Title")
RESULT_TYPES = {
    "linear": "LINEAR",
    "logistic": "LOGISTIC-BINARY",
    "ordinal": "ORDERED-LOGISTIC",
    "multinomial": "MULTINOMIAL-LOGISTIC",
}
SEVERAL = "-999"
"""PHESANT's beta and interval of a trait that has one a category."""
HALF_WIDTH = 1.96
"""Half a 95% interval in standard errors, as PHESANT has it."""


def combined_results(results: pl.DataFrame) -> pl.DataFrame:
    """Return the tested traits of one phenotype, the most significant first, as text under `COLUMNS`.

    Args:
        results: rows of the table `phewas`, of one phenotype.
    """
    tested = results.filter(pl.col("reason").is_null()).sort("neg_log_10_p_value", descending=True)
    rows = [row for result in tested.iter_rows(named=True) for row in _rows(result)]
    return pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String), orient="row")


def p_value(neg_log_10_p: float) -> str:
    """Return a p-value with four digits, however small.

    >>> p_value(1.0), p_value(400.25)
    ('1.000e-01', '5.623e-401')
    """
    exponent = math.floor(-neg_log_10_p)
    mantissa = 10 ** (-neg_log_10_p - exponent)
    if round(mantissa, 3) >= 10:
        mantissa, exponent = mantissa / 10, exponent + 1
    return f"{mantissa:.3f}e{exponent:+03d}"


def _rows(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    told = RESULT_TYPES[result["model"]], result["description"], result["category"]
    name, kind, n = result["trait"], result["kind"], result["n"]
    p = p_value(result["neg_log_10_p_value"])
    if result["model"] != "multinomial":
        people = f"{n}" if result["cases"] is None else f"{result['cases']}/{n - result['cases']}({n})"
        yield name, kind, people, *_interval(result["beta"], result["standard_error"]), p, *told
        return
    reference, *others = result["levels"]
    yield f"{name}-{reference}", kind, f"{n}", SEVERAL, SEVERAL, SEVERAL, p, *told
    for level, beta, error in zip(others, result["level_betas"], result["level_standard_errors"], strict=True):
        of_level = p_value(float(neg_log_10_p_from_z(np.float64(beta / error))))
        yield f"{name}-{reference}#{level}", kind, f"{n}", *_interval(beta, error), of_level, *told


def _interval(beta: float, error: float) -> tuple[str, str, str]:
    bounds = beta, beta - HALF_WIDTH * error, beta + HALF_WIDTH * error
    return tuple(f"{value:.6g}" for value in bounds)  # type: ignore[return-value]
