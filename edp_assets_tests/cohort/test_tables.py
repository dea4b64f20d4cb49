"""Participants, diagnoses, withdrawals, and the file formats they come in."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edp_assets.cohort.config import load_cohort
from edp_assets.cohort.problems import CohortError, Problem
from edp_assets.cohort.schema import PARTICIPANTS, TRAIT_DICTIONARY, empty
from edp_assets.cohort.tables import read_diagnoses, read_participants
from edp_assets.cohort.values import ranges

FORMATS = ("csv", "tsv", "csv.gz", "tsv.gz", "parquet")


def store(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame by its file's ending."""
    if path.suffix == ".parquet":
        frame.write_parquet(path)
        return
    text = frame.write_csv(separator="\t" if ".tsv" in path.suffixes else ",").encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def kinds(problems: list[Problem], severity: str) -> list[tuple[str, str]]:
    return [(p.where, p.found) for p in problems if p.severity == severity]


def set_participants(folder: Path, **columns: object) -> None:
    """Write participants of the given columns."""
    pl.DataFrame(columns).write_csv(folder / "participants.csv")


def test_read_participants__valid(cohort_folder: Path) -> None:
    read = read_participants(load_cohort(cohort_folder))
    assert read.problems == []
    assert read.excluded.height == 0
    assert read.require().schema == empty(PARTICIPANTS).schema
    assert read.table.height == 8


@pytest.mark.parametrize("ending", FORMATS)
def test_read_participants__same_in_every_format(
    cohort_folder: Path, edit: Callable[..., None], participants_frame: pl.DataFrame, ending: str
) -> None:
    expected = read_participants(load_cohort(cohort_folder)).table
    store(participants_frame.with_columns(pl.col("eid").cast(pl.Int64)), cohort_folder / f"people.{ending}")
    edit(cohort_folder / "cohort.toml", "participants.csv", f"people.{ending}")
    read = read_participants(load_cohort(cohort_folder))
    assert read.problems == []
    assert read.table.equals(expected)


rows = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(0, 120)),
        st.one_of(st.none(), st.sampled_from([0, 1])),
        st.one_of(st.none(), st.text("abc ,;\"'\t\nàß|", min_size=1, max_size=6).filter(lambda s: s == s.strip())),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=rows)
def test_read_participants__round_trip_through_every_format(cohort_folder: Path, values: list) -> None:
    frame = pl.DataFrame(
        [(f"00{i}", *row) for i, row in enumerate(values)],
        schema={"eid": pl.String, "age": pl.Float64, "sex": pl.Int64, "imaging_centre": pl.String},
        orient="row",
    )
    toml = (cohort_folder / "cohort.toml").read_text()
    for ending in FORMATS:
        store(frame, cohort_folder / f"people.{ending}")
        lines = [f'participants = "people.{ending}"' if "participants" in line else line for line in toml.splitlines()]
        (cohort_folder / "cohort.toml").write_text("\n".join(lines))
        table = read_participants(load_cohort(cohort_folder)).require()
        assert table.equals(frame.with_columns(pl.col("sex").cast(pl.Float64)).sort("eid"))


def test_read_participants__byte_order_mark_crlf_quotes_blanks_and_blank_lines(cohort_folder: Path) -> None:
    text = '\ufeff"eid", age ,imaging_centre\r\n" 007 ", 50 ,"Reading, ""north"""\r\n\r\n8,NA,\r\n\r\n'
    (cohort_folder / "participants.csv").write_bytes(text.encode())
    table = read_participants(load_cohort(cohort_folder)).require()
    assert table.rows() == [("007", 50.0, 'Reading, "north"'), ("8", None, None)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"\n\n", "an empty file"),
        (b"\xef\xbb\xbf", "an empty file"),
        (b"eid,age\n", "a header and no rows"),
        (b"eid,age\r\n", "a header and no rows"),
        (b"age,sex\n1,2\n", 'no column "eid"'),
        (b"EID,age\n1,2\n", 'no column "eid", did you mean "EID"'),
        (b"eid;age\n1;2\n", "seems to use ';'"),
        (b"eid\tage\n1\t2\n", r"seems to use '\\t'"),
        (b"eid,age,age\n1,2,3\n", '2 columns "age"'),
        (b"eid,age\n1,2\n3,4,5\n", "row 3: 3 fields for 2 columns"),
        (b"eid,age\n1,\xe9\n", "byte 0xe9"),
        ("eid,age\n1,2\n".encode("utf-16"), "UTF-8 text"),
        (b"eid,age\r1,2\r", "lines that end in CR"),
        (b'eid,age\n1,"2\n3,4\n', "a quote that is never closed"),
    ],
)  # fmt: skip
def test_read_participants__unreadable_text(cohort_folder: Path, content: bytes, message: str) -> None:
    (cohort_folder / "participants.csv").write_bytes(content)
    with pytest.raises(CohortError, match=message):
        read_participants(load_cohort(cohort_folder)).require()


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("people.csv.gz", lambda raw: raw[: len(raw) // 2], "a readable file"),
        ("people.csv.gz", lambda raw: raw[:60] + b"\0" * 40 + raw[100:], "a readable file"),
        ("people.parquet", lambda raw: raw[: len(raw) // 2], "a Parquet file"),
        ("people.parquet", lambda _: b"eid,age\n1,2\n", "a Parquet file"),
        ("people.xlsx", lambda raw: raw, r"ends in \.csv"),
    ],
)  # fmt: skip
def test_read_participants__damaged_file(
    cohort_folder: Path,
    edit: Callable[..., None],
    participants_frame: pl.DataFrame,
    name: str,
    damage: Callable[[bytes], bytes],
    message: str,
) -> None:
    path = cohort_folder / name
    store(participants_frame, path)
    path.write_bytes(damage(path.read_bytes()))
    edit(cohort_folder / "cohort.toml", "participants.csv", name)
    with pytest.raises(CohortError, match=message):
        read_participants(load_cohort(cohort_folder)).require()


def test_read_participants__missing_file_suggests_its_neighbour(cohort_folder: Path) -> None:
    (cohort_folder / "participants.csv").rename(cohort_folder / "participant.csv")
    with pytest.raises(CohortError, match=r'no file participants\.csv, did you mean "participant\.csv"'):
        read_participants(load_cohort(cohort_folder)).require()


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pl.Series("eid", [1.0, 2.0]), "type Float64"),
        (pl.Series("age", [[1.0], [2.0]]), "type List"),
    ],
)
def test_read_participants__parquet_of_wrong_types(
    cohort_folder: Path, edit: Callable[..., None], column: pl.Series, message: str
) -> None:
    pl.DataFrame({"eid": [1, 2]}).with_columns(column).write_parquet(cohort_folder / "people.parquet")
    edit(cohort_folder / "cohort.toml", "participants.csv", "people.parquet")
    with pytest.raises(CohortError, match=message):
        read_participants(load_cohort(cohort_folder)).require()


def test_read_participants__parquet_types_of_other_writers(cohort_folder: Path, edit: Callable[..., None]) -> None:
    frame = pl.DataFrame(
        {
            "eid": pl.Series(["1", "2"], dtype=pl.Categorical),
            "sex": [True, False],
            "age": pl.Series([50.5, float("nan")], dtype=pl.Float32),
            "imaging_date": pl.Series(["2017-03-04", None]).str.to_date(),
        }
    )
    frame.write_parquet(cohort_folder / "people.parquet")
    edit(cohort_folder / "cohort.toml", "participants.csv", "people.parquet")
    read = read_participants(load_cohort(cohort_folder))
    table = read.table.select("eid", "age", "imaging_date")
    assert table.rows() == [("1", 50.5, "2017-03-04"), ("2", None, None)]


def test_read_participants__wrong_eids_are_refused_with_their_rows(cohort_folder: Path) -> None:
    text = "eid,age\n1000123.0,50\n,51\nNA,52\na b,53\n../x,54\n-1,55\n1000124,56\n"
    (cohort_folder / "participants.csv").write_text(text)
    read = read_participants(load_cohort(cohort_folder))
    found = kinds(read.problems, "refused")
    assert ("row 2", '"1000123.0"') in found
    assert [where for where, _ in found] == ["row 3", "row 4", "row 2", "row 5", "row 6", "row 7"]
    assert read.table["eid"].to_list() == ["1000124"]


def test_read_participants__texts_for_numbers_are_refused_with_their_rows(cohort_folder: Path) -> None:
    set_participants(
        cohort_folder, eid=["1", "2"], age=["fifty", "51"], sex=["1", "male"], imaging_date=["4/3/2017", ""]
    )
    found = kinds(read_participants(load_cohort(cohort_folder)).problems, "refused")
    assert found == [
        ("row 2, eid 1", 'age is "fifty"'),
        ("row 3, eid 2", 'sex is "male"'),
        ("row 2, eid 1", 'imaging_date is "4/3/2017"'),
    ]


def test_read_participants__impossible_values_are_missing_and_counted(cohort_folder: Path) -> None:
    set_participants(
        cohort_folder, eid=["1", "2", "3"], age=["-1", "121", "inf"], sex=["2", "0", "1"],
        bmi=["4", "151", "25"], pc1=["inf", "1", "2"]
    )  # fmt: skip
    read = read_participants(load_cohort(cohort_folder))
    assert read.table.select("age", "sex", "bmi", "pc1").rows() == [
        (None, None, None, None), (None, 0, None, 1), (None, 1, 25, 2)
    ]  # fmt: skip
    assert len(kinds(read.problems, "excluded")) == 7
    assert read.excluded["reason"].value_counts().sort("reason").rows() == [
        ("impossible age", 3), ("impossible bmi", 2), ("impossible pc1", 1), ("impossible sex", 1)
    ]  # fmt: skip


def test_read_participants__equal_rows_once_and_contradicting_rows_refused(cohort_folder: Path) -> None:
    text = "eid,age,sex\n1,50,0\n2,51,1\n1,50.0,0\n2,51,0\n3,52,1\n"
    (cohort_folder / "participants.csv").write_text(text)
    read = read_participants(load_cohort(cohort_folder))
    assert kinds(read.problems, "excluded") == [("row 4, eid 1", "a row that repeats an earlier one")]
    assert kinds(read.problems, "refused") == [("rows 3, 5, eid 2", "rows that differ in sex")]
    assert read.excluded.rows() == [("1", None, "participants", "duplicate row")]
    assert read.table["eid"].to_list() == ["1", "2", "3"]


def test_read_participants__eids_alone(cohort_folder: Path) -> None:
    (cohort_folder / "participants.csv").write_text("eid\n1\n2\n1\n")
    read = read_participants(load_cohort(cohort_folder))
    assert read.require().rows() == [("1",), ("2",)]
    assert len(kinds(read.problems, "note")) == 6
    assert "computed from the genotypes" in next(p.remedy for p in read.problems if p.wanted.endswith("pc1 ... pc10"))


def test_read_participants__notes_absent_constant_and_incomplete_covariates(cohort_folder: Path) -> None:
    set_participants(
        cohort_folder, eid=["1", "2", "3"], age=["50", "51", ""], sex=["1", "1", "1"], BMI=["20", "21", "22"]
    )
    notes = [found for _, found in kinds(read_participants(load_cohort(cohort_folder)).problems, "note")]
    assert "1 of 3 participants have no age" in notes
    assert "sex is 1.0 for everyone" in notes
    assert 'no column "bmi", did you mean "BMI"?' in notes
    assert 'no column "pc1"' in notes  # told once for all ten: they are computed
    set_participants(cohort_folder, eid=["1", "2"], PC1=["0", "1"], PC2=["0", "1"])
    notes = [found for _, found in kinds(read_participants(load_cohort(cohort_folder)).problems, "note")]
    assert 'no column "pc1", did you mean "PC1"?' in notes
    set_participants(cohort_folder, eid=["1", "2"], pc1=["0", "1"])
    notes = [found for _, found in kinds(read_participants(load_cohort(cohort_folder)).problems, "note")]
    assert 'no column "pc10"' in notes  # some are there: none is computed


def test_read_participants__factors_of_an_organ(cohort_folder: Path, edit: Callable[..., None]) -> None:
    edit(
        cohort_folder / "cohort.toml",
        "[organs.liver]",
        '[organs.liver]\nadjust_for = ["scanner", "dose", "weigth", "embedding_pc1", "age_squared"]',
    )
    set_participants(
        cohort_folder, eid=["1", "2"], age=["50", "51"], scanner=["A", "7"], dose=["1", "2.5"], weight=["1", "2"]
    )
    read = read_participants(load_cohort(cohort_folder))
    assert read.table.select("scanner", "dose").rows() == [("A", 1.0), ("7", 2.5)]
    assert kinds(read.problems, "refused") == []  # a factor that is in no table at all, `factors` tells


@pytest.mark.parametrize(
    "content", ["1000002\n1000005\n9\n", "eid\n1000002\n 1000005 \n", "eid,date\n1000002,x\n\n1000005,y\n"]
)
def test_read_participants__the_withdrawn_are_counted_and_not_named(
    cohort_folder: Path, edit: Callable[..., None], content: str
) -> None:
    edit(cohort_folder / "cohort.toml", "scans =", 'withdrawn = "withdrawn.csv"\nscans =')
    (cohort_folder / "withdrawn.csv").write_text(content)
    cohort = load_cohort(cohort_folder)
    read = read_participants(cohort)
    assert read.table.height == 6
    assert not {"1000002", "1000005"} & set(read.table["eid"])
    assert read.excluded.rows() == [(None, None, "participants", "withdrawn")] * 2
    diagnoses = read_diagnoses(cohort, set(read.table["eid"]))
    assert "1000002" not in set(diagnoses.table["eid"])
    assert not any("1000002" in str(p) or "1000005" in str(p) for p in read.problems + diagnoses.problems)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, r"no file withdrawn\.csv"), (b"1000002.0\n", '"1000002.0"'), (b"\xff\xfe1\x00", "UTF-8")],
)
def test_read_participants__an_unreadable_list_of_the_withdrawn_is_refused(
    cohort_folder: Path, edit: Callable[..., None], content: bytes | None, message: str
) -> None:
    edit(cohort_folder / "cohort.toml", "scans =", 'withdrawn = "withdrawn.csv"\nscans =')
    if content is not None:
        (cohort_folder / "withdrawn.csv").write_bytes(content)
    with pytest.raises(CohortError, match=message):
        read_participants(load_cohort(cohort_folder)).require()


def test_read_participants__an_empty_list_of_the_withdrawn_is_nobody(
    cohort_folder: Path, edit: Callable[..., None]
) -> None:
    edit(cohort_folder / "cohort.toml", "scans =", 'withdrawn = "withdrawn.csv"\nscans =')
    (cohort_folder / "withdrawn.csv").touch()
    assert read_participants(load_cohort(cohort_folder)).require().height == 8


def test_read_diagnoses__codes_in_one_spelling_once_a_person(cohort_folder: Path) -> None:
    (cohort_folder / "diagnoses.csv").write_text("eid,icd10,extra\n1,K76.0,x\n1,k760,y\n1, K760 ,z\n2,I50,x\n")
    read = read_diagnoses(load_cohort(cohort_folder), {"1", "2"})
    assert read.problems == []
    assert read.table.rows() == [("1", "K760"), ("2", "I50")]


def test_read_diagnoses__malformed_codes_are_noted_with_rows(cohort_folder: Path) -> None:
    (cohort_folder / "diagnoses.csv").write_text("eid,icd10\n1,K760\n1,K76|E11\n2,\n2,hello\n")
    read = read_diagnoses(load_cohort(cohort_folder), {"1", "2"})
    assert kinds(read.problems, "note") == [
        ("row 3, eid 1", '"K76|E11"'), ("row 4, eid 2", '""'), ("row 5, eid 2", '"hello"')
    ]  # fmt: skip
    assert read.table.rows() == [("1", "K760")]


def test_read_diagnoses__unknown_eids_are_excluded_once_each(cohort_folder: Path) -> None:
    (cohort_folder / "diagnoses.csv").write_text("eid,icd10\n1,K760\n99,K760\n99,E11\n98,E11\n")
    read = read_diagnoses(load_cohort(cohort_folder), {"1"})
    assert kinds(read.problems, "excluded") == [
        ("row 3, eid 99", "unknown eid 99, rows: 2"), ("row 5, eid 98", "unknown eid 98, rows: 1")
    ]  # fmt: skip
    assert read.excluded["reason"].to_list() == ["unknown eid"] * 2
    assert read_diagnoses(load_cohort(cohort_folder), None).table.height == 4


def test_read_diagnoses__the_earliest_date_stays(cohort_folder: Path) -> None:
    (cohort_folder / "diagnoses.csv").write_text(
        "eid,icd10,date\n1,K760,2012-05-01\n1,K76.0,2010-01-31 00:00:00\n2,I50,2010-02-30\n"
    )
    read = read_diagnoses(load_cohort(cohort_folder), {"1", "2"})
    assert read.table.rows() == [("1", "K760", "2010-01-31"), ("2", "I50", None)]
    assert kinds(read.problems, "note") == [("row 4, eid 2", 'date is "2010-02-30"')]


def test_read_diagnoses__missing_column(cohort_folder: Path) -> None:
    (cohort_folder / "diagnoses.csv").write_text("eid,icd_10\n1,K760\n")
    with pytest.raises(CohortError, match='no column "icd10", did you mean "icd_10"'):
        read_diagnoses(load_cohort(cohort_folder), {"1"}).require()


def test_read_diagnoses__very_many_of_one_kind_become_one_problem(cohort_folder: Path) -> None:
    (cohort_folder / "diagnoses.csv").write_text("eid,icd10\n" + "1,bad\n" * 1500)
    (problem,) = read_diagnoses(load_cohort(cohort_folder), {"1"}).problems
    assert problem.where == "rows 2-1501"
    assert problem.found == '1500 rows, the first: "bad"'


@given(st.sets(st.integers(1, 60)))
def test_ranges__hold_exactly_the_rows(numbers: set[int]) -> None:
    parts = [part.split("-") for part in ranges(list(numbers)).split(", ") if part]
    assert {n for part in parts for n in range(int(part[0]), int(part[-1]) + 1)} == numbers


@pytest.mark.parametrize("table", [PARTICIPANTS, TRAIT_DICTIONARY])
def test_schema__every_column_says_what_it_holds(table: dict) -> None:
    assert all(column.meaning for column in table.values())
