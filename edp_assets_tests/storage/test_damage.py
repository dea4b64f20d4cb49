"""Damaged files: a flipped byte anywhere is noticed, the file set aside, and the rest goes on."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from edp_assets.seal import SealError
from edp_assets.storage.cells import DamagedError
from edp_assets.storage.lake import Exclusion, Lake, LakeError, Stored, cell_of
from edp_assets.storage.parquet_files import damage, open_file
from edp_assets.storage.upstream import Partitions
from edp_assets.storage.workspace import signature
from edp_assets_tests.storage.test_lake import ASSET, scores

CELL = cell_of({"icd10": "K76", "organ": "liver"})


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    found = Lake(tmp_path)
    found.write(ASSET, CELL, "edp_scores", Stored([scores(200), scores(50, 1)], notes={"n": 1}), "inputs")
    return found


def test_damage__a_flipped_byte_anywhere_in_a_file_is_found(lake: Lake) -> None:
    path = lake.path(ASSET, CELL)
    whole = path.read_bytes()
    assert damage(path) is None
    missed = []
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        if damage(path) is None:
            missed.append(at)
    assert missed == []


def test_damage__a_truncated_file_is_found(lake: Lake) -> None:
    path = lake.path(ASSET, CELL)
    whole = path.read_bytes()
    for length in (0, 3, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert damage(path) is not None
    path.write_bytes(b"PAR1" + whole[4:-8] + b"\xff\xff\xff\x7fPAR1")
    assert "longer than the file" in str(damage(path))


@pytest.mark.parametrize("way", ["read", "batches", "stream", "columns", "sample", "scan", "notes"])
def test_reading__a_damaged_file_is_named_and_set_aside(lake: Lake, way: str) -> None:
    path, partition = lake.path(ASSET, CELL), Partitions(lake, ASSET, [CELL]).partition(CELL)
    with open_file(path) as file:  # a byte of the last values of a page
        column = file.metadata.row_group(0).column(file.schema.names.index("score"))
    flip(
        path,
        path.stat().st_size - 40
        if way == "notes"
        else (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 1,
    )
    reads = {
        "read": lambda: lake.read(ASSET, CELL),
        "batches": lambda: list(lake.batches(ASSET, CELL, 4)),
        "stream": lambda: list(partition.stream([column.path_in_schema])),
        "columns": lambda: partition.columns(column.path_in_schema),
        "sample": lambda: list(partition.sample(500, 0)),
        "scan": lambda: partition.scan().collect(),
        "notes": lambda: partition.notes,
    }
    told = r"part.parquet is damaged .*mae/edp_scores \[icd10 K76, organ liver\].*set aside.*edp run"
    with pytest.raises(DamagedError, match=told):
        reads[way]()
    assert not path.exists()
    assert path.with_name("part.parquet.damaged").exists()
    assert (lake.cells(ASSET), lake.set_aside(ASSET), lake.provenances(ASSET)) == ([], [CELL], {})
    with pytest.raises(DamagedError, match="found when it was read"):
        lake.read(ASSET, CELL)
    lake.write(ASSET, CELL, "edp_scores", Stored(scores(3)), "inputs")
    assert (lake.read(ASSET, CELL).height, lake.set_aside(ASSET)) == (3, [])


def test_reading__a_failure_that_is_not_the_files_leaves_it(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object, **__: object) -> None:
        raise OSError("connection reset")

    monkeypatch.setattr("edp_assets.storage.lake.read_table", busy)
    with pytest.raises(OSError, match="connection reset"):
        lake.read(ASSET, CELL)
    assert lake.path(ASSET, CELL).exists()


def test_reading__a_consumer_that_fails_leaves_the_file(lake: Lake) -> None:
    frames = lake.batches(ASSET, CELL, 10)
    next(frames)
    with pytest.raises(ValueError, match="mine"):
        frames.throw(ValueError("mine"))
    assert lake.path(ASSET, CELL).exists()


def test_provenance__a_damaged_footer_counts_as_not_stored(lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    path = lake.path(ASSET, CELL)
    flip(path, path.read_bytes().index(b"inputs"))
    assert lake.provenance(ASSET, CELL) is None
    assert lake.set_aside(ASSET) == [CELL]
    assert "its head does not fit" in caplog.text


def test_read_stored__damaged_exclusions_take_their_partition_with_them(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    excluded = [Exclusion("17", "liver", "masked_crops", "empty mask")]
    lake.write(ASSET, CELL, "edp_scores", Stored(scores(3), excluded), "inputs")
    flip(lake.beside(ASSET, CELL, "excluded"), 30)
    with pytest.raises(DamagedError, match=r"excluded\.parquet is damaged"):
        lake.read_stored(ASSET, CELL, "excluded")
    assert lake.set_aside(ASSET) == [CELL]


def test_read__a_file_of_before_seals_is_read_and_its_damage_told(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    path = lake.path(ASSET, CELL)
    path.parent.mkdir(parents=True)
    scores(3).write_parquet(path)
    assert lake.read(ASSET, CELL).height == 3
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(LakeError, match="is damaged"):
        lake.read(ASSET, CELL)


def test_check_encoder__a_flipped_byte_anywhere_is_found(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from edp_assets.science.encoders.checkpoints import _read, _write, check_encoder
    from edp_assets.storage import checkpoints

    path = tmp_path / "encoder.safetensors"
    _write(path, {"w": torch.arange(50.0)}, {"format": "x", "edp": "{}"})
    whole = path.read_bytes()
    check_encoder(path)
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with pytest.raises(SealError):
            check_encoder(path)
        assert checkpoints.damage(path) is not None
    path.write_bytes(whole[:-3] + b"abc")
    with pytest.raises(ValueError, match="is damaged: the checksum of its content"):
        _read(path, ("x",))
    path.write_bytes(whole)
    assert _read(path, ("x",))[0]["w"].equal(torch.arange(50.0))


def test_checkpoints__a_damaged_encoder_is_named_and_set_aside(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from edp_assets.science.encoders.checkpoints import _write
    from edp_assets.storage.checkpoints import CheckpointPartitions, Checkpoints

    store, asset, cell = Checkpoints(tmp_path), ("mae", "encoder"), cell_of({"organ": "liver"})
    path = store.path(asset, cell)
    _write(path, {"w": torch.arange(50.0)}, {"format": "x"})
    assert CheckpointPartitions(store, asset, [cell])[cell] == path
    flip(path, path.stat().st_size - 1)
    with pytest.raises(DamagedError, match=r"mae/encoder \[organ liver\] and was set aside"):
        CheckpointPartitions(store, asset, [cell])[cell]
    assert (store.cells(asset), store.set_aside(asset)) == ([], [cell])


@pytest.mark.parametrize("stamp", [0, 1_000_000_000, 4_000_000_000])
def test_signature__a_clock_that_jumped_says_only_that_the_file_is_another(tmp_path: Path, stamp: int) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    before = signature(path)
    os.utime(path, (stamp, stamp))
    assert signature(path) != before
    os.utime(path, (stamp, stamp))
    assert signature(path) == f"1:{stamp * 10**9}"


def test_provenance__does_not_look_at_file_times(lake: Lake) -> None:
    path = lake.path(ASSET, CELL)
    before = lake.provenance(ASSET, CELL)
    for stamp in (0, 4_000_000_000):
        os.utime(path, (stamp, stamp))
        assert lake.provenance(ASSET, CELL) == before
    assert pl.read_parquet(path, hive_partitioning=False).height == 250
