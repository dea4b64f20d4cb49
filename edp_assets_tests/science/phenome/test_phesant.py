"""PHESANT's results: its columns and words, and p-values that no float holds."""

from __future__ import annotations

import io

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edp_assets.science.phenome.phesant import COLUMNS, category_results, combined_results, p_value

RESULTS = pl.DataFrame(
    {
        "trait": ["30760", "phecode:571.5", "fatigue", "diet", "rare"],
        "description": ["HDL", "Fatty liver", "Fatigue", "Diet", "Rare"],
        "category": ["blood", "digestive", "health", "life", "health"],
        "kind": ["continuous", "phecode", "ordinal", "categorical", "binary"],
        "model": ["linear", "logistic", "ordinal", "multinomial", None],
        "n": [900, 1000, 950, 980, 1000],
        "cases": [None, 60, None, None, None],
        "beta": [0.5, -0.25, 0.1, None, None],
        "standard_error": [0.01, 0.1, 0.1, None, None],
        "neg_log_10_p_value": [540.301, 1.9063, 0.4985, 3.0, None],
        "levels": [None, None, None, ["meat", "fish", "none"], None],
        "level_n": [None, None, None, [700, 200, 80], None],
        "level_betas": [None, None, None, [0.2, -0.3], None],
        "level_standard_errors": [None, None, None, [0.1, 0.1], None],
        "reason": [None, None, None, None, "4 cases: at least 10 are needed"],
    }
)


def read(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table as it is read from its file."""
    text = table.write_csv(separator="\t", quote_style="never")
    return pl.read_csv(io.StringIO(text), separator="\t", infer_schema=False)


def test_combined_results__phesant_s_columns_and_a_row_a_test() -> None:
    table = read(combined_results(RESULTS))
    assert tuple(table.columns) == COLUMNS
    assert table.columns[:8] == ["varName", "varType", "n", "beta", "lower", "upper", "pvalue", "resType"]
    assert table["varName"].to_list() == ["30760", "diet-meat", "phecode:571.5", "fatigue"]
    assert table["varID"].to_list() == ["30760", "diet", "phecode:571.5", "fatigue"]
    assert table["resType"].to_list() == ["LINEAR", "MULTINOMIAL-LOGISTIC", "LOGISTIC-BINARY", "ORDERED-LOGISTIC"]
    # As its logs have them: controls, then cases, all; of an unordered trait the reference's people and all.
    assert table["n"].to_list() == ["900", "700/980", "940/60(1000)", "950"]
    assert table.row(0)[3:7] == ("0.5", "0.4804", "0.5196", "5.000e-541")
    assert table.row(1)[3:7] == ("-999", "-999", "-999", "1.000e-03")
    assert table["Cat1_Title"].to_list() == ["blood", "life", "digestive", "health"]


def test_category_results__each_against_the_reference() -> None:
    table = read(category_results(RESULTS))
    assert tuple(table.columns) == COLUMNS
    assert table.select("varName", "n", "varID").rows() == [
        ("diet-meat#fish", "700#200", "diet"), ("diet-meat#none", "700#80", "diet")
    ]  # fmt: skip
    assert table.row(1)[3:6] == ("-0.3", "-0.496", "-0.104")
    assert float(table.row(1)[6]) == pytest.approx(0.0026998, rel=1e-3)
    assert category_results(RESULTS.filter(trait="30760")).height == 0
    # A categorical trait of which two categories are left is binary.
    two = RESULTS.filter(trait="phecode:571.5").with_columns(kind=pl.lit("categorical"))
    assert category_results(two).height == 0
    assert combined_results(two)["resType"].to_list() == ["LOGISTIC-BINARY"]


@given(st.floats(0, 300))
def test_p_value__is_read_back(neg_log_10_p: float) -> None:
    assert float(p_value(neg_log_10_p)) == pytest.approx(10**-neg_log_10_p, rel=6e-4)
