"""Packs: items come back as `cut` gives them, in any order; whole files or none; a bounded look ahead."""

import threading
import time

import numpy as np
import pytest

from edp_assets.science.encoders.packs import ahead, ensure_pack, open_pack, write_pack
from edp_assets.science.imaging.slices import cut


def crops(seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(5, 9, 7), (21, 12, 12), (16, 3, 10), (1, 20, 8)]
    return [rng.integers(1, 256, (2, *shape)).astype(np.uint8) for shape in shapes]


@pytest.mark.parametrize("item_shape", [(2, 12, 12), (2, 16, 12, 12), (2, 4, 12, 12)])
def test_pack_items__are_what_cut_gives_in_any_order(tmp_path, item_shape):
    items = write_pack(tmp_path / "pack", crops(), 12, "v").items(item_shape)
    wanted = np.concatenate([cut(crop, item_shape) for crop in crops()])
    assert len(items) == len(wanted)
    rows = np.random.default_rng(1).permutation(len(wanted))
    np.testing.assert_array_equal(items.read(rows), wanted[rows])
    again = open_pack(tmp_path / "pack").items(item_shape)
    assert again.version == "v"
    np.testing.assert_array_equal(again.read(np.arange(len(wanted))), wanted)


def test_write_pack__is_tight(tmp_path):
    write_pack(tmp_path / "pack", crops()[:3], 12, "v")
    voxels = sum(crop.size for crop in crops()[:3])
    assert 0 < (tmp_path / "pack").stat().st_size - voxels < 400
    assert [file.name for file in tmp_path.iterdir()] == ["pack"]


def test_write_pack__failure_leaves_the_old_file(tmp_path):
    write_pack(tmp_path / "pack", crops(), 12, "old")
    with pytest.raises(ValueError, match="wanted crops of 2 channels, found 1 in crop 1"):
        write_pack(tmp_path / "pack", [crops()[0], crops()[1][:1]], 12, "new")
    assert open_pack(tmp_path / "pack").version == "old"
    with pytest.raises(ValueError, match="wanted at least one crop"):
        write_pack(tmp_path / "pack", [], 12, "new")


def test_open_pack__other_files_are_refused(tmp_path):
    path = tmp_path / "pack"
    for content in (None, b"", b"short", b"x" * 100, b"[]" + (2).to_bytes(8, "little")):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=r"wanted a file of format edp_assets\.pack/1.*write it again"):
            open_pack(path)


def test_pack_items__of_another_shape_are_refused(tmp_path):
    pack = write_pack(tmp_path / "pack", crops(), 12, "v")
    for shape in ((1, 12, 12), (2, 16, 24, 24)):
        with pytest.raises(ValueError, match="channels at resolution 12; write the pack again"):
            pack.items(shape)


def test_pack_items__a_truncated_file_is_told(tmp_path):
    items = write_pack(tmp_path / "pack", crops(), 12, "v").items((2, 12, 12))
    with (tmp_path / "pack").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(ValueError, match="the file ends within scan 0"):
        items.read(np.array([0]))


def test_ensure_pack__writes_only_what_is_not_there(tmp_path):
    drawn = []

    def source():
        drawn.append(1)
        return crops()

    for version, resolution, times in (("a", 12, 1), ("a", 12, 1), ("b", 12, 2), ("b", 16, 3), ("b", 16, 3)):
        pack = ensure_pack(tmp_path / "pack", source, resolution, version)
        assert (pack.version, pack.resolution, len(drawn)) == (version, resolution, times)


def test_ahead__keeps_order_and_is_bounded():
    drawn, threads = [], set()

    def source():
        for k in range(20):
            drawn.append(k)
            threads.add(threading.get_ident())
            yield k

    stream = ahead(source(), depth=3)
    assert next(stream) == 0
    time.sleep(0.05)
    assert len(drawn) <= 4
    assert list(stream) == list(range(1, 20))
    assert threading.get_ident() not in threads
    assert len(threads) == 1


def test_ahead__errors_come_through():
    def source():
        yield 1
        raise RuntimeError("disk gone")

    stream = ahead(source())
    assert next(stream) == 1
    with pytest.raises(RuntimeError, match="disk gone"):
        next(stream)
