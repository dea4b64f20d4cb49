"""The scans table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edp_assets.cohort.config import load_cohort
from edp_assets.cohort.problems import CohortError
from edp_assets.cohort.reading import Read
from edp_assets.cohort.tables import read_scans

HEADER = "eid,organ,mask,image_fat,image_water"
EIDS = {str(1000001 + i) for i in range(8)}


def files(eid: int) -> str:
    return ",".join(f"images/{eid}_{kind}.nii.gz" for kind in ("mask", "fat", "water"))


def read_rows(folder: Path, *rows: str, header: str = HEADER) -> Read:
    (folder / "scans.csv").write_text("\n".join([header, *rows]) + "\n")
    return read_scans(load_cohort(folder), EIDS)


def test_read_scans__valid(cohort_folder: Path) -> None:
    read = read_scans(load_cohort(cohort_folder), EIDS)
    assert read.problems == []
    table = read.require()
    assert table.columns == ["eid", "organ", "mask", "mask_label", "image_fat", "image_water"]
    assert table["mask"][0] == str(cohort_folder.resolve() / "images" / "1000001_mask.nii.gz")
    assert table["mask_label"].to_list() == [None] * 6


def test_read_scans__absolute_paths_and_paths_out_of_the_folder(cohort_folder: Path) -> None:
    image = cohort_folder / "images" / "1000001_fat.nii.gz"
    read = read_rows(cohort_folder, f"1000001,liver,{image},images/../../cohort/images/1000001_fat.nii.gz,{image}")
    assert read.table.select("mask", "image_fat").row(0) == (str(image), str(image))


def test_read_scans__each_thing_left_out_with_its_reason(cohort_folder: Path) -> None:
    (cohort_folder / "images" / "1000003_fat.nii.gz").write_bytes(b"")
    read = read_rows(
        cohort_folder,
        f"1000001,liver,{files(1000001)}",
        f"1000001,liver,{files(1000001)}",
        f"1000002,livre,{files(1000002)}",
        f"1000002,spleen,{files(1000002)}",
        f"1000003,liver,{files(1000003)}",
        "1000004,liver,images/no.nii.gz,,images/1000004_water.nii.gz",
        f"1000099,liver,{files(1000005)}",
        "1000005,liver,images,images,images",
    )
    assert read.table["eid"].to_list() == ["1000001"]
    assert sorted(read.excluded.rows()) == sorted(
        [
            ("1000001", "liver", "scans", "duplicate scan"),
            ("1000002", "livre", "scans", "organ not in cohort.toml"),
            ("1000002", "spleen", "scans", "organ not in cohort.toml"),
            ("1000003", "liver", "scans", "empty file"),
            ("1000004", "liver", "scans", "missing file"),
            ("1000005", "liver", "scans", "missing file"),
            ("1000099", "liver", "scans", "unknown eid"),
        ]
    )
    told = {p.where: p.found for p in read.problems if p.severity == "excluded"}
    assert told["row 7, eid 1000004, liver"] == "mask: no file images/no.nii.gz; no path in image_fat"
    assert told["row 4, eid 1000002"] == 'organ "livre", did you mean "liver"?'
    assert told["row 8, eid 1000099, liver" if "row 8, eid 1000099, liver" in told else "row 8, eid 1000099"]
    assert [p.found for p in read.problems if p.severity == "note"] == ['organ "spleen"']


def test_read_scans__first_visit_in_natural_order(cohort_folder: Path) -> None:
    read = read_rows(
        cohort_folder,
        f"1000001,liver,{files(1000002)},10",
        f"1000001,liver,{files(1000001)},2",
        f"1000001,liver,{files(1000003)},",
        f"1000004,liver,{files(1000004)},3",
        header=HEADER + ",visit",
    )
    assert [Path(path).name[:7] for path in read.table["mask"]] == ["1000001", "1000004"]
    assert read.excluded.rows() == [("1000001", "liver", "scans", "later visit")] * 2


def test_read_scans__a_later_visit_stands_in_for_a_missing_first(cohort_folder: Path) -> None:
    read = read_rows(
        cohort_folder, "1000001,liver,a,b,c,2", f"1000001,liver,{files(1000001)},3", header=HEADER + ",visit"
    )
    assert read.table.height == 1
    assert read.excluded["reason"].to_list() == ["missing file"]


def test_read_scans__a_column_a_channel_of_every_organ(cohort_folder: Path, edit: Callable[..., None]) -> None:
    edit(cohort_folder / "cohort.toml", "[organs.liver]", "[organs.brain]\n[organs.liver]")
    with pytest.raises(CohortError, match='no column "image_t1"'):
        read_scans(load_cohort(cohort_folder), EIDS).require()
    brain = "1000002,brain,images/1000002_mask.nii.gz,,,images/1000002_fat.nii.gz"
    read = read_rows(cohort_folder, f"1000001,liver,{files(1000001)},", brain, header=HEADER + ",image_t1")
    assert read.problems == []
    assert read.table.select("organ", "image_t1", "image_fat").null_count().row(0) == (0, 1, 1)


def test_read_scans__mask_labels(cohort_folder: Path) -> None:
    labels = ("3", "2.0 + 3", "", "kidney_left+kidney_right", "0", "1.5")
    rows = [f"100000{i},liver,{files(1000000 + i)},{label}" for i, label in enumerate(labels, 1)]
    read = read_rows(cohort_folder, *rows, "1000007,liver,a,b,c,2+liver", header=HEADER + ",mask_label")
    assert read.table["mask_label"].to_list()[:4] == ["3", "2+3", None, "kidney_left+kidney_right"]
    refused = [p for p in read.problems if p.severity == "refused"]
    assert [p.where for p in refused] == [f"row {row}, eid 100000{row - 1}, liver" for row in (6, 7, 8)]
    assert "2+3, kidney_left+kidney_right" in refused[0].wanted


def test_read_scans__unknown_label_name_is_refused_once_with_the_near_ones(cohort_folder: Path) -> None:
    rows = [f"100000{i},liver,{files(1000000 + i)},kidny_left" for i in (1, 2)]
    read = read_rows(cohort_folder, *rows, header=HEADER + ",mask_label")
    (problem,) = [p for p in read.problems if p.severity == "refused"]
    assert problem.where == "row 2, eid 1000001, liver"
    assert problem.found.startswith('unknown label name "kidny_left" (near: kidney_left')


def test_read_scans__a_name_that_the_mask_file_has_is_known(cohort_folder: Path) -> None:
    import nibabel

    path = cohort_folder / "images/1000001_mask.nii.gz"
    mask = nibabel.load(path)
    xml = b'<LabelTable><Label Key="1"><![CDATA[lobus_caudatus]]></Label></LabelTable>'
    mask.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, xml))
    data = mask.get_fdata()
    nibabel.save(nibabel.Nifti1Image(data, mask.affine, mask.header), path)
    row = f"1000001,liver,{files(1000001)},"
    assert read_rows(cohort_folder, row + "lobus_caudatus", header=HEADER + ",mask_label").problems == []
    (problem,) = read_rows(cohort_folder, row + "lobus_caudatis", header=HEADER + ",mask_label").problems
    assert problem.found == 'unknown label name "lobus_caudatis" (near: lobus_caudatus)'


def test_read_scans__an_organ_without_a_scan_is_refused(cohort_folder: Path, edit: Callable[..., None]) -> None:
    edit(cohort_folder / "cohort.toml", "[organs.liver]", "[organs.kidneys]\n[organs.liver]")
    with pytest.raises(CohortError, match="no usable scan of kidneys"):
        read_scans(load_cohort(cohort_folder), EIDS).require()


@pytest.mark.parametrize("content", ["", HEADER, HEADER.replace("mask", "msk") + "\n1,2,3,4,5\n"])
def test_read_scans__unreadable_table_is_refused_with_its_columns(cohort_folder: Path, content: str) -> None:
    (cohort_folder / "scans.csv").write_text(content)
    read = read_scans(load_cohort(cohort_folder), EIDS)
    assert read.table.shape == (0, 6)
    with pytest.raises(CohortError, match=r"scans\.csv"):
        read.require()


def test_read_scans__one_file_for_two_people_is_noted(cohort_folder: Path) -> None:
    read = read_rows(cohort_folder, f"1000001,liver,{files(1000001)}", f"1000002,liver,{files(1000001)}")
    assert {p.severity for p in read.problems} == {"note"}
    assert read.problems[0].where == "rows 2, 3"


def test_read_scans__the_withdrawn_are_gone(cohort_folder: Path, edit: Callable[..., None]) -> None:
    edit(cohort_folder / "cohort.toml", "scans =", 'withdrawn = "withdrawn.csv"\nscans =')
    (cohort_folder / "withdrawn.csv").write_text("1000002\n")
    read = read_scans(load_cohort(cohort_folder), EIDS - {"1000002"})
    assert read.table.height == 5
    assert read.excluded.rows() == [(None, "liver", "scans", "withdrawn")]
