"""The whole import: every spelling gives the same folder, `edp check` accepts it, an update touches what changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from edp_assets.cli import cli
from edp_assets.cohort.check import check_cohort
from edp_assets.cohort.config import load_cohort
from edp_assets.cohort.tables import read_diagnoses, read_participants
from edp_assets.cohort.ukb import diagnoses, write
from edp_assets.cohort.ukb.exports import ImportRefusedError
from edp_assets.cohort.ukb.report import Report

Import = Callable[..., Any]
Frame = Callable[..., pl.DataFrame]
Store = Callable[..., Path]


def test_import_ukb__check_accepts_the_folder(imported: Import, frame: Frame, store: Store, tmp_path: Path) -> None:
    table = store(frame("ukbconv"), tmp_path / "ukb.csv")
    (tmp_path / "v2g.csv").write_text("variant_id,rsid,gene,gene_id,score\n1_1001_A_G,rs1,PNPLA3,ENSG1,0.7\n")
    imported(table, variant_to_gene=tmp_path / "v2g.csv")
    toml = tmp_path / "cohort" / "cohort.toml"
    toml.write_text(toml.read_text().replace("min_cases = 20", 'min_cases = 2\ncodes = ["K76", "E11", "I50"]'))
    assert [p for p in check_cohort(tmp_path / "cohort", deep=True) if p.severity != "note"] == []
    cohort = load_cohort(tmp_path / "cohort")
    people = read_participants(cohort).require()
    assert people["eid"].to_list() == [str(1000001 + i) for i in range(8)]
    assert people["age"].to_list() == [60, 61, 62, 63, 64, 65, 56, 57]
    assert people["sex"].to_list() == [0, 1] * 4
    assert people["bmi"].to_list() == [25.25, 26.25, 27.25, 28.25, 29.25, 30.25, 26.5, 27.5]
    assert people["genotyping_array"].to_list() == ["BiLEVE", "BiLEVE", "Axiom", "Axiom", "BiLEVE", *["Axiom"] * 3]
    assert people["imaging_centre"].to_list() == ["11025", "11026"] * 3 + ["11010", "11011"]
    assert people["pc10"].to_list() == [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    diagnoses = read_diagnoses(cohort, set(people["eid"])).require()
    assert diagnoses.rows()[:3] == [
        ("1000001", "E119", "2010-01-02"), ("1000001", "K760", "2010-01-01"), ("1000002", "K760", "2011-01-01"),
    ]  # fmt: skip
    assert diagnoses.height == 9
    scans = pl.read_csv(tmp_path / "cohort" / "scans.csv")
    assert scans["organ"].to_list() == ["liver"] * 6
    assert scans["visit"].to_list() == [2] * 6


@pytest.mark.parametrize(
    ("layout", "ending", "more"),
    [
        ("rap", "csv", {}),
        ("rap", "parquet", {}),
        ("rap", "tsv.gz", {"packing": "json"}),
        ("participant", "csv", {"packing": "json"}),
        ("participant", "tsv", {"packing": "python"}),
        ("title", "csv", {}),
        ("r", "tab", {}),
        ("x", "txt", {}),
        ("ukbconv", "csv.gz", {}),
        ("ukbconv", "csv", {"head": b"\xef\xbb\xbf", "windows": True}),
    ],
)
def test_import_ukb__every_spelling_gives_the_same_tables(
    imported: Import, frame: Frame, store: Store, tmp_path: Path, layout: str, ending: str, more: dict[str, Any]
) -> None:
    imported(store(frame("ukbconv"), tmp_path / "plain.csv"), traits=("30760",))
    written = {name: value for name, value in more.items() if name != "packing"}
    other = store(frame(layout, more.get("packing", "bar")), tmp_path / f"other.{ending}", **written)
    imported(other, out=tmp_path / "again", traits=("30760",))
    for name in ("participants.csv", "diagnoses.csv", "scans.csv", "traits.parquet", "traits_dictionary.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "cohort" / name).read_bytes(), name


def test_import_ukb__parquet_lists_and_typed_columns(
    imported: Import, frame: Frame, store: Store, tmp_path: Path
) -> None:
    imported(store(frame("rap"), tmp_path / "plain.csv"))
    table = frame("rap").with_columns(
        pl.col("p41270").str.split("|"),
        pl.col("p41280_a0").str.to_date(),
        pl.col("eid").cast(pl.Int64),
        pl.col("p22000").cast(pl.Float64),
        pl.col("p21001_i2").cast(pl.Float64),
    )
    imported(store(table, tmp_path / "typed.parquet"), out=tmp_path / "again")
    for name in ("participants.csv", "diagnoses.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "cohort" / name).read_bytes(), name


def test_import_ukb__fields_of_several_tables_join(
    imported: Import, frame: Frame, store: Store, tmp_path: Path
) -> None:
    imported(store(frame("rap"), tmp_path / "plain.csv"))
    whole = frame("rap")
    dates = [name for name in whole.columns if name.startswith("p41280")]
    one = store(whole.drop(dates).reverse(), tmp_path / "one.csv")
    two = store(whole.select("eid", "p31", *dates), tmp_path / "two.tsv")
    imported(one, two, out=tmp_path / "again")
    for name in ("participants.csv", "diagnoses.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "cohort" / name).read_bytes(), name


def test_import_ukb__people_of_several_tables_are_put_together(
    imported: Import, frame: Frame, store: Store, tmp_path: Path
) -> None:
    whole = frame("rap")
    imported(store(whole, tmp_path / "plain.csv"))
    parts = [store(whole[rows], tmp_path / name) for name, rows in (("one.csv", slice(3)), ("two.csv", slice(2, 8)))]
    imported(*parts, out=tmp_path / "again")
    for name in ("participants.csv", "diagnoses.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "cohort" / name).read_bytes(), name


def test_paired__a_code_given_twice_has_the_earlier_of_its_dates() -> None:
    schema = {"eid": pl.Int64, "position": pl.Int32}
    codes = pl.DataFrame({"eid": [1, 1, 1], "position": [0, 1, 2], "code": ["K760", "E119", "K760"]},
                         schema_overrides=schema)  # fmt: skip
    days = pl.Series(["2012-05-01", "2013-01-01", "2011-03-01", "2010-01-01"]).str.to_date()
    dates = pl.DataFrame({"eid": [1] * 4, "position": [0, 1, 2, 3], "date": days}, schema_overrides=schema)
    table, lost = diagnoses._paired(codes, dates)
    assert table.select("icd10", pl.col("date").cast(pl.String)).rows() == [
        ("E119", "2013-01-01"), ("K760", "2011-03-01")
    ]  # fmt: skip
    assert lost == 1


def test_as_many__dates_at_other_places_than_codes_are_not_taken() -> None:
    codes = pl.DataFrame({"eid": [1, 1, 2, 2], "position": [0, 1, 0, 1], "code": ["K760", "E119"] * 2})
    dates = pl.DataFrame({"eid": [1, 1, 2, 2], "position": [0, 2, 0, 1], "date": ["a", "b", "c", "d"]})
    report = Report()
    assert diagnoses._as_many(codes, dates, report)["eid"].to_list() == [2, 2]
    assert report.left[0].startswith("2 dates (41280) of 1 people who have not as many dates as codes")


def test_genotyped__are_those_in_every_file(tmp_path: Path) -> None:
    paths = {}
    for chromosome, people in (("1", "abc"), ("2", "bcd")):
        paths[chromosome] = tmp_path / f"chr{chromosome}.bed"
        paths[chromosome].touch()
        paths[chromosome].with_suffix(".bim").touch()
        paths[chromosome].with_suffix(".fam").write_text("".join(f"{eid} {eid} 0 0 0 -9\n" for eid in people))
    report = Report()
    assert write._genotyped(paths, "chr{chromosome}.bed", report) == {"b", "c"}
    assert report.left == ["2 people in some of the 2 genotype files, but not in all"]


def test_import_ukb__tables_that_contradict_each_other_are_refused(
    imported: Import, frame: Frame, store: Store, tmp_path: Path
) -> None:
    whole = store(frame("rap"), tmp_path / "one.csv")
    sexes = store(frame("rap").select("eid", p31=pl.lit("1")), tmp_path / "two.csv")
    with pytest.raises(
        ImportRefusedError, match=r"two.csv: wanted 31-0.0 as .* found another value for 4 eids; remove"
    ):
        imported(whole, sexes)
    newer = frame("rap").select("eid", p41270=pl.col("p41270").str.replace("K760", "K761"))
    with pytest.raises(ImportRefusedError, match=r"field 41270 as .* found others for 3 eids; give the newer table"):
        imported(whole, store(newer, tmp_path / "three.csv"))
    again = store(pl.concat([frame("rap"), frame("rap")[2:3].with_columns(p31=pl.lit("1"))]), tmp_path / "four.csv")
    with pytest.raises(ImportRefusedError, match="rows that differ for 1 eids, the first 1000003; keep the right row"):
        imported(again)
    assert not (tmp_path / "cohort").exists()


def test_import_ukb__left_out_is_counted(imported: Import, frame: Frame, store: Store, tmp_path: Path) -> None:
    table = frame("rap")
    odd = table[:4].with_columns(eid=pl.Series(["-1", "", "1000001", "1000099"]))
    odd = odd.with_columns(pl.when(pl.col("eid") == "1000001").then(pl.lit(None)).otherwise("eid").alias("eid"))
    changed = pl.concat([table, table[:1], odd]).with_columns(
        p21001_i2=pl.when(pl.col("eid") == "1000002").then(pl.lit("-3")).otherwise("p21001_i2"),
        p31=pl.when(pl.col("eid") == "1000003").then(pl.lit("9")).otherwise("p31"),
        p41202=pl.lit("K760"),
        p22006=pl.lit("1"),
    )
    (tmp_path / "gone.csv").write_text("1000008\n")
    report = imported(store(changed, tmp_path / "ukb.csv"), withdrawn=tmp_path / "gone.csv")
    told = "\n".join(report.left)
    for line in (
        "2 rows without an eid", "1 rows with a negative eid", "1 rows that repeat",
        "1 people of the tables who withdrew",
        "1 people of the tables without genotypes", "1 values of field 21001 that say do not know",
        "1 values of field 31 that are none of its: missing; the first: '9'", "41202 (main diagnoses)",
        "22006 (genetic ethnic grouping)",
    ):  # fmt: skip
        assert line in told
    people = pl.read_csv(tmp_path / "cohort" / "participants.csv", infer_schema=False)
    assert "1000008" not in people["eid"]
    assert people.filter(eid="1000002")["bmi"].to_list() == ["21.5"]
    assert any("bmi of 1 people with an imaging visit is that of the first visit" in line for line in report.guessed)
    assert people.filter(eid="1000003")["sex"].to_list() == [None]
    assert (tmp_path / "cohort" / "withdrawn.csv").read_text() == "1000008\n"


def test_import_ukb__age_from_dates_is_said(imported: Import, frame: Frame, store: Store, tmp_path: Path) -> None:
    report = imported(store(frame("rap").drop("p21003_i2"), tmp_path / "ukb.csv"))
    people = pl.read_csv(tmp_path / "cohort" / "participants.csv")
    # Born about 15 January 1950, imaged 1 March 2017; the last two were not imaged.
    assert people["age"].to_list()[:1] == [67.1]
    assert people["age"].to_list()[6:] == [56, 57]
    assert any(
        line.startswith("age of 6 people with an imaging visit is its date (53) less") for line in report.guessed
    )


def test_import_ukb__who_came_to_imaging_has_no_age_or_centre_of_the_first_visit(
    imported: Import, frame: Frame, store: Store, tmp_path: Path
) -> None:
    missing = [pl.when(pl.col("eid") != "1000004").then(name).alias(name) for name in ("p21003_i2", "p54_i2", "p34")]
    imported(store(frame("rap").with_columns(missing), tmp_path / "ukb.csv"))
    people = pl.read_csv(tmp_path / "cohort" / "participants.csv")
    assert people.filter(eid=1000004).select("age", "imaging_centre", "imaging_date").rows() == [
        (None, None, "2017-03-04")
    ]


def test_import_ukb__who_has_scans_came_to_imaging_whatever_the_exports_have(
    imported: Import, frame: Frame, store: Store, tmp_path: Path
) -> None:
    report = imported(store(frame("rap").drop("p21003_i2", "p53_i2", "p54_i2"), tmp_path / "ukb.csv"))
    people = pl.read_csv(tmp_path / "cohort" / "participants.csv")
    assert people["age"].to_list() == [None] * 6 + [56, 57]
    assert any(line.startswith("age of 6 people who came to imaging: field 21003 has none") for line in report.missing)
    assert any(line.startswith("age of 2 people without an imaging visit") for line in report.guessed)
    written = (tmp_path / "cohort" / "participants.csv").read_bytes()
    imported(tmp_path / "ukb.csv", update=True, images=(), genotypes=None)
    assert (tmp_path / "cohort" / "participants.csv").read_bytes() == written
    (tmp_path / "cohort" / "scans.csv").unlink()
    with pytest.raises(ImportRefusedError, match=r"scans.csv: wanted the scans of an earlier import.*give --images"):
        imported(tmp_path / "ukb.csv", update=True, images=(), genotypes=None)


def test_import_ukb__absent_fields_are_told(imported: Import, frame: Frame, store: Store, tmp_path: Path) -> None:
    table = frame("rap").select("eid", "p31", "p41270", "p21003_i2")
    report = imported(store(table, tmp_path / "ukb.csv"))
    people = pl.read_csv(tmp_path / "cohort" / "participants.csv")
    assert people.columns == ["eid", "age", "sex"]
    assert pl.read_csv(tmp_path / "cohort" / "diagnoses.csv").columns == ["eid", "icd10"]
    told = "\n".join(report.missing)
    for field in ("21001", "22000", "22009", "54", "53", "41280"):
        assert f"{field} " in told


def test_import_ukb__dates_of_packed_codes_need_as_many(
    imported: Import, frame: Frame, store: Store, tmp_path: Path
) -> None:
    cut = pl.when(pl.col("eid") == "1000003").then(pl.lit(None)).otherwise("p41280_a1").alias("p41280_a1")
    report = imported(store(frame("rap").with_columns(cut), tmp_path / "ukb.csv"))
    told = "\n".join(report.left)
    assert "2 dates (41280) of 1 people who have not as many dates as codes" in told
    assert "the dates of 3 of 9 diagnoses" in told
    assert pl.read_csv(tmp_path / "cohort" / "diagnoses.csv").filter(eid=1000003)["date"].null_count() == 3


def test_import_ukb__dates_by_position(imported: Import, frame: Frame, store: Store, tmp_path: Path) -> None:
    lost = pl.when(pl.col("eid") == "1000003").then(pl.lit(None)).otherwise("41270-0.1").alias("41270-0.1")
    report = imported(store(frame("ukbconv").with_columns(lost), tmp_path / "ukb.csv"))
    assert any(line.startswith("1 dates (41280) at places of the array without a code") for line in report.left)
    theirs = pl.read_csv(tmp_path / "cohort" / "diagnoses.csv").filter(eid=1000003)
    assert theirs.rows() == [(1000003, "E119", "2012-01-01"), (1000003, "I500", "2012-01-03")]


def test_import_ukb__an_update_touches_what_changed(
    imported: Import, frame: Frame, store: Store, tmp_path: Path
) -> None:
    imported(store(frame("rap"), tmp_path / "ukb.csv"))
    with pytest.raises(ImportRefusedError, match=r"wanted a folder without a cohort, found .*; add --update"):
        imported(tmp_path / "ukb.csv")
    folder = tmp_path / "cohort"
    toml = folder / "cohort.toml"
    toml.write_text(toml.read_text() + "# mine\n")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    newer = frame("rap").with_columns(p41270=pl.col("p41270").str.replace("K760", "K768"))
    report = imported(store(newer, tmp_path / "newer.csv"), update=True)
    changed = {path.name for path in folder.iterdir() if path.stat().st_mtime_ns != before[path.name]}
    assert changed == {"diagnoses.csv", "import_report.md"}
    assert "changed: diagnoses.csv;" in report.to_do[-1]
    assert "# mine" in toml.read_text()
    scans = (folder / "scans.csv").read_bytes()
    imported(tmp_path / "newer.csv", update=True, images=(), genotypes=None)
    assert (folder / "scans.csv").read_bytes() == scans
    with pytest.raises(ImportRefusedError, match=r"--genotypes: wanted what cohort.toml names"):
        imported(tmp_path / "newer.csv", update=True, genotypes=str(tmp_path / "other.bed"))
    with pytest.raises(ImportRefusedError, match=r"found no cohort.toml; leave out --update"):
        imported(tmp_path / "newer.csv", update=True, out=tmp_path / "nowhere")


def test_cli_import_ukb__tells_what_it_took(biobank: Path, frame: Frame, store: Store, tmp_path: Path) -> None:
    table = str(store(frame("title"), tmp_path / "ukb.csv"))
    genotypes, images = str(biobank / "genotypes" / "all.bed"), str(biobank / "images")
    command = ["import-ukb", "--tables", table, "--images", images, "--genotypes", genotypes, "--traits", "30760"]
    done = CliRunner().invoke(cli, [*command, "--out", str(tmp_path / "cohort")])
    assert done.exit_code == 0, done.output
    assert "Body mass index (BMI) | Instance 2 is field 21001: field 23104 has the same title" in done.output
    assert "trait 30760-0.0 is continuous: numbers of 8 values" in done.output
    assert "1000001" not in done.output
    assert (tmp_path / "cohort" / "import_report.md").read_text().startswith("# Import from UK Biobank\n")
    again = CliRunner().invoke(cli, [*command, "--out", str(tmp_path / "cohort")])
    assert again.exit_code == 1
    assert "add --update" in again.stderr
