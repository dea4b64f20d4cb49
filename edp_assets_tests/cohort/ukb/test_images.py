"""Images matched by their names, and what names do not tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from edp_assets.cohort.ukb.images import Named, find_scans, read_name
from edp_assets.cohort.ukb.report import Report


@pytest.mark.parametrize(
    ("path", "visit", "role"),
    [
        ("1000001_20201_2_0_fat.nii.gz", "2", "image fat"),
        ("1000001_20201_3_0/water.nii", "3", "image water"),
        ("1000001/wat.nii.gz", None, "image water"),
        ("1000001_F.nii.gz", None, "image fat"),
        ("1000001_W.nii.gz", None, "image water"),
        ("sub-1000001/dixon_fat.nii.gz", None, "image fat"),
        ("1000001_20201_2_0_in_phase.nii.gz", "2", "other"),
        ("1000001/opp.nii.gz", None, "other"),
        ("1000001/liver.nii.gz", None, "mask liver"),
        ("1000001_liver_mask.nii.gz", None, "mask liver"),
        ("1000001/mask.liver.nii.gz", None, "mask liver"),
        ("1000001/segmentations/thigh_bones.nii.gz", None, "mask thigh_bones"),
        ("liver/1000001.nii.gz", None, "mask liver"),
        ("liver/1000001_seg.nii.gz", None, "mask liver"),
        ("1000001/segmentation.nii.gz", None, "labels"),
        ("1000001_20201_2_0/seg.nii.gz", "2", "labels"),
        ("segmentations/1000001.nii.gz", None, "labels"),
        ("1000001_mask.nii.gz", None, None),
        ("1000001_fat_mask.nii.gz", None, None),
        ("1000001/kidney_left.nii.gz", None, None),
        ("liver/1000001_spline.nii.gz", None, None),
    ],
)
def test_read_name__by_name_only(path: str, visit: str | None, role: str | None) -> None:
    assert read_name(path) == Named("1000001", visit, role)


@pytest.mark.parametrize("path", ["fat.nii.gz", "12345678_fat.nii.gz", "1000001/1000002_fat.nii.gz"])
def test_read_name__no_eid_or_two(path: str) -> None:
    assert read_name(path).eid is None


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_find_scans__images_and_masks_in_separate_folders(tmp_path: Path) -> None:
    put(tmp_path / "a", "1000001_20201_2_0_fat.nii.gz", "1000001_20201_2_0_water.nii.gz")
    put(tmp_path / "b", "liver/1000001.nii.gz", "spleen/1000001.nii.gz")
    scans = find_scans([tmp_path / "a", tmp_path / "b"], Report())
    assert scans.select("eid", "organ", "visit").rows() == [("1000001", "liver", "2"), ("1000001", "spleen", "2")]
    assert scans["mask"][0] == str(tmp_path / "b" / "liver" / "1000001.nii.gz")
    assert scans["image_fat"][0] == str(tmp_path / "a" / "1000001_20201_2_0_fat.nii.gz")


def test_find_scans__what_is_left_out_is_told(tmp_path: Path) -> None:
    put(tmp_path, "1000001/fat.nii.gz", "1000001/water.nii.gz", "1000001/liver.nii.gz", "1000001/inp.nii.gz")
    put(tmp_path, "1000002/fat.nii.gz", "1000002/liver.nii.gz")  # no water
    put(tmp_path, "1000003/fat.nii.gz", "1000003/water.nii.gz")  # no mask
    put(tmp_path, "1000004/fat.nii.gz", "1000004/F.nii.gz", "1000004/water.nii.gz", "1000004/liver.nii.gz")
    put(tmp_path, "1000005/kidney_left.nii.gz", "atlas.nii.gz", "1000006_20201_2_0.zip")
    report = Report()
    assert find_scans([tmp_path], report)["eid"].to_list() == ["1000001"]
    told = "\n".join(report.left)
    for line in (
        "1 scans with a mask of liver without an image of water",
        "1 scans with a mask of liver without an image of fat",
        "1 scans with images without a mask of any organ",
        "1 ambiguous names, none of the files taken: 1000004: 2 files for image fat", "1 in-phase and opposed-phase",
        "1 images with no channel and no organ by name: <eid>/kidney_left.nii.gz",
        "1 images with no eid of seven digits in the path, or several: atlas.nii.gz",
    ):  # fmt: skip
        assert line in told
    assert any(line.startswith("1 .zip archives in the image folders hold DICOM") for line in report.to_do)


def test_find_scans__a_mask_without_visit_of_a_person_with_two_is_not_guessed(tmp_path: Path) -> None:
    images = [f"1000001_20201_{visit}_0/{name}.nii.gz" for visit in (2, 3) for name in ("fat", "water")]
    put(tmp_path, *images, "1000001_liver.nii.gz")
    report = Report()
    assert find_scans([tmp_path], report).height == 0
    assert any("1000001: of visit 2 or 3: 1000001_liver.nii.gz" in line for line in report.left)


@pytest.mark.parametrize("named", [True, False])
def test_find_scans__masks_of_many_labels(tmp_path: Path, named: bool) -> None:
    import nibabel
    import numpy as np

    put(tmp_path, "1000001/fat.nii.gz", "1000001/water.nii.gz")
    image = nibabel.Nifti1Image(np.ones((2, 2, 2), dtype=np.uint8), np.eye(4))
    if named:
        names = {1: "liver", 2: "femur_left", 3: "femur_right", 4: "kidney_left"}
        labels = "".join(f'<Label Key="{key}"><![CDATA[{name}]]></Label>' for key, name in names.items())
        content = f"<CaretExtension><LabelTable>{labels}</LabelTable></CaretExtension>".encode()
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, content))
    nibabel.save(image, tmp_path / "1000001" / "segmentation.nii.gz")
    report = Report()
    found = find_scans([tmp_path], report).select("organ", "mask_label").rows()
    if named:
        assert found == [("liver", "liver"), ("thigh_bones", "femur_left+femur_right")]
    else:
        assert found == [("kidneys", "kidney_left+kidney_right"), ("liver", "liver"), ("spleen", "spleen")]
    assert any(line.startswith("masks of many labels") for line in report.guessed)


def test_find_scans__folders_that_are_links_are_followed_but_not_round(tmp_path: Path) -> None:
    names = ("fat.nii.gz", "water.nii.gz", "liver.nii.gz")
    put(tmp_path / "store/1000001", *names)
    put(tmp_path / "chosen/1000002", *names)
    (tmp_path / "chosen/1000001").symlink_to(tmp_path / "store/1000001")
    (tmp_path / "chosen/1000002/back").symlink_to(tmp_path / "chosen")
    report = Report()
    assert find_scans([tmp_path / "chosen"], report)["eid"].to_list() == ["1000001", "1000002"]
    assert not [line for line in report.left if "ambiguous" in line]


def test_find_scans__names_nobody_who_has_withdrawn(tmp_path: Path) -> None:
    for eid in ("1000001", "1000002"):
        put(tmp_path / eid, "fat.nii.gz", "F.nii.gz", "water.nii.gz", "liver.nii.gz")
    report = Report()
    find_scans([tmp_path], report, {"1000001"})
    assert any("1 ambiguous names, none of the files taken: 1000002" in line for line in report.left)
    assert not any("1000001" in line for line in report.left)
