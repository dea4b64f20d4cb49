"""A scan's results under the columns of PHESANT's results-combined.txt, tab separated as there.

A row a trait, so that rows are tests: `beta` is -999 where a trait has one a category, as PHESANT's is, and the
categories' own rows, named trait-reference#category as in its multinomial results, are a table of their own. `n` is
controls/cases(all) of a binary trait (PHESANT counts the first level of its factor first), reference/all of an
unordered one and reference#category of its categories. What a trait's field is to UK Biobank's catalogue (identifiers
of categories, whether it tells of the exposure) is not known, and left empty as PHESANT leaves what it has not.
Intervals are Wald's; PHESANT has those of unordered and ordered traits alike, but of the t distribution where the model
is linear and of the profile likelihood where it is logistic. p-values smaller than a float can be are written out all
the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import polars as pl

from edp_assets.science.genetics.tails import neg_log_10_p_from_z

COLUMNS = (
    "varName", "varType", "n", "beta", "lower", "upper", "pvalue", "resType", "varID", "description", "isExposure",
    "Cat1_ID", "Cat1_Title", "Cat2_ID", "Cat2_Title", "Cat3_ID", "Cat3_Title",
)  # fmt: skip
RESULT_TYPES = {
    "linear": "LINEAR",
    "logistic": "LOGISTIC-BINARY",
    "ordinal": "ORDERED-LOGISTIC",
    "multinomial": "MULTINOMIAL-LOGISTIC",
}
SEVERAL = "-999"
"""PHESANT's beta and interval of a trait that has one a category."""
HALF_WIDTH = 1.96
"""Half a 95% interval in standard errors, as PHESANT's of categories."""

Rows = Callable[[dict[str, Any]], Iterator[tuple[str, ...]]]


def combined_results(results: pl.DataFrame) -> pl.DataFrame:
    """Return the tested traits of one phenotype, the most significant first, as text under `COLUMNS`.

    Args:
        results: rows of the table `phewas`, of one phenotype.
    """
    return _table(results, lambda result: iter([_row(result)]))


def category_results(results: pl.DataFrame) -> pl.DataFrame:
    """Return the categories of the unordered traits, each against the reference, under the same columns."""
    return _table(results.filter(pl.col("model") == "multinomial"), _category_rows)


def _table(results: pl.DataFrame, rows_of: Rows) -> pl.DataFrame:
    tested = results.filter(pl.col("reason").is_null()).sort("neg_log_10_p_value", descending=True)
    rows = [row for result in tested.iter_rows(named=True) for row in rows_of(result)]
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


def _row(result: dict[str, Any]) -> tuple[str, ...]:
    n, p = result["n"], p_value(result["neg_log_10_p_value"])
    if result["model"] == "multinomial":
        name = f"{result['trait']}-{result['levels'][0]}"
        return name, result["kind"], f"{result['level_n'][0]}/{n}", *[SEVERAL] * 3, p, *_told(result)
    people = f"{n}" if result["cases"] is None else f"{n - result['cases']}/{result['cases']}({n})"
    interval = _interval(result["beta"], result["standard_error"])
    return result["trait"], result["kind"], people, *interval, p, *_told(result)


def _category_rows(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    reference, *others = zip(result["levels"], result["level_n"], strict=True)
    effects = zip(others, result["level_betas"], result["level_standard_errors"], strict=True)
    for (level, people), beta, error in effects:
        name, n = f"{result['trait']}-{reference[0]}#{level}", f"{reference[1]}#{people}"
        p = p_value(float(neg_log_10_p_from_z(np.float64(beta / error))))
        yield name, result["kind"], n, *_interval(beta, error), p, *_told(result)


def _told(result: dict[str, Any]) -> tuple[str, ...]:
    """Return the columns from resType on."""
    catalogue = "", "", result["category"], "", "", "", ""
    return RESULT_TYPES[result["model"]], result["trait"], result["description"], *catalogue


def _interval(beta: float, error: float) -> tuple[str, str, str]:
    bounds = beta, beta - HALF_WIDTH * error, beta + HALF_WIDTH * error
    return tuple(f"{value:.6g}" for value in bounds)  # type: ignore[return-value]
