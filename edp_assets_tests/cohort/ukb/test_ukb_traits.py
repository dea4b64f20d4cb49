"""Further fields as traits: which column, and of what kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from edp_assets.cohort.config import load_cohort
from edp_assets.cohort.traits import read_traits
from edp_assets.cohort.ukb.exports import ImportRefusedError


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["1", "0", "-1", "-3", "1", "0", "1", None], "binary", [1, 0, None, None, 1, 0, 1, None]),
        (["1", "0", "-818", "-121", "1", "0", "1", None], "binary", [1, 0, None, None, 1, 0, 1, None]),
        (["1", "2", "3", "-7", "1", "2", "3", None], "categorical", ["1", "2", "3", "-7", "1", "2", "3", None]),
        (["-1", "0.5", "-3", "2", "1", "1", "1", "1"], "continuous", [-1, 0.5, -3, 2, 1, 1, 1, 1]),
        (
            ["Never", "Daily", "Do not know", "Never", "Daily", "x", "1", None],
            "categorical",
            ["Never", "Daily", None, "Never", "Daily", "x", "1", None],
        ),
    ],
)
def test_traits__kinds_and_coded_missing(
    imported: Callable[..., Any],
    frame: Callable[..., pl.DataFrame],
    store: Callable[..., Path],
    tmp_path: Path,
    values: list[str | None],
    kind: str,
    expected: list[object],
) -> None:
    table = store(frame("rap").with_columns(pl.Series("p1558_i2", values)), tmp_path / "ukb.csv")
    report = imported(table, traits=("1558",))
    read = read_traits(load_cohort(tmp_path / "cohort"))
    assert read.problems == []
    assert read.table["1558-2.0"].to_list() == expected
    dictionary = pl.read_csv(tmp_path / "cohort" / "traits_dictionary.csv")
    assert dictionary.select("trait", "kind").rows() == [("1558-2.0", kind)]
    assert any(line.startswith(f"trait 1558-2.0 is {kind}") for line in report.guessed)


def test_choose_traits__the_imaging_visit_unless_a_column_is_named(
    imported: Callable[..., Any], frame: Callable[..., pl.DataFrame], store: Callable[..., Path], tmp_path: Path
) -> None:
    table = store(frame("ukbconv"), tmp_path / "ukb.csv")
    report = imported(table, traits=("21001", "p21003_i0"))
    traits = pl.read_parquet(tmp_path / "cohort" / "traits.parquet")
    assert traits.columns == ["eid", "21001-2.0", "21003-0.0"]
    assert traits["21001-2.0"].to_list() == [25.25, 26.25, 27.25, 28.25, 29.25, 30.25, None, None]
    assert "trait 21001 is its column 21001-2.0, of 2 instances and arrays" in report.guessed
    with pytest.raises(ImportRefusedError, match="wanted a column of 99999, found none in the tables"):
        imported(table, traits=("99999",), out=tmp_path / "other")
    with pytest.raises(ImportRefusedError, match=r"wanted fields as 30760, .* found 'bmi'"):
        imported(table, traits=("bmi",), out=tmp_path / "other")


def test_import_ukb__a_withdrawal_leaves_every_table(
    imported: Callable[..., Any], frame: Callable[..., pl.DataFrame], store: Callable[..., Path], tmp_path: Path
) -> None:
    table = store(frame("rap"), tmp_path / "ukb.csv")
    imported(table, traits=("30760",))
    (tmp_path / "w.csv").write_text("1000001\n")
    imported(table, traits=("30760",), withdrawn=tmp_path / "w.csv", update=True)
    imported(table, update=True)
    folder = tmp_path / "cohort"
    for name in ("participants.csv", "diagnoses.csv", "scans.csv"):
        assert "1000001" not in (folder / name).read_text().replace("1000001_", "").replace("/1000001", ""), name
    assert "1000001" not in pl.read_parquet(folder / "traits.parquet")["eid"]
    assert (folder / "withdrawn.csv").read_text() == "1000001\n"
    toml = folder / "cohort.toml"
    toml.write_text(toml.read_text().replace('"withdrawn.csv"', '"mine.csv"'))
    with pytest.raises(
        ImportRefusedError, match=r"--withdrawn: wanted what cohort.toml names .mine.csv., found withdrawn"
    ):
        imported(table, withdrawn=tmp_path / "w.csv", update=True)
