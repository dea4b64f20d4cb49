"""Which scans are left out, by reason: the rules on drawn scans and on real ones."""

from pathlib import Path

import numpy as np
import pytest

from edp_assets.science.imaging.batch import crop_file, crop_scans
from edp_assets.science.imaging.crops import Crop, crop_scan
from edp_assets.science.imaging.exclusions import fat_fraction, require_usable
from edp_assets.science.imaging.nifti import ImageError, Volume
from edp_assets.settings import FACES, ORGANS, OrganSettings

DATA = Path(__file__).resolve().parents[3] / "../shared/data"
HIPPOCAMPUS = DATA / "hippocampus_mr"


def made(fat=10.0, water=90.0, n_slices=5, touched=()):
    voxels = np.ones((2, n_slices, 3, 3), np.uint8)
    return Crop(voxels, (2.0, 2.0, 3.0), 9 * n_slices, 1.0, (fat, water), touched)


def refused(crop, organ):
    with pytest.raises(ImageError) as caught:
        require_usable(crop, organ, "mask.nii.gz")
    return caught.value


def t1_weighted(pdff, *, tr=6.7, degrees=10.0, t1_fat=312.0, t1_water=800.0):
    """Signals of fat and water of a spoiled gradient echo (Ernst), ms, at a proton-density fat fraction."""
    angle = np.radians(degrees)

    def signal(t1):
        e = np.exp(-tr / t1)
        return np.sin(angle) * (1 - e) / (1 - np.cos(angle) * e)

    return 1000 * pdff * signal(t1_fat), 1000 * (1 - pdff) * signal(t1_water)


@pytest.mark.parametrize("organ", ["liver", "kidneys", "heart", "spleen"])
def test_require_usable__a_swap_in_a_watery_organ_is_suspected(organ):
    for pdff in (0.02, 0.05, 0.1):
        fat, water = t1_weighted(pdff)
        error = refused(made(water, fat), ORGANS[organ])
        assert error.reason == "fat-water swap suspected"
        assert "wanted 0 to 0.7 of the mean signal from fat, found" in str(error)


@pytest.mark.parametrize("pdff", [0.0, 0.05, 0.2, 0.4])
def test_require_usable__fatty_livers_stay(pdff):
    fat, water = t1_weighted(pdff)
    assert require_usable(made(fat, water), ORGANS["liver"], "m").mean_intensity == (fat, water)
    assert require_usable(made(1000 * pdff, 1000 * (1 - pdff)), ORGANS["liver"], "m")


def test_require_usable__marrow_is_fat_and_lungs_and_other_organs_are_not_judged():
    assert refused(made(10, 90), ORGANS["thigh_bones"]).reason == "fat-water swap suspected"
    for fat in (35.0, 90.0):
        require_usable(made(fat, 100 - fat), ORGANS["thigh_bones"], "m")
    for organ in (ORGANS["lungs"], OrganSettings()):
        require_usable(made(99, 1), organ, "m")
        require_usable(made(1, 99), organ, "m")


def test_fat_fraction__needs_both_channels_and_signal():
    assert fat_fraction(made(25, 75), ("fat", "water")) == 0.25
    assert fat_fraction(made(25, 75), ("water", "fat")) == 0.75
    assert fat_fraction(made(25, 75), ("t1", "t2")) is None
    assert fat_fraction(made(0, 0), ("fat", "water")) is None
    assert fat_fraction(made(-20, 30), ("fat", "water")) is None


def test_require_usable__faces_an_organ_may_and_may_not_leave_by():
    error = refused(made(touched=("left", "superior")), ORGANS["liver"])
    assert error.reason == "mask touches the volume's edge"
    assert "found mask voxels on its left and superior face" in str(error)
    require_usable(made(touched=("superior",)), ORGANS["lungs"], "m")
    error = refused(made(touched=("superior", "anterior")), ORGANS["lungs"])
    assert "(but for superior), found mask voxels on its anterior face" in str(error)
    require_usable(made(90, 10, touched=("inferior",)), ORGANS["thigh_bones"], "m")
    assert refused(made(90, 10, touched=("superior",)), ORGANS["thigh_bones"])
    require_usable(made(touched=FACES), OrganSettings(), "m")  # nothing is known of an organ outside the table


def test_require_usable__too_few_slices_is_a_setting():
    error = refused(made(n_slices=2), ORGANS["liver"])
    assert error.reason == "too few slices"
    assert "wanted at least 3 axial slices with the organ, found 2" in str(error)
    require_usable(made(n_slices=2), OrganSettings(min_slices=1), "m")
    require_usable(made(n_slices=3), ORGANS["liver"], "m")


@pytest.mark.parametrize(("axis", "end", "face"), [(i // 2, i % 2, FACES[i]) for i in range(6)])
def test_crop_scan__tells_which_faces_the_mask_reaches(axis, end, face):
    rng = np.random.default_rng(0)
    mask = np.zeros((7, 8, 9), np.uint8)
    mask[2:5, 2:5, 2:5] = 1
    image = Volume(rng.gamma(4, 50, mask.shape), np.eye(4))
    assert crop_scan([image], Volume(mask, np.eye(4))).touched == ()
    np.moveaxis(mask, axis, 0)[-end, 3, 3] = 1
    assert crop_scan([image], Volume(mask, np.eye(4))).touched == (face,)


def test_crop_scans__errors_stand_in_the_place_of_their_scans():
    if not HIPPOCAMPUS.exists():
        pytest.skip("hippocampus_mr is not here")
    names = sorted(path.name for path in (HIPPOCAMPUS / "labels").glob("*.nii.gz"))[:6]
    settings = OrganSettings(channels=("t1",))
    scans = [([str(HIPPOCAMPUS / "images" / n)], str(HIPPOCAMPUS / "labels" / n), None) for n in names]
    scans[2] = (scans[2][0], "nowhere.nii.gz", None)
    found = list(crop_scans(scans, "hippocampus", settings))
    assert isinstance(found[2], ImageError)
    for i in (0, 1, 3, 4, 5):
        alone = crop_file(scans[i], "hippocampus", settings)
        assert isinstance(found[i], Crop)
        np.testing.assert_array_equal(found[i].voxels, alone.voxels)


def test_crop_file__no_hippocampus_crop_is_excluded():
    files = sorted((HIPPOCAMPUS / "labels").glob("*.nii.gz"))
    if not files:
        pytest.skip("hippocampus_mr is not here")
    scans = [([str(HIPPOCAMPUS / "images" / f.name)], str(f), None) for f in files]
    found = list(crop_scans(scans, "hippocampus", OrganSettings(channels=("t1",))))
    assert [str(crop) for crop in found if isinstance(crop, ImageError)] == []
