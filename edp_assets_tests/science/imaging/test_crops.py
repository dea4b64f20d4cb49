"""Crops against arithmetic on small volumes and against other programs' numbers on real scans."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from edp_assets.science.imaging.crops import crop_scan
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


@pytest.mark.parametrize("organ", ["liver", "spleen", "kidney_left", "kidney_right"])
def test_crop_scan__reproduces_totalsegmentator_statistics(organ):
    if not CT.exists():
        pytest.skip("totalsegmentator_ct is not here")
    wanted = json.loads((CT / "statistics.json").read_text())[organ]
    crop = crop_scan([read_volume(CT / "example_ct_sm.nii.gz")], read_volume(CT / f"{organ}.nii.gz"))
    assert crop.volume_ml * 1000 == pytest.approx(wanted["volume"], rel=1e-6)
    assert crop.mean_intensity[0] == pytest.approx(wanted["intensity"], abs=1e-5)


@pytest.mark.parametrize("organ", ["heart", "brain", "femur_left"])
def test_crop_scan__refuses_the_empty_totalsegmentator_masks(organ):
    if not CT.exists():
        pytest.skip("totalsegmentator_ct is not here")
    with pytest.raises(ImageError, match="empty mask"):
        crop_scan([read_volume(CT / "example_ct_sm.nii.gz")], read_volume(CT / f"{organ}.nii.gz"))


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
