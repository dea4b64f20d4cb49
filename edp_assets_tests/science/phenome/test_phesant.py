"""PHESANT's results: its columns and words, and p-values that no float holds."""

from __future__ import annotations

import io

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edp_assets.science.phenome.phesant import COLUMNS, combined_results, p_value

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
        "level_betas": [None, None, None, [0.2, -0.3], None],
        "level_standard_errors": [None, None, None, [0.1, 0.1], None],
        "reason": [None, None, None, None, "4 cases: at least 10 are needed"],
    }
)


def test_combined_results__phesant_s_columns() -> None:
    text = combined_results(RESULTS).write_csv(separator="\t", quote_style="never")
    table = pl.read_csv(io.StringIO(text), separator="\t", infer_schema=False)
    assert tuple(table.columns) == COLUMNS
    assert table.columns[:8] == ["varName", "varType", "n", "beta", "lower", "upper", "pvalue", "resType"]
    assert table["varName"].to_list() == [
        "30760", "diet-meat", "diet-meat#fish", "diet-meat#none", "phecode:571.5", "fatigue"
    ]  # fmt: skip
    assert table["resType"].unique(maintain_order=True).to_list() == [
        "LINEAR", "MULTINOMIAL-LOGISTIC", "LOGISTIC-BINARY", "ORDERED-LOGISTIC"
    ]  # fmt: skip
    assert table["n"].to_list() == ["900", "980", "980", "980", "60/940(1000)", "950"]
    assert table.row(0)[3:7] == ("0.5", "0.4804", "0.5196", "5.000e-541")
    assert table.row(1)[3:7] == ("-999", "-999", "-999", "1.000e-03")
    assert table.row(3)[3:6] == ("-0.3", "-0.496", "-0.104")
    assert float(table.row(3)[6]) == pytest.approx(0.0026998, rel=1e-3)


@given(st.floats(0, 300))
def test_p_value__is_read_back(neg_log_10_p: float) -> None:
    assert float(p_value(neg_log_10_p)) == pytest.approx(10**-neg_log_10_p, rel=6e-4)
