"""Names of columns, packed arrays and single values."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edp_assets.cohort.ukb.columns import TITLES, Key, eid_column, parse_column
from edp_assets.cohort.ukb.values import Tally, parse_codes, parse_values, unpack

numbers = st.integers(0, 99999)
spellings = st.sampled_from(
    ["p{}_i{}_a{}", "participant.p{}_i{}_a{}", "{}-{}.{}", "f.{}.{}.{}", "x{}_{}_{}", "X{}.{}.{}", "n_{}_{}_{}"]
)


@settings(max_examples=60, deadline=None)
@given(spelling=spellings, field=numbers, instance=numbers, array=numbers)
def test_parse_column__every_spelling_comes_back(spelling: str, field: int, instance: int, array: int) -> None:
    assert parse_column(f" {spelling.format(field, instance, array)} ") == Key(field, instance, array)


@settings(max_examples=40, deadline=None)
@given(field=st.sampled_from(sorted(TITLES)), instance=st.none() | numbers, array=st.none() | numbers)
def test_parse_column__titles_come_back(field: int, instance: int | None, array: int | None) -> None:
    title = TITLES[field] + (f" | Instance {instance}" if instance is not None else "")
    title += f" | Array {array}" if array is not None else ""
    assert parse_column(title) == Key(field, instance or 0, array)


@pytest.mark.parametrize(
    "name", ["eid", "p", "p31x", "hesin.p31", "31", "31-0", "Sex of baby", "Genetic sex", "pc1", ""]
)
def test_parse_column__other_names_are_no_field(name: str) -> None:
    assert parse_column(name) is None


@pytest.mark.parametrize("name", ["eid", "f.eid", "participant.eid", "Participant ID", "EID"])
def test_eid_column__every_spelling(name: str) -> None:
    assert eid_column(["p31", name]) == name


codes = st.lists(st.from_regex(r"[A-Z][0-9]{2,3}", fullmatch=True), min_size=1, max_size=6)
meanings = st.sampled_from(["", " Crohn's disease", " Liver, not elsewhere classified", " Diabetes [type 2]"])


@settings(max_examples=60, deadline=None)
@given(codes=codes, meaning=meanings)
def test_unpack__every_packing_comes_back(codes: list[str], meaning: str) -> None:
    labelled = [code + meaning for code in codes]
    packed = ["|".join(labelled), json.dumps(labelled), json.dumps(labelled, separators=(",", ":")), str(labelled)]
    for elements in unpack(pl.Series(packed)).to_list():
        assert elements == labelled
        assert parse_codes(pl.Series(elements)).to_list() == codes


def test_unpack__nothing_and_empty_lists() -> None:
    assert unpack(pl.Series([None, "[]", "K760", "[K760, E119]"])).to_list() == [None, [], ["K760"], ["K760", "E119"]]


def test_parse_codes__what_is_no_code_is_null() -> None:
    texts = pl.Series(["k76.0", "K76.0 Fatty (change of) liver", "K760,E119", "-1", "Block K70-K77", "E11"])
    assert parse_codes(texts).to_list() == ["K760", "K760", None, None, None, "E11"]


@pytest.mark.parametrize(
    ("field", "texts", "expected", "coded", "unreadable"),
    [
        (31, ["0", "1", "Female", "male", "2", None], [0, 1, 0, 1, None, None], 0, 1),
        (52, ["1", "December", "13", "-1"], [1, 12, None, None], 1, 1),
        (21001, ["27.5", "-1", "-3", "Prefer not to answer", "x", "inf"], [27.5, *[None] * 5], 3, 2),
        (22009, ["-1", "-3", "2.5"], [-1, -3, 2.5], 0, 0),
        (22000, ["-1", "-3", "UKBiLEVEAX_b11", "95", "Batch_b001", "0"], ["BiLEVE"] * 3 + ["Axiom"] * 2 + [None], 0, 1),
        (54, ["11025", "11025.0", "Cheadle (imaging)", "-1"], ["11025", "11025", "Cheadle (imaging)", None], 1, 0),
    ],
)  # fmt: skip
def test_parse_values__codings_and_coded_missing(
    field: int, texts: list[str | None], expected: list[object], coded: int, unreadable: int
) -> None:
    tally = Tally()
    assert parse_values(field, pl.Series(texts, dtype=pl.String), tally).to_list() == expected
    assert (tally.coded, tally.unreadable) == (coded, unreadable)


def test_parse_values__dates() -> None:
    tally = Tally()
    texts = pl.Series(["2017-03-28", "2017-03-28T09:15:00", "28/03/2017", "2017-02-30"])
    days = parse_values(53, texts, tally).dt.to_string("%Y-%m-%d").to_list()
    assert days == ["2017-03-28", "2017-03-28", None, None]
    assert (tally.unreadable, tally.example) == (2, "28/03/2017")
