"""Phecodes: their numbers, who is a case, a control or neither, and the published tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edp_assets.cohort.phecodes import read_phecode_map
from edp_assets.science.phenome.phecodes import PhecodeMap, canonical, map_diagnoses, parents, ranges

DATA = Path(__file__).resolve().parents[3] / "../shared/data/phecode"
PHECODES = st.tuples(st.integers(1, 999), st.integers(0, 99))


@given(PHECODES, st.integers(0, 2), st.integers(0, 3))
def test_canonical__is_one_spelling_of_a_number(parts: tuple[int, int], leading: int, trailing: int) -> None:
    number = parts[0] + parts[1] / 100
    text = f"{'0' * leading}{parts[0]}.{parts[1]:02d}{'0' * trailing}"
    found = canonical(text)
    assert float(found) == pytest.approx(number)
    assert canonical(found) == found
    assert canonical(f" {text} ") == found
    assert "." not in found or not found.endswith("0")


@given(PHECODES)
def test_parents__are_shorter_and_end_at_the_whole_number(parts: tuple[int, int]) -> None:
    phecode = canonical(f"{parts[0]}.{parts[1]:02d}")
    above = parents(phecode)
    assert all(phecode.startswith(up) and up != phecode for up in above)
    assert ([phecode, *above])[-1] == str(parts[0])
    assert all(canonical(up) == up for up in above if not up.endswith(".0"))


@given(st.lists(st.tuples(PHECODES, PHECODES), max_size=4))
def test_ranges__are_what_was_written(bounds: list[tuple[tuple[int, int], tuple[int, int]]]) -> None:
    text = ", ".join(f"{a[0]:03d}.{a[1]:02d}-{b[0]:03d}.{b[1]:02d}" for a, b in bounds)
    found = ranges(text)
    np.testing.assert_allclose(np.ravel(found), np.ravel([[a[0] + a[1] / 100, b[0] + b[1] / 100] for a, b in bounds]))


@pytest.mark.parametrize("text", ["GU_582", "", "250.2.1", "-1", "250,2"])
def test_canonical__of_no_phecode_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"wanted a phecode as a number, such as 250\.2, found"):
        canonical(text)


def test_ranges__of_words_are_refused() -> None:
    with pytest.raises(ValueError, match=r"wanted exclusions as 249-250\.99, found 'diabetes'"):
        ranges("249-250.99, diabetes")


def small_map(**more: object) -> PhecodeMap:
    codes = [("E11", "250.2"), ("E112", "250.22"), ("E10", "250.1"), ("N40", "600"), ("I10", "401.1"), ("I10", "401")]
    rows = [
        ("250.2", "Type 2 diabetes", "endocrine", None, "249-250.99", True),
        ("250.22", "Renal manifestations", "endocrine", None, "249-250.99", True),
        ("250.1", "Type 1 diabetes", "endocrine", None, "249-250.99", True),
        ("600", "Hyperplasia of prostate", "genitourinary", 1.0, "185-187.99, 600-602.99", True),
        ("401.1", "Essential hypertension", "circulatory", None, "401-405.99", False),
        ("401", "Hypertension", "circulatory", None, "401-405.99", True),
    ]
    names = ["phecode", "description", "category", "sex", "exclude", "rollup"]
    definitions = pl.DataFrame(rows, schema=names, orient="row")
    return PhecodeMap(pl.DataFrame(codes, schema=["icd10", "phecode"], orient="row"), definitions, **more)  # type: ignore[arg-type]


PEOPLE = pl.Series([str(i) for i in range(6)])
SEX = np.array([0, 0, 1, 1, 1, np.nan])
DIAGNOSES = pl.DataFrame(
    {
        "eid": ["0", "1", "1", "2", "3", "5", "9", "4", "4"],
        "icd10": ["E1121", "E109", "I10", "N40", "E119", "N40", "E11", "Z999", "I10"],
    }
)


def status_of(found: object, phecode: str) -> list[float | None]:
    place = found.table["phecode"].to_list().index(phecode)  # type: ignore[attr-defined]
    return [None if np.isnan(value) else value for value in found.status([place])[:, 0]]  # type: ignore[attr-defined]


def test_map_diagnoses__cases_controls_and_neither() -> None:
    found = map_diagnoses(DIAGNOSES, PEOPLE, SEX, small_map())
    assert found.table["phecode"].to_list() == ["250", "250.1", "250.2", "250.22", "401", "401.1", "600"]
    assert status_of(found, "250.2") == [1, None, 0, 1, 0, 0]  # who has type 1 is no control of type 2
    assert status_of(found, "250.22") == [1, None, 0, None, 0, 0]
    assert status_of(found, "250") == [1, 1, 0, 1, 0, 0]  # the parent of all three
    assert status_of(found, "401.1") == [0, 1, 0, 0, 1, 0]
    assert status_of(found, "600") == [None, None, 1, 0, 0, None]  # males alone, and not who is of unknown sex
    parent = found.table.row(0, named=True)
    assert (parent["description"], parent["category"], parent["exclude"]) == (
        "Phecode 250, with those below it", "endocrine", "249-250.99"
    )  # fmt: skip


def test_map_diagnoses__a_parent_without_a_row_is_excluded_by_what_holds_it() -> None:
    known = small_map()
    wider = pl.lit("360-379.99")
    definitions = known.definitions.with_columns(
        exclude=pl.when(pl.col("phecode").is_in(["250.22", "250.1"])).then(wider).otherwise("exclude")
    )
    found = map_diagnoses(DIAGNOSES, PEOPLE, SEX, PhecodeMap(known.codes, definitions))
    # Two of the three below 250 are wider by what they complicate, and do not hold it.
    assert found.table.filter(phecode="250")["exclude"].to_list() == ["249-250.99"]


def test_map_diagnoses__a_parent_without_a_row_is_of_one_sex_where_all_below_it_are() -> None:
    known = small_map()
    of_250 = pl.col("phecode").str.starts_with("250")
    for sexes, wanted in (({"250.1": 1.0, "250.2": 0.0}, None), ({"250.1": 1.0, "250.2": 1.0, "250.22": 1.0}, 1.0)):
        sex = pl.col("phecode").replace_strict(sexes, default=None, return_dtype=pl.Float64)
        definitions = known.definitions.with_columns(sex=pl.when(of_250).then(sex).otherwise("sex"))
        found = map_diagnoses(DIAGNOSES, PEOPLE, SEX, PhecodeMap(known.codes, definitions))
        assert found.table.filter(phecode="250")["sex"].to_list() == [wanted]


def test_map_diagnoses__both_bounds_of_an_exclusion_count_and_a_number_alone_is_itself() -> None:
    known = small_map()
    for text, neither in (("590-600", [2]), ("600-610", [2]), ("600", [2]), ("590-599.99", []), ("250.1", [1])):
        exclude = pl.when(pl.col("phecode") == "250.2").then(pl.lit(text)).otherwise("exclude")
        found = map_diagnoses(
            DIAGNOSES, PEOPLE, np.ones(6), PhecodeMap(known.codes, known.definitions.with_columns(exclude=exclude))
        )
        of_prostate = [5] if neither == [2] else []
        wanted = [1, 0, 0, 1, 0, 0]
        assert status_of(found, "250.2") == [None if i in neither + of_prostate else wanted[i] for i in range(6)], text


def test_map_diagnoses__codes_that_the_map_lacks_are_shortened_and_counted() -> None:
    found = map_diagnoses(DIAGNOSES, PEOPLE, SEX, small_map())
    # E1121 counts for E112, E109 for E10, E119 for E11; Z999 for nothing.
    assert (found.by_category, found.unmapped) == (3, 1)


def test_map_diagnoses__codes_that_the_map_has_without_a_phecode_count_for_none() -> None:
    known = small_map()
    listed = pl.DataFrame({"icd10": ["E118"], "phecode": [None]}, schema=known.codes.schema)
    diagnoses = pl.DataFrame({"eid": ["0", "1", "2"], "icd10": ["E118", "E1181", "E119"]})
    found = map_diagnoses(
        diagnoses, PEOPLE, SEX, PhecodeMap(pl.concat([known.codes, listed]), known.definitions, known.excluded)
    )
    assert status_of(found, "250.2") == [0, 0, 1, 0, 0, 0]
    assert (found.by_category, found.unmapped) == (1, 2)


def test_map_diagnoses__pairs_go_before_ranges() -> None:
    found = map_diagnoses(DIAGNOSES, PEOPLE, SEX, small_map(excluded={"250.2": frozenset({"401"})}))
    assert status_of(found, "250.2") == [1, None, 0, 1, None, 0]  # hypertension excludes now, type 1 still hers
    assert status_of(found, "250.1") == [None, 1, 0, None, 0, 0]


def test_map_diagnoses__nobody_has_any() -> None:
    found = map_diagnoses(DIAGNOSES[:0], PEOPLE, SEX, small_map())
    assert (found.table.height, found.by_category, found.unmapped) == (0, 0, 0)


@pytest.fixture(scope="module")
def published() -> PhecodeMap:
    if not DATA.exists():
        pytest.skip("no public data in ../shared/data/phecode")
    files = {
        "phecode_map": DATA / "phecode_map_v1_2_icd10_beta.csv",
        "phecode_definitions": None,
        "phecode_exclusions": DATA / "phecode_exclude.csv",
    }
    found, problems = read_phecode_map(SimpleNamespace(**files, label=lambda path: path.name))  # type: ignore[arg-type]
    assert problems == []
    assert found is not None
    return found


def test_published_map__is_read_whole(published: PhecodeMap) -> None:
    with_phecode = published.codes.drop_nulls()
    assert with_phecode.height == 9366  # of 9,505 rows, 139 have no phecode
    assert published.definitions.height == 1570
    assert len(published.excluded) == 1785
    held = {code: set(part["phecode"]) for (code,), part in published.codes.group_by("icd10")}
    assert held["K760"] == {"571.5"}
    assert held["E112"] == {"250.22"}
    assert held["I500"] == {"428.1"}
    assert held["A159"] == {"10", "41"}
    assert held["N188"] == {None}
    of = {row["phecode"]: row for row in published.definitions.iter_rows(named=True)}
    assert (of["185"]["description"], of["185"]["sex"], of["185"]["category"]) == (
        "Cancer of prostate", 1.0, "neoplasms"
    )  # fmt: skip
    assert of["250.2"]["sex"] is None
    sexes = published.definitions["sex"].value_counts()
    assert dict(sexes.iter_rows())[0.0] > 50


def test_published_map__ranges_and_pairs_say_the_same(published: PhecodeMap) -> None:
    names = published.definitions["phecode"].to_list()
    numbers = np.array([float(name) for name in names])
    # The pairs are of an earlier edition: phecodes that it does not have are no difference.
    in_both = [name for name in names if name in published.excluded]
    differ = 0
    for name, text in published.definitions.select("phecode", "exclude").iter_rows():
        if name in published.excluded:
            near = np.any([(numbers > low - 1e-9) & (numbers < high + 1e-9) for low, high in ranges(text)], axis=0)
            by_range = {other for other, inside in zip(names, near, strict=True) if inside} & set(in_both) - {name}
            differ += by_range != (published.excluded[name] & set(in_both)) - {name}
    assert (len(in_both), differ) == (1501, 0)


def test_published_map__parents_without_a_row_have_their_own_exclusions(published: PhecodeMap) -> None:
    diagnoses = pl.DataFrame({"eid": "a", "icd10": published.codes["icd10"].unique(maintain_order=True)})
    by_range = replace(published, excluded={})
    found = map_diagnoses(diagnoses, pl.Series(["a"]), np.array([0.0]), by_range)
    names = found.table["phecode"].to_list()
    parents_alone = sorted(set(names) - set(published.definitions["phecode"]), key=float)
    numbers = found.excluding.toarray() > 0
    differ = []
    for parent in parents_alone:
        column = numbers[:, names.index(parent)]
        here = {name for name, near in zip(names, column, strict=True) if near}
        listed = published.excluded.get(parent)
        # The pairs are of another edition, whose phecodes are not all the same, and leave out the phecode itself.
        if listed is not None and (here ^ listed) & set(published.excluded) & set(names) - {parent}:
            differ.append(parent)
    assert len(parents_alone) > 60
    assert "250" in parents_alone
    assert differ == []


def test_published_map__real_codes_of_a_person(published: PhecodeMap) -> None:
    diagnoses = pl.DataFrame({"eid": ["a", "b", "c", "d"], "icd10": ["N183", "K721", "K760", "C61"]})
    found = map_diagnoses(diagnoses, pl.Series(["a", "b", "c", "d", "e"]), np.array([0, 0, 1, 1, 0.0]), published)
    assert status_of(found, "585.3") == [1, 0, 0, 0, 0]  # N183 is not in the map: N18 is
    assert status_of(found, "585") == [1, 0, 0, 0, 0]
    assert status_of(found, "571.5") == [0, None, 1, 0, 0]
    assert status_of(found, "185") == [None, None, 0, 1, None]
