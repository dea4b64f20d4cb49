"""NIfTI files in every state a cohort holds them: both versions, any orientation, broken."""

import gzip
import pickle
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from edp_assets.science.imaging.nifti import ImageError, read_volume

DATA = Path(__file__).resolve().parents[3] / "../shared/data"
AFFINE = np.array([[2.0, 0, 0, -10], [0, 3, 0, 5], [0, 0, 4, 7], [0, 0, 0, 1]])


def anatomy(shape=(4, 5, 6), dtype=np.int16):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def write(path, data, affine=AFFINE, image_class=nib.Nifti1Image):
    nib.save(image_class(data, affine), path)
    return path


@pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_read_volume__both_versions_plain_and_gzipped(tmp_path, image_class, suffix):
    volume = read_volume(write(tmp_path / f"scan{suffix}", anatomy(), image_class=image_class))
    np.testing.assert_array_equal(volume.data, anatomy())
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert volume.data.dtype == np.int16


def test_read_volume__big_endian_and_gzip_without_the_suffix(tmp_path):
    image = nib.Nifti1Image(anatomy(dtype=">i2"), AFFINE, nib.Nifti1Header(endianness=">"))
    path = tmp_path / "scan.nii"
    path.write_bytes(gzip.compress(image.to_bytes()))
    np.testing.assert_array_equal(read_volume(path).data, anatomy())


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPI", "PIR", "SAL", "ASR"])
def test_read_volume__any_stored_orientation_gives_the_same_volume(tmp_path, codes):
    image = nib.Nifti1Image(anatomy(), AFFINE)
    turn = nib.orientations.ornt_transform(nib.io_orientation(AFFINE), nib.orientations.axcodes2ornt(codes))
    stored = image.as_reoriented(turn)
    assert nib.aff2axcodes(stored.affine) == tuple(codes)
    nib.save(stored, tmp_path / "turned.nii.gz")
    volume = read_volume(tmp_path / "turned.nii.gz")
    np.testing.assert_array_equal(volume.data, anatomy())
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)


def test_read_volume__scaled_integers_are_read_in_their_units(tmp_path):
    image = nib.Nifti1Image(anatomy(), AFFINE)
    image.header.set_slope_inter(0.5, 3)
    (tmp_path / "scaled.nii").write_bytes(image.to_bytes())
    volume = read_volume(tmp_path / "scaled.nii")
    np.testing.assert_array_equal(volume.data, anatomy())
    np.testing.assert_allclose(volume.values(volume.data), anatomy() * 0.5 + 3)


def test_read_volume__single_time_point_is_squeezed_and_more_refused(tmp_path):
    assert read_volume(write(tmp_path / "one.nii", anatomy((4, 5, 6, 1)))).data.shape == (4, 5, 6)
    with pytest.raises(ImageError, match="wanted 3 axes, found shape") as caught:
        read_volume(write(tmp_path / "two.nii", anatomy((4, 5, 6, 2))))
    assert caught.value.reason == "not a 3D image"
    with pytest.raises(ImageError, match="wanted 3 axes"):
        read_volume(write(tmp_path / "flat.nii", anatomy((4, 5))))


@pytest.mark.parametrize("cut", [40, 400, None])
def test_read_volume__gzip_in_several_members(tmp_path, cut):
    """As pigz or bgzip write it; two members of one size look like one whole file to whoever reads the first alone."""
    plain = nib.Nifti1Image(anatomy((10, 10, 10)), AFFINE).to_bytes()
    half = cut or len(plain) // 2
    (tmp_path / "two.nii.gz").write_bytes(gzip.compress(plain[:half]) + gzip.compress(plain[half:]))
    np.testing.assert_array_equal(read_volume(tmp_path / "two.nii.gz").data, anatomy((10, 10, 10)))


def test_read_volume__a_trailer_that_lies_about_the_size_is_corrupt(tmp_path):
    packed = gzip.compress(nib.Nifti1Image(anatomy(), AFFINE).to_bytes())
    for size in (b"\x00\x00\x00\x00", b"\x01\x00\x00\x00", b"\xff\xff\xff\xff"):
        (tmp_path / "lies.nii.gz").write_bytes(packed[:-4] + size)
        with pytest.raises(ImageError, match="Incorrect length of data produced"):
            read_volume(tmp_path / "lies.nii.gz")


def test_read_volume__does_not_copy_the_voxels(tmp_path):
    path = write(tmp_path / "big.nii.gz", np.zeros((100, 100, 100), np.int16))
    read_volume(path)
    tracemalloc.start()
    volume = read_volume(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert volume.data.nbytes <= peak < 1.05 * volume.data.nbytes


def test_read_volume__missing_file():
    with pytest.raises(ImageError, match=r"nowhere\.nii: wanted a NIfTI file, found none") as caught:
        read_volume("nowhere.nii")
    assert caught.value.reason == "missing file"
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.reason) == (str(caught.value), "missing file")


def broken_files():
    noise = np.random.default_rng(0).integers(0, 1000, (12, 12, 12)).astype(np.int16)
    plain = nib.Nifti1Image(noise, AFFINE).to_bytes()
    packed = gzip.compress(plain)
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 0xFF
    checksum = bytearray(packed)
    checksum[-6] ^= 0xFF
    huge = bytearray(plain)
    huge[42:48] = b"\xff\x7f" * 3
    return {
        "empty": b"",
        "text": b"eid,organ,mask\n" * 40,
        "gzipped text": gzip.compress(b"eid,organ,mask\n" * 40),
        "truncated gzip": packed[: len(packed) // 2],
        "truncated in the header": packed[:60],
        "gzip magic alone": packed[:2],
        "flipped byte": bytes(flipped),
        "wrong checksum": bytes(checksum),
        "truncated plain": plain[:-100],
        "half a header": plain[:200],
        "header only": plain[:348],
        "huge dimensions": bytes(huge),
    }


@pytest.mark.parametrize("name", broken_files())
def test_read_volume__broken_file_is_an_image_error(tmp_path, name):
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(broken_files()[name])
    with pytest.raises(ImageError, match=r"broken\.nii\.gz: wanted .*; ") as caught:
        read_volume(path)
    assert caught.value.reason == "corrupt file"


def test_read_volume__singular_affine_and_colour_are_refused(tmp_path):
    image = nib.Nifti1Image(anatomy(), AFFINE)
    image.header["srow_x"] = 0
    image.header["sform_code"] = 1
    (tmp_path / "flat.nii").write_bytes(image.header.binaryblock + b"\0" * 4 + anatomy().tobytes())
    with pytest.raises(ImageError, match="invertible affine"):
        read_volume(tmp_path / "flat.nii")
    colour = np.zeros((3, 3, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(ImageError, match="one real number a voxel"):
        read_volume(write(tmp_path / "colour.nii", colour))
    with pytest.raises(ImageError, match="wanted a readable file"):
        read_volume(tmp_path)
    with pytest.raises(ImageError, match="one real number a voxel"):
        read_volume(write(tmp_path / "complex.nii", anatomy(dtype=np.complex64)))


@pytest.mark.parametrize("subject", ["0001", "0042"])
def test_read_volume__right_and_left_of_a_ukbb_dixon_scan_stay_apart(subject):
    path = DATA / "ukbb_dixon_atlas" / subject / "bone_joints.nii.gz"
    if not path.exists():
        pytest.skip("ukbb_dixon_atlas is not here")
    assert nib.aff2axcodes(nib.load(path).affine) == ("L", "A", "S")
    volume = read_volume(path)
    assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")
    labels = [label for label in np.unique(volume.data) if label]
    for right in (label for label in labels if label % 2):
        assert np.nonzero(volume.data == right)[0].mean() > np.nonzero(volume.data == right + 1)[0].mean()
