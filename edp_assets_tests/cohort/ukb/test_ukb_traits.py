"""Further fields as traits: which column, and of what kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from edp_assets.cohort.config import load_cohort
from edp_assets.cohort.traits import read_traits
from edp_assets.cohort.ukb import traits as ukb_traits
from edp_assets.cohort.ukb.exports import ImportRefusedError
from edp_assets.cohort.ukb.report import Report


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["1", "0", "-1", "-3", "1", "0", "1", None], "binary", [1, 0, None, None, 1, 0, 1, None]),
        (["1", "0", "-818", "-121", "1", "0", "1", None], "binary", [1, 0, None, None, 1, 0, 1, None]),
        (["1", "2", "3", "-7", "1", "2", "3", None], "categorical", ["1", "2", "3", None, "1", "2", "3", None]),
        ([str(-n) for n in range(8)], "binary", [0, *[None] * 7]),
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
    assert "trait 21001 is of instance 2, of 0, 2" in report.guessed
    with pytest.raises(ImportRefusedError, match="wanted a column of 99999, found none in the tables"):
        imported(table, traits=("99999",), out=tmp_path / "other")
    with pytest.raises(ImportRefusedError, match=r"wanted fields as 30760, .* found 'bmi'"):
        imported(table, traits=("bmi",), out=tmp_path / "other")


ANSWERS = [["1", "2"], ["1"], ["2", "3"], ["-7"], [], ["-3", "1"], ["3"], ["1"]]


@pytest.mark.parametrize(("layout", "file"), [("ukbconv", "ukb.csv"), ("rap", "ukb.csv"), ("rap", "ukb.parquet")])
def test_traits__each_answer_of_several_is_a_binary_trait(
    imported: Callable[..., Any],
    frame: Callable[..., pl.DataFrame],
    store: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layout: str,
    file: str,
) -> None:
    monkeypatch.setattr("edp_assets.cohort.ukb.traits.FEWEST", 2)
    if layout == "rap":
        whole = file.endswith("parquet")
        columns = {"p6138_i2": [given or None if whole else "|".join(given) or None for given in ANSWERS]}
    else:
        columns = {f"6138-2.{k}": [given[k] if k < len(given) else None for given in ANSWERS] for k in range(2)}
    table = store(frame(layout).with_columns(**{n: pl.Series(n, v) for n, v in columns.items()}), tmp_path / file)
    report = imported(table, traits=("6138",))
    traits = pl.read_parquet(tmp_path / "cohort" / "traits.parquet")
    # Who gave no answer is no control, nor who gave one that says that it is missing, but for what they did answer.
    assert traits.to_dict(as_series=False) | {"eid": None} == {
        "eid": None,
        "6138-2#1": [1, 1, 0, None, None, 1, 0, 1],
        "6138-2#2": [1, 0, 1, None, None, None, 0, 0],
        "6138-2#3": [0, 0, 1, None, None, None, 1, 0],
    }
    dictionary = pl.read_csv(tmp_path / "cohort" / "traits_dictionary.csv")
    assert dictionary["kind"].to_list() == ["binary"] * 3
    assert dictionary["description"][0] == "UK Biobank field 6138, instance 2: answer 1"
    assert any(line.startswith("trait 6138-2 is 3 binary traits, one an answer") for line in report.guessed)
    assert "2 values of trait 6138-2 that say do not know or prefer not to answer" in report.left


def test_traits__answers_of_few_people_are_counted_and_not_made(
    imported: Callable[..., Any], frame: Callable[..., pl.DataFrame], store: Callable[..., Path], tmp_path: Path
) -> None:
    table = store(frame("rap").with_columns(pl.Series("p6138_i2", ["1|2"] * 8)), tmp_path / "ukb.csv")
    report = imported(table, traits=("6138", "30760"))
    assert pl.read_parquet(tmp_path / "cohort" / "traits.parquet").columns == ["eid", "30760-0.0"]
    assert any("2 more are of fewer than 10 people, and not made" in line for line in report.guessed)


def test_traits__numbers_of_several_arrays_are_their_mean(
    imported: Callable[..., Any], frame: Callable[..., pl.DataFrame], store: Callable[..., Path], tmp_path: Path
) -> None:
    first = ["120", "130", None, "110", "-1", None, "140", "150"]
    second = ["122", "130", "99", None, "121", None, "141", "141"]
    table = store(
        frame("ukbconv").with_columns(pl.Series("4080-2.0", first), pl.Series("4080-2.1", second)), tmp_path / "ukb.csv"
    )
    report = imported(table, traits=("4080", "4080-2.1"))
    traits = pl.read_parquet(tmp_path / "cohort" / "traits.parquet")
    assert traits["4080-2"].to_list() == [121, 130, 99, 110, 121, None, 140.5, 145.5]
    assert traits["4080-2.1"].to_list() == ["122", "130", "99", None, "121", None, "141", "141"]  # alone: few values
    assert any(line.startswith("trait 4080-2 is continuous: the mean of its 2 arrays") for line in report.guessed)


def test_guess__twenty_whole_numbers_are_continuous_and_fewer_are_codes() -> None:
    for n, kind in ((20, "continuous"), (19, "categorical")):
        assert ukb_traits._guess(pl.Series([str(i) for i in range(n)]))[1] == kind


def test_answers__written_as_whole_or_decimal_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ukb_traits, "FEWEST", 2)
    long = pl.DataFrame({"row": [0, 1, 2, 2, 3], "text": ["1.0", "1", "2.0", "1.0", "-3.0"]})
    (made,) = ukb_traits._answers(long, 5, "6138-2", Report())
    assert (made.values.name, made.values.to_list()) == ("6138-2#1", [1, 1, 1, None, None])


def test_traits__a_field_and_its_column_are_one_trait(
    imported: Callable[..., Any], frame: Callable[..., pl.DataFrame], store: Callable[..., Path], tmp_path: Path
) -> None:
    imported(store(frame("rap"), tmp_path / "ukb.csv"), traits=("30760", "30760-0.0"))
    assert pl.read_parquet(tmp_path / "cohort" / "traits.parquet").columns == ["eid", "30760-0.0"]
    assert pl.read_csv(tmp_path / "cohort" / "traits_dictionary.csv")["trait"].to_list() == ["30760-0.0"]


def test_traits__a_negative_number_among_fractions_is_a_value_of_the_mean(
    imported: Callable[..., Any], frame: Callable[..., pl.DataFrame], store: Callable[..., Path], tmp_path: Path
) -> None:
    first, second = ["0.5", "-1", None, "2", "1", "1", "1", "1"], ["1.5", "-3", "-1", None, "1", "1", "1", "1"]
    columns = {f"4080-2.{k}": pl.Series(values) for k, values in enumerate((first, second))}
    imported(store(frame("ukbconv").with_columns(**columns), tmp_path / "ukb.csv"), traits=("4080",))
    found = pl.read_parquet(tmp_path / "cohort" / "traits.parquet")["4080-2"]
    assert found.to_list() == [1, -2, -1, 2, 1, 1, 1, 1]


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
