"""Crops against arithmetic on small volumes and against other programs' numbers on real scans."""

import json
import weakref
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from edp_assets.science.imaging.crops import crop_scan
from edp_assets.science.imaging.labels import TOTALSEGMENTATOR
from edp_assets.science.imaging.nifti import ImageError, Volume, read_volume

DATA = Path(__file__).resolve().parents[3] / "../shared/data"
CT = DATA / "totalsegmentator_ct"
HIPPOCAMPUS = DATA / "hippocampus_mr"
AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])


def scan(seed=0, shape=(9, 8, 7)):
    rng = np.random.default_rng(seed)
    image = rng.gamma(4, 50, shape).astype(np.float32)
    mask = np.zeros(shape, dtype=np.uint8)
    mask[2:7, 3:6, 1:5] = rng.random((5, 3, 4)) < 0.7
    mask[2, 3, 1] = mask[6, 5, 4] = 1
    return Volume(image, AFFINE, "image"), Volume(mask, AFFINE, "mask")


def test_crop_scan__tightest_cuboid_zero_outside_and_only_outside():
    image, mask = scan()
    crop = crop_scan([image], mask)
    inside = mask.data[2:7, 3:6, 1:5].transpose(2, 1, 0) == 1
    assert crop.voxels.shape == (1, 4, 3, 5)
    assert crop.voxels.dtype == np.uint8
    np.testing.assert_array_equal(crop.voxels[0] > 0, inside)


def test_crop_scan__volume_spacing_and_means():
    image, mask = scan()
    other = Volume(image.data * 3 + 1, AFFINE)
    crop = crop_scan([image, other], mask)
    assert crop.mask_voxels == mask.data.sum()
    assert crop.volume_ml == pytest.approx(mask.data.sum() * 24 / 1000)
    assert crop.spacing_mm == (2.0, 3.0, 4.0)
    mean = image.data[mask.data == 1].mean(dtype=np.float64)
    assert crop.mean_intensity == pytest.approx((mean, 3 * mean + 1))


def test_crop_scan__volume_of_an_oblique_grid_is_the_determinant():
    image, mask = scan()
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    sheared = turn @ AFFINE
    crop = crop_scan([Volume(image.data, sheared)], Volume(mask.data, sheared))
    assert crop.volume_ml == pytest.approx(mask.data.sum() * 24 / 1000)
    assert crop.spacing_mm == pytest.approx((2.0, 3.0, 4.0))


def test_crop_scan__magnitude_image_keeps_ratios_below_the_upper_percentile():
    image, mask = scan()
    crop = crop_scan([image], mask)
    values = image.data[mask.data == 1].astype(float)
    wanted = 1 + 254 * np.clip(values / np.percentile(values, 99.5), 0, 1)
    assert np.sort(crop.voxels[crop.voxels > 0]) == pytest.approx(np.sort(wanted), abs=0.5)


def test_crop_scan__signed_image_is_anchored_at_both_percentiles():
    image, mask = scan()
    signed = Volume(image.data - 200, AFFINE)
    values = crop_scan([signed], mask).voxels
    assert values[values > 0].min() == 1
    assert values.max() == 255


def test_crop_scan__spline_ripple_does_not_turn_a_magnitude_image_signed():
    image, mask = scan()
    rippled = image.data.copy()
    rippled[0, 0, :] = -1.0
    np.testing.assert_array_equal(crop_scan([Volume(rippled, AFFINE)], mask).voxels, crop_scan([image], mask).voxels)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_crop_scan__is_the_same_at_any_gain(scale):
    image, mask = scan()
    gained = Volume(image.data.astype(np.float64) * scale, AFFINE)
    difference = crop_scan([gained], mask).voxels.astype(int) - crop_scan([image], mask).voxels
    assert np.abs(difference).max() <= 1


def test_crop_scan__takes_one_label_of_many():
    image, mask = scan()
    labels = mask.data.astype(np.float32)
    labels[8, 7, 6] = 2
    crop = crop_scan([image], Volume(labels, AFFINE), mask_label=1)
    np.testing.assert_array_equal(crop.voxels, crop_scan([image], mask).voxels)
    assert crop_scan([image], Volume(labels, AFFINE)).mask_voxels == mask.data.sum() + 1


def test_crop_scan__background_of_not_a_number_is_outside():
    image, mask = scan()
    holes = np.where(mask.data == 1, image.data, np.nan)
    nan_mask = np.where(mask.data == 1, 1.0, np.nan)
    crop = crop_scan([Volume(holes, AFFINE)], Volume(nan_mask, AFFINE))
    np.testing.assert_array_equal(crop.voxels, crop_scan([image], mask).voxels)


def test_crop_scan__refuses_what_cannot_be_measured():
    image, mask = scan()
    with pytest.raises(ImageError, match="wanted non-zero voxels, found none") as caught:
        crop_scan([image], Volume(mask.data * 0, AFFINE))
    assert caught.value.reason == "empty mask"
    with pytest.raises(ImageError, match="wanted voxels of label 7, found none"):
        crop_scan([image], mask, mask_label=7)
    with pytest.raises(ImageError, match=r"found shapes \(8, 8, 7\) and \(9, 8, 7\)") as caught:
        crop_scan([Volume(image.data[1:], AFFINE)], mask)
    assert caught.value.reason == "mask on another grid"
    shifted = AFFINE.copy()
    shifted[0, 3] = 0.5
    with pytest.raises(ImageError, match=r"affines that differ by up to 0.5 mm"):
        crop_scan([image, Volume(image.data, shifted)], mask)
    bad = image.data.copy()
    bad[2, 3, 1] = np.nan
    with pytest.raises(ImageError, match="found 1 not finite") as caught:
        crop_scan([Volume(bad, AFFINE)], mask)
    assert caught.value.reason == "not a number"
    with pytest.raises(ImageError, match="found 5 nearly everywhere") as caught:
        crop_scan([Volume(np.full_like(image.data, 5), AFFINE)], mask)
    assert caught.value.reason == "constant image"
    with pytest.raises(ValueError, match="at least one image"):
        crop_scan([], mask)


def test_crop_scan__rounding_of_an_affine_is_no_other_grid():
    image, mask = scan()
    assert crop_scan([Volume(image.data, AFFINE + 5e-4)], mask).mask_voxels == mask.data.sum()


@pytest.mark.parametrize("codes", ["LAS", "PIR", "SAL"])
def test_crop_scan__same_anatomy_in_another_orientation_gives_the_same_crop(tmp_path, codes):
    image, mask = scan()
    turn = nib.orientations.ornt_transform(nib.io_orientation(AFFINE), nib.orientations.axcodes2ornt(codes))
    nib.save(nib.Nifti1Image(image.data, AFFINE).as_reoriented(turn), tmp_path / "image.nii.gz")
    nib.save(nib.Nifti1Image(mask.data, AFFINE), tmp_path / "mask.nii.gz")  # mask stays as it was
    crop = crop_scan([read_volume(tmp_path / "image.nii.gz")], read_volume(tmp_path / "mask.nii.gz"))
    wanted = crop_scan([image], mask)
    np.testing.assert_array_equal(crop.voxels, wanted.voxels)
    assert crop.volume_ml == pytest.approx(wanted.volume_ml)
    assert crop.spacing_mm == pytest.approx(wanted.spacing_mm)


def ct_organs():
    """Every organ of which there is a mask, with TotalSegmentator's volume (mm3) and mean intensity; 0 where empty."""
    statistics = json.loads((CT / "statistics.json").read_text()) if CT.exists() else {}
    return {organ: found for organ, found in statistics.items() if (CT / f"{organ}.nii.gz").exists()}


def test_crop_scan__reproduces_totalsegmentator_statistics_and_refuses_its_empty_masks():
    organs = ct_organs()
    if not organs:
        pytest.skip("totalsegmentator_ct is not here")
    image = read_volume(CT / "example_ct_sm.nii.gz")
    full = {organ: found for organ, found in organs.items() if found["volume"]}
    assert set(full) == {"liver", "spleen", "kidney_left", "kidney_right"}
    for organ, wanted in full.items():
        crop = crop_scan([image], read_volume(CT / f"{organ}.nii.gz"), organ=organ)
        assert crop.volume_ml * 1000 == pytest.approx(wanted["volume"], rel=1e-6)
        assert crop.mean_intensity[0] == pytest.approx(wanted["intensity"], rel=1e-4)
    assert set(organs) - set(full) == {"heart", "brain", "femur_left"}
    for organ in set(organs) - set(full):
        with pytest.raises(ImageError, match="empty mask") as caught:
            crop_scan([image], read_volume(CT / f"{organ}.nii.gz"), organ=organ)
        assert caught.value.reason == "empty mask"


@pytest.mark.parametrize("label", ["2+3", "kidney_left+kidney_right", None])
def test_crop_scan__kidneys_of_a_multi_label_file_are_those_of_two_files(tmp_path, label):
    organs = ct_organs()
    if not organs:
        pytest.skip("totalsegmentator_ct is not here")
    image = read_volume(CT / "example_ct_sm.nii.gz")
    merged = np.zeros(image.data.shape, np.uint8)
    for organ, number in (("spleen", 1), ("kidney_right", 2), ("kidney_left", 3), ("liver", 5)):
        mask = nib.load(CT / f"{organ}.nii.gz")
        merged = merged if merged.any() else np.zeros(mask.shape, np.uint8)
        merged[np.asanyarray(mask.dataobj) > 0] = number
    stored = nib.Nifti1Image(merged, mask.affine)
    if label is None:  # the file says itself what its labels are
        rows = "".join(f'<Label Key="{TOTALSEGMENTATOR["total"][n]}"><![CDATA[{n}]]></Label>' for n in organs)
        stored.header.extensions.append(nib.nifti1.Nifti1Extension(0, f"<LabelTable>{rows}</LabelTable>".encode()))
    nib.save(stored, tmp_path / "segmentation.nii.gz")
    crop = crop_scan([image], read_volume(tmp_path / "segmentation.nii.gz"), label, "kidneys")
    left, right = organs["kidney_left"], organs["kidney_right"]
    assert crop.volume_ml * 1000 == pytest.approx(left["volume"] + right["volume"], rel=1e-6)
    mean = np.average([left["intensity"], right["intensity"]], weights=[left["volume"], right["volume"]])
    assert crop.mean_intensity[0] == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize("subject", ["0001", "0042"])
def test_crop_scan__right_and_left_of_a_ukbb_dixon_scan_stay_apart(tmp_path, subject):
    """Landmarks, odd right and even left, stored L, A, S; the image holds each voxel's own place, mm to the right."""
    path = DATA / "ukbb_dixon_atlas" / subject / "bone_joints.nii.gz"
    if not path.exists():
        pytest.skip("ukbb_dixon_atlas is not here")
    stored = nib.load(path)
    assert nib.aff2axcodes(stored.affine) == ("L", "A", "S")
    landmarks = np.asanyarray(stored.dataobj)
    labels = landmarks.copy()
    labels[1:] |= landmarks[:-1]  # two voxels each: one alone has no contrast
    nib.save(nib.Nifti1Image(labels, stored.affine), tmp_path / "mask.nii.gz")
    x = stored.affine[0, 3] + stored.affine[0, 0] * np.arange(labels.shape[0])
    place = np.broadcast_to(np.rint(x).astype(np.int16)[:, None, None], labels.shape)
    nib.save(nib.Nifti1Image(place, stored.affine), tmp_path / "place.nii.gz")
    image, mask = read_volume(tmp_path / "place.nii.gz"), read_volume(tmp_path / "mask.nii.gz")
    odd = [int(n) for n in np.unique(labels) if n % 2]
    for number in odd:
        right, left = (crop_scan([image], mask, label) for label in (number, number + 1))
        assert right.mean_intensity[0] > 50 > -50 > left.mean_intensity[0]
        for crop in (right, left):
            assert crop.mask_voxels == 2
            assert crop.voxels[0].ravel().tolist() == [1, 255]  # columns run to the right
    both = crop_scan([image], mask, "+".join(str(n) for n in (odd[0], odd[0] + 1)))
    columns = np.nonzero(both.voxels[0].any(axis=(0, 1)))[0]
    assert both.mask_voxels == 4
    assert columns.max() - columns.min() + 1 == both.voxels.shape[3]
    assert (both.voxels[0, :, :, -2:] > 200).sum() == 2  # the right one lies at larger x


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("scaling", [(1.0, 0.0), (0.37, 0.0), (2.0, -300.0), (-1.5, 900.0)])
def test_crop_scan__percentiles_are_numpys_whatever_the_type(dtype, scaling):
    """The oracle: numpy.percentile over the values in the image's own units, sorted as float64."""
    rng = np.random.default_rng(3)
    data = rng.integers(0, 251, (12, 11, 10)).astype(dtype)
    mask = rng.random(data.shape) < 0.4
    image = Volume(data, AFFINE, slope=scaling[0], intercept=scaling[1])
    values = data.astype(np.float64) * scaling[0] + scaling[1]
    crop = crop_scan([image], Volume(mask.astype(np.uint8), AFFINE))
    inside = values[mask]
    lower, upper = np.percentile(inside, [0.5, 99.5])
    if (values >= 0).all() or -values[values < 0].sum() <= 0.01 * values[values > 0].sum():
        lower = 0.0
    wanted = np.where(mask, np.rint(1 + 254 * np.clip((values - lower) / (upper - lower), 0, 1)), 0)
    box = tuple(slice(np.nonzero(mask)[i].min(), np.nonzero(mask)[i].max() + 1) for i in range(3))
    np.testing.assert_array_equal(crop.voxels[0], wanted[box].transpose(2, 1, 0))
    assert crop.mean_intensity[0] == pytest.approx(inside.mean())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.bool_])
def test_crop_scan__a_mask_of_any_type_and_memory_order(dtype):
    image, mask = scan()
    wanted = crop_scan([image], mask)
    for order in ("C", "F"):
        data = np.asarray(mask.data, dtype=dtype, order=order)
        for other in (data, np.flip(np.flip(data, (0, 2)).copy(), (0, 2))):
            crop = crop_scan([image], Volume(other, AFFINE), 1)
            np.testing.assert_array_equal(crop.voxels, wanted.voxels)
    scaled = Volume(mask.data.astype(np.uint8) * 4, AFFINE, slope=0.25)
    np.testing.assert_array_equal(crop_scan([image], scaled, 1).voxels, wanted.voxels)


def test_crop_scan__takes_images_one_at_a_time():
    image, mask = scan()
    alive = [weakref.ref(mask.data)]

    def handed_over():  # as `crop_scan(images, read_volume(path))`: nobody else holds the mask
        nonlocal mask
        given, mask = Volume(mask.data, AFFINE), None
        return given

    def images():
        for _ in range(3):
            assert all(reference() is None for reference in alive)  # the one before is gone
            data = image.data.copy()
            alive.append(weakref.ref(data))
            yield Volume(data, AFFINE)
            del data

    assert crop_scan(images(), handed_over()).voxels.shape[0] == 3
    with pytest.raises(ValueError, match="at least one image"):
        crop_scan(iter([]), scan()[1])


def test_crop_scan__hippocampus_volumes_are_voxel_counts_at_1_mm():
    files = sorted((HIPPOCAMPUS / "labels").glob("*.nii.gz"))[:20]
    if not files:
        pytest.skip("hippocampus_mr is not here")
    for file in files:
        image = read_volume(HIPPOCAMPUS / "images" / file.name)
        labels = np.asanyarray(nib.load(file).dataobj)
        whole = crop_scan([image], read_volume(file))
        assert whole.volume_ml * 1000 == pytest.approx(np.count_nonzero(labels))
        assert crop_scan([image], read_volume(file), mask_label=2).mask_voxels == np.count_nonzero(labels == 2)
        # Stored maxima run from 100 to over a million; the crops all use the 8 bits well.
        inside = whole.voxels[whole.voxels > 0]
        assert inside.max() == 255
        assert 40 < np.median(inside) < 220
