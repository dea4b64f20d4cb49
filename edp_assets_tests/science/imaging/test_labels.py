"""Labels by number and by name: TotalSegmentator's published class maps, and files that carry their own names."""

import nibabel as nib
import numpy as np
import pytest

from edp_assets.science.imaging.labels import (
    ORGAN_PARTS,
    TOTALSEGMENTATOR,
    parse_label,
    resolve_labels,
    unknown_names,
)
from edp_assets.science.imaging.nifti import ImageError, Volume, read_label_names, read_volume

XML = """<?xml version="1.0" encoding="UTF-8"?> <CaretExtension>  <Date><![CDATA[2013-07-14T05:45:09]]></Date>
<VolumeInformation Index="0">   <LabelTable>
{labels}  </LabelTable>  <VolumeType><![CDATA[Label]]></VolumeType>   </VolumeInformation></CaretExtension>
              """


def labelled(tmp_path, names, data=None):
    """A mask written as TotalSegmentator writes it: names in a header extension of code 0."""
    data = np.arange(60, dtype=np.uint8).reshape(3, 4, 5) if data is None else data
    image = nib.Nifti1Image(data, np.eye(4))
    rows = [f'<Label Key="{k}" Red="1.0" Green="0.0" Blue="0.0" Alpha="1"><![CDATA[{n}]]></Label>\n' for k, n in names]
    image.header.extensions.append(nib.nifti1.Nifti1Extension(0, XML.format(labels="".join(rows)).encode()))
    path = tmp_path / "segmentation.nii.gz"
    nib.save(image, path)
    return path


def mask(top=50, names=None):
    return Volume(np.full((2, 2, 2), top, np.uint8), np.eye(4), "mask.nii.gz", labels=names or {})


def test_totalsegmentator__numbers_of_the_published_class_maps():
    total, total_mr = TOTALSEGMENTATOR["total"], TOTALSEGMENTATOR["total_mr"]
    assert (len(total), len(total_mr)) == (117, 50)
    known = {"spleen": 1, "liver": 5, "lung_upper_lobe_left": 10, "lung_lower_lobe_right": 14, "sacrum": 25}
    known |= {"vertebrae_S1": 26, "vertebrae_L5": 27, "vertebrae_T12": 32, "vertebrae_C1": 50, "heart": 51}
    known |= {"portal_vein_and_splenic_vein": 64, "femur_left": 75, "femur_right": 76, "spinal_cord": 79, "brain": 90}
    known |= {"skull": 91, "rib_left_1": 92, "rib_right_12": 115, "sternum": 116, "costal_cartilages": 117}
    assert {name: total[name] for name in known} == known
    known = {"kidney_right": 2, "kidney_left": 3, "lung_left": 10, "lung_right": 11, "vertebrae": 19, "heart": 22}
    known |= {"femur_left": 36, "femur_right": 37, "gluteus_maximus_left": 40, "iliopsoas_right": 49, "brain": 50}
    assert {name: total_mr[name] for name in known} == known


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("5", "5"), ("5.0", "5"), (" 2 + 3 ", "2+3"), ("kidney_left + kidney_right", "kidney_left+kidney_right")],
)
def test_parse_label__one_form(text, parsed):
    assert parse_label(text) == parsed


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "2+liver", "liver+", "+", "", "nan", "inf"])
def test_parse_label__refuses_what_is_neither(text):
    if text in ("nan", "inf"):  # words: names that no file has
        assert unknown_names(parse_label(text), {})
        return
    with pytest.raises(ValueError, match="wanted mask_label as whole numbers from 1 or label names, joined by"):
        parse_label(text)


def test_resolve_labels__numbers_and_paired_organs():
    assert resolve_labels(mask(), 7, "liver") == (7,)
    assert resolve_labels(mask(), "2+3+2", "kidneys") == (2, 3)
    assert resolve_labels(mask(), "kidney_left+kidney_right", "kidneys") == (3, 2)
    assert resolve_labels(mask(), "lung_left+lung_right", "lungs") == (10, 11)
    assert resolve_labels(mask(), None, "kidneys") is None


def test_resolve_labels__a_name_of_two_numbers_is_refused_unless_the_file_settles_it():
    with pytest.raises(ImageError, match="found 51 in total and 22 in total_mr; give the number") as caught:
        resolve_labels(mask(top=50), "heart", "heart")
    assert caught.value.reason == "ambiguous label name"
    assert resolve_labels(mask(top=52), "heart", "heart") == (51,)
    assert resolve_labels(mask(names={3: "heart"}), "heart", "heart") == (3,)


def test_resolve_labels__unknown_names_are_refused_with_the_near_ones():
    with pytest.raises(
        ImageError, match=r"TotalSegmentator's label names, found 'kidny_left' \(near: kidney_left"
    ) as e:
        resolve_labels(mask(), "kidny_left+kidney_right", "kidneys")
    assert e.value.reason == "unknown label name"
    own = {1: "hippocampus_anterior", 2: "hippocampus_posterior"}
    with pytest.raises(ImageError, match=r"the file's own label names, found 'hippocampus_post' \(near: hippocampus_p"):
        resolve_labels(mask(names=own), "hippocampus_post", "hippocampus")
    with pytest.raises(ImageError, match="own label names, found 'liver';"):  # the file's table is the whole truth
        resolve_labels(mask(names=own), "liver", "liver")


@pytest.mark.parametrize("organ", ORGAN_PARTS)
def test_resolve_labels__a_file_that_names_the_organ_is_taken_at_its_word(tmp_path, organ):
    for parts in ORGAN_PARTS[organ]:
        names = [(9, "aorta"), *((20 + 3 * i, name) for i, name in enumerate(parts))]
        path = labelled(tmp_path, names)
        assert read_label_names(path) == dict(names)
        assert resolve_labels(read_volume(path), None, organ) == tuple(20 + 3 * i for i in range(len(parts)))


def test_resolve_labels__a_file_of_other_organs_is_refused_and_one_of_parts_taken_whole():
    with pytest.raises(
        ImageError, match=r"wanted labels named kidney_left\+kidney_right, found kidney_left, liver"
    ) as e:
        resolve_labels(mask(names={5: "liver", 3: "kidney_left"}), None, "kidneys")
    assert e.value.reason == "organ not in mask"
    assert resolve_labels(mask(names={1: "segment_1", 2: "segment_2"}), None, "liver") is None
    assert resolve_labels(mask(names={1: "head", 2: "tail"}), None, "hippocampus") is None


def test_read_label_names__plain_text_other_attributes_and_no_names(tmp_path):
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    nib.save(image, tmp_path / "none.nii")
    assert read_label_names(tmp_path / "none.nii") == {}
    text = b"<Label Alpha='1' Key='4'>left &amp; right</Label><Label Key=\"0\">???</Label><Label Key='x'>no</Label>"
    image.header.extensions.append(nib.nifti1.Nifti1Extension(0, b"\xff\xfe not text"))
    image.header.extensions.append(nib.nifti1.Nifti1Extension(0, text))
    nib.save(image, tmp_path / "plain.nii")
    assert read_label_names(tmp_path / "plain.nii") == {4: "left & right"}
