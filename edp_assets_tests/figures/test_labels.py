"""Which points interactive figures name: the strongest, those of one place once, no text over another or cut."""

from __future__ import annotations

import json

import numpy as np
import polars as pl

from edp_assets.figures.interactive import percentage_pval
from edp_assets.figures.interactive_gwas import volcano
from edp_assets.figures.labels import shared
from edp_assets.figures.specification import Figure


def inside(figure: Figure) -> list[tuple[float, float, str]]:
    """Return the labels whose texts lie in the frame, where it is 800 pixels wide."""
    (left, right), (bottom, top) = figure.x.range, figure.y.range
    units = (right - left) / 800, (top - bottom) / (figure.height - 70)  # type: ignore[operator]
    return [
        (x, y, text) for x, y, text in figure.labels
        if left <= x - 3 * len(text) * units[0] and x + 3 * len(text) * units[0] <= right  # type: ignore[operator]
        and bottom < y and y + 22 * units[1] <= top  # type: ignore[operator]
    ]  # fmt: skip


def test_percentage_pval__selected_codes_are_named_the_strongest_first_and_shared_places_once() -> None:
    k = np.arange(30)
    table = pl.DataFrame(
        {"icd10": [f"K{i:02}" for i in k], "description": "", "cluster": k % 2, "cases": k, "percentage": k * 1.0,
         "p_fisher": [0.1**i for i in k], "selected": k > 20}
    )  # fmt: skip
    table = table.with_columns(percentage=pl.when(pl.col("icd10") == "K28").then(29.0).otherwise("percentage"))
    table = table.with_columns(p_fisher=pl.when(pl.col("icd10") == "K28").then(1e-29).otherwise("p_fisher"))
    figure = percentage_pval(table, {}, max_p=1e-3)
    assert [text for *_, text in figure.labels] == ["K28, K29", "K27", "K26", "K25", "K24", "K23", "K22", "K21"]
    assert inside(figure) == figure.labels


def test_volcano__traits_of_the_same_statistics_share_a_label_and_no_label_covers_another_or_is_cut() -> None:
    traits = ["Chronic nonalcoholic liver disease", "Phecode 571, with those below it", "top", "x" * 30, "y" * 30]
    phewas = pl.DataFrame(
        {
            "trait": "t", "description": traits, "category": "a", "kind": "binary", "n": 9,
            "beta": [2.0, 2.0, -1.0, 1.0, 1.02], "neg_log_10_p_value": [30.0, 30.0, 60.0, 10.0, 10.1],
            "neg_log_10_p_bonferroni": 9.0,
        },
        schema_overrides={"neg_log_10_p_value": pl.Float32},
    )  # fmt: skip
    figure = volcano(phewas)
    assert [text for *_, text in figure.labels] == [
        "top",
        "Chronic nonalcoholic l… / Phecode 571, with thos…",
        "y" * 30,
    ]
    assert inside(figure) == figure.labels
    json.dumps(figure.plain(), allow_nan=False)


def test_shared__tells_how_many_more_there_are() -> None:
    here = [(1.0, 2.0, "a"), (1.00000001, 2.0, "b" * 9), (1.0, 2.0, "c"), (1.1, 2.0, "d" * 9)]
    assert shared(here, 8, "; ") == [(1.0, 2.0, "a; bbbbb… +1"), (1.1, 2.0, "ddddddd…")]
