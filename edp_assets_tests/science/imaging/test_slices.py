"""Slices: placed, not distorted, and shrunk as torch's antialiased resize does."""

import numpy as np
import pytest

from edp_assets.science.imaging.slices import (
    axial_slices,
    common_pixel,
    cut,
    fit,
    padded_resolution,
    pixel_scale,
    subvolume_spans,
)


def test_padded_resolution__next_multiple_of_the_patch():
    assert [padded_resolution(144, p) for p in (8, 7, 144)] == [144, 147, 144]
    assert padded_resolution(1, 7) == 7


def test_axial_slices__centred_and_zero_padded_without_resampling():
    voxels = np.random.default_rng(0).integers(1, 256, (2, 3, 4, 7)).astype(np.uint8)
    slices = axial_slices(voxels, 10)
    assert slices.shape == (3, 2, 10, 10)
    assert slices.dtype == np.uint8
    np.testing.assert_array_equal(slices[:, :, 3:7, 1:8], voxels.swapaxes(0, 1))
    assert slices.sum() == voxels.sum()


def test_axial_slices__exact_fit_is_left_alone():
    voxels = np.random.default_rng(0).integers(1, 256, (1, 2, 6, 6)).astype(np.uint8)
    np.testing.assert_array_equal(axial_slices(voxels, 6), voxels.swapaxes(0, 1))


def test_axial_slices__larger_crop_keeps_its_aspect_and_mean():
    voxels = np.full((1, 2, 40, 80), 200, dtype=np.uint8)
    slices = axial_slices(voxels, 20)
    np.testing.assert_array_equal(slices[:, :, 5:15], 200)
    assert not slices[:, :, :5].any()
    assert not slices[:, :, 15:].any()


def test_axial_slices__a_fine_pattern_shrinks_to_grey_not_to_stripes():
    stripes = np.zeros((1, 1, 64, 64), dtype=np.uint8)
    stripes[..., ::2] = 200
    assert np.abs(axial_slices(stripes, 16)[..., 1:-1].astype(int) - 100).max() <= 5


@pytest.mark.parametrize("shape", [(30, 41), (97, 23), (17, 50)])
def test_axial_slices__shrinks_like_torch_antialiased_bilinear(shape):
    torch = pytest.importorskip("torch")
    voxels = np.random.default_rng(0).integers(0, 256, (1, 2, *shape)).astype(np.uint8)
    out = [round(n * 16 / max(shape)) for n in shape]
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(voxels).float(), size=out, mode="bilinear", antialias=True, align_corners=False
    ).numpy()
    top, left = ((16 - n) // 2 for n in out)
    found = axial_slices(voxels, 16).swapaxes(0, 1)[:, :, top : top + out[0], left : left + out[1]]
    assert np.abs(found - wanted).max() <= 0.51


def test_axial_slices__refuses_what_is_no_crop():
    with pytest.raises(ValueError, match="channels, slices, rows, columns"):
        axial_slices(np.zeros((3, 4, 5), dtype=np.uint8), 8)
    with pytest.raises(ValueError, match="all above 0"):
        axial_slices(np.zeros((1, 0, 4, 5), dtype=np.uint8), 8)


def test_subvolume_spans__every_slice_once_centred_and_no_end_nearly_empty():
    assert subvolume_spans(17, 16) == [(0, 9, 7), (9, 17, 0)]
    assert subvolume_spans(5, 16) == [(0, 5, 5)]
    assert subvolume_spans(32, 16) == [(0, 16, 0), (16, 32, 0)]
    for n in range(1, 100):
        spans = subvolume_spans(n, 16)
        assert [k for first, last, _ in spans for k in range(first, last)] == list(range(n))
        assert all(at + last - first <= 16 for first, last, at in spans)
        assert n < 16 or min(last - first for first, last, _ in spans) >= 8


def test_cut__subvolumes_are_runs_of_the_slices():
    voxels = np.random.default_rng(0).integers(1, 256, (2, 19, 4, 7)).astype(np.uint8)
    subvolumes, slices = cut(voxels, (2, 16, 10, 10)), cut(voxels, (2, 10, 10))
    assert subvolumes.shape == (2, 2, 16, 10, 10)
    frames = subvolumes.swapaxes(1, 2).reshape(32, 2, 10, 10)
    np.testing.assert_array_equal(frames[6:25], slices)
    assert not frames[:6].any()
    assert not frames[25:].any()


def test_cut__another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="wanted a crop of 3 channels, found 2"):
        cut(np.ones((2, 3, 4, 5), dtype=np.uint8), (3, 8, 8))


def test_pixel_scale__brings_rows_and_columns_to_one_size_and_leaves_small_differences():
    assert pixel_scale((2.0, 3.0, 9.0), 2.0) == (1.5, 1.0)  # y of rows first, x of columns second
    assert pixel_scale((2.008, 2.0, 9.0), 2.0) == (1.0, 1.0)


def test_common_pixel__is_the_median_in_plane():
    spacing = np.array([[2.23214, 2.23214, 3.0], [2.23214, 2.23214, 3.0], [1.0, 1.0, 30.0]])
    assert common_pixel(spacing) == 2.23


def test_fit__an_organ_looks_alike_at_two_pixel_sizes():
    """A disc of 30 mm seen at 1 mm and at 1.5 mm has, brought to 1 mm, the same area, to a third of a pixel's edge."""

    def disc(pixel: float) -> np.ndarray:
        n = round(40 / pixel)
        y, x = (np.indices((n, n)) + 0.5) * pixel - 20
        return np.where(x * x + y * y < 15**2, 200, 0).astype(np.uint8)[None, None]

    fine, coarse = disc(1.0), disc(1.5)
    fitted = fit(coarse, 64, pixel_scale((1.5, 1.5, 3.0), 1.0))
    assert fitted.shape[2:] == (40, 40)  # 27 pixels of 1.5 mm
    assert (fitted > 100).sum() == pytest.approx((fine > 100).sum(), abs=2 * np.pi * 15 / 3)
    assert (coarse > 100).sum() == pytest.approx((fine > 100).sum() / 2.25, rel=0.03)


def test_fit__what_is_still_larger_than_the_square_is_shrunk_with_its_aspect():
    voxels = np.full((1, 2, 30, 20), 9, dtype=np.uint8)
    assert fit(voxels, 48, (2.0, 2.0)).shape == (1, 2, 48, 32)
    assert fit(voxels, 48) is voxels
