"""The lake: round trips, atomic writes, hostile keys, exclusions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edp_assets.storage.lake import Exclusion, Lake, LakeError, Stored, cell_of
from edp_assets.storage.schemas import SchemaError, empty
from edp_assets.storage.upstream import Partitions

ASSET = ("mae", "edp_scores")


def scores(n: int, seed: int = 0) -> pl.DataFrame:
    values = np.random.default_rng(seed).normal(size=n)
    return pl.DataFrame({"eid": [str(i) for i in range(n)], "score": values, "label_used": False}).with_columns(
        encoder=pl.lit("mae"), organ=pl.lit("liver"), icd10=pl.lit("K76"), method=pl.lit("classifier"), cluster=None
    )


def test_write__read_gives_the_same_rows_whatever_the_chunks(tmp_path: Path) -> None:
    lake, cell = Lake(tmp_path), cell_of({"organ": "liver", "icd10": "K76"})
    whole = scores(10)
    lake.write(ASSET, cell, "edp_scores", Stored(iter([whole[:4], whole[4:]])), "inputs")
    assert lake.read(ASSET, cell).select(whole.columns).equals(whole.cast({"cluster": pl.Int32}))
    assert (tmp_path / "mae/edp_scores/icd10=K76/organ=liver/part.parquet").exists()
    assert [frame.height for frame in lake.batches(ASSET, cell, 4)] == [4, 4, 2]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 20), st.integers(1, 4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_batches__skipping_gives_the_rows_after(tmp_path: Path, groups: list[int], skip: int, rows: int) -> None:
    lake, cell, whole = Lake(tmp_path), cell_of({"organ": "liver", "icd10": "K76"}), scores(sum(groups))
    ends = np.cumsum(groups)
    lake.write(ASSET, cell, "edp_scores", Stored([whole[a - n : a] for a, n in zip(ends, groups, strict=True)]), "")
    found = [eid for frame in lake.batches(ASSET, cell, rows, skip=skip) for eid in frame["eid"]]
    assert found == whole["eid"].to_list()[skip:]


def test_sample__whole_row_groups_in_their_order_seeded(tmp_path: Path) -> None:
    lake, cell, whole = Lake(tmp_path), cell_of({"organ": "liver", "icd10": "K76"}), scores(40)
    lake.write(ASSET, cell, "edp_scores", Stored([whole[k : k + 4] for k in range(0, 40, 4)]), "")
    partition = Partitions(lake, ASSET, [cell]).partition(cell)

    def drawn(rows: int, seed: int) -> list[str]:
        return [eid for frame in partition.sample(rows, seed) for eid in frame["eid"]]

    assert len(drawn(10, 0)) == 12
    assert drawn(10, 0) == sorted(drawn(10, 0), key=int)
    assert drawn(10, 0) == drawn(10, 0) != drawn(10, 1)
    assert drawn(1000, 0) == whole["eid"].to_list()


def test_version__of_what_is_not_stored_is_none(tmp_path: Path) -> None:
    lake, cell = Lake(tmp_path), cell_of({"organ": "liver", "icd10": "K76"})
    partition = Partitions(lake, ASSET, [cell]).partition(cell)
    assert partition.version is None
    stored = lake.write(ASSET, cell, "edp_scores", Stored(scores(3)), "")
    assert partition.version == stored.version


# A lake key may hold anything: it must neither leave the lake nor be confused with another.
@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=4, unique=True))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_write__any_key_stays_inside_the_lake_and_is_found_again(tmp_path: Path, keys: list[str]) -> None:
    keys = [key for key in keys if key.isprintable()]
    root = tmp_path / str(abs(hash(tuple(keys))))
    lake = Lake(root)
    for i, key in enumerate(keys):
        lake.write(ASSET, cell_of({"icd10": key, "organ": "../.."}), "edp_scores", Stored(scores(i + 1)), "")
    assert {dict(cell)["icd10"] for cell in lake.cells(ASSET)} == set(keys)
    for i, key in enumerate(keys):
        assert lake.read(ASSET, cell_of({"icd10": key, "organ": "../.."})).height == i + 1
    assert all(path.resolve().is_relative_to(root.resolve()) for path in root.rglob("*"))


def test_write__a_failure_midway_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    lake, cell = Lake(tmp_path), cell_of({"icd10": "K76", "organ": "liver"})
    lake.write(ASSET, cell, "edp_scores", Stored(scores(3)), "old")

    def breaks():
        yield scores(5)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        lake.write(ASSET, cell, "edp_scores", Stored(breaks()), "new")
    assert lake.read(ASSET, cell).height == 3
    assert lake.provenance(ASSET, cell).inputs == "old"
    assert [path.name for path in lake.path(ASSET, cell).parent.iterdir()] == ["part.parquet"]


def test_write__version_is_of_the_content_alone(tmp_path: Path) -> None:
    lake, cell = Lake(tmp_path), ()
    first = lake.write(ASSET, cell, "edp_scores", Stored(scores(3)), "one")
    again = lake.write(ASSET, cell, "edp_scores", Stored(scores(3)), "two")
    other = lake.write(ASSET, cell, "edp_scores", Stored(scores(3, seed=1)), "two")
    assert first.version == again.version != other.version
    assert (first.inputs, again.inputs, again.rows) == ("one", "two", 3)


def test_write__exclusions_made_while_iterating_are_stored_and_later_removed(tmp_path: Path) -> None:
    lake, cell = Lake(tmp_path), cell_of({"organ": "liver"})
    stored = Stored(())

    def frames():
        stored.excluded.append(Exclusion("17", "liver", "masked_crops", "empty mask"))
        yield scores(1)

    stored.frames = frames()
    lake.write(ASSET, cell, "edp_scores", stored, "")
    beside = lake.path(ASSET, cell).with_name("excluded.parquet")
    assert pl.read_parquet(beside, hive_partitioning=False).rows() == [("17", "liver", "masked_crops", "empty mask")]
    lake.write(ASSET, cell, "edp_scores", Stored(scores(1)), "")
    assert not beside.exists()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (scores(2).drop("score"), r"edp_scores: .*missing \['score'\]"),
        (scores(2).with_columns(extra=1), r"unknown \['extra'\]"),
        (scores(2).with_columns(eid=pl.lit(None, dtype=pl.String)), r"no value may be missing in \['eid'\]"),
        (scores(2).with_columns(score=pl.lit("high")), "does not convert"),
    ],
)
def test_write__a_frame_off_its_schema_is_refused(tmp_path: Path, frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Lake(tmp_path).write(ASSET, (), "edp_scores", Stored(frame), "")


def test_read__missing_and_damaged_files_are_told(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with pytest.raises(LakeError, match="materialise mae/edp_scores"):
        lake.read(ASSET, ())
    lake.write(ASSET, (), "edp_scores", Stored(scores(2)), "")
    path = lake.path(ASSET, ())
    path.write_bytes(path.read_bytes()[:-20])
    assert lake.provenance(ASSET, ()) is None
    with pytest.raises(LakeError, match="is damaged"):
        lake.read(ASSET, ())


def test_partitions__match_on_shared_dimensions_and_read_when_asked(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    cells = [cell_of({"organ": o, "chromosome": c}) for o in ("heart", "liver") for c in ("1", "2")]
    for i, cell in enumerate(cells[:3]):
        lake.write(ASSET, cell, "edp_scores", Stored(scores(i + 1)), "")
    partitions = Partitions(lake, ASSET, cells)
    liver = partitions.matching(cell_of({"organ": "liver", "icd10": "K76"}))
    assert [dict(cell)["chromosome"] for cell in liver] == ["1", "2"]
    assert len(liver.stored()) == 1
    assert liver[cells[2]].height == 3
    with pytest.raises(LakeError, match="is not there"):
        liver[cells[3]]


def test_write__an_empty_partition_is_a_file_with_columns(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write(ASSET, (), "edp_scores", Stored(empty("edp_scores")), "")
    assert lake.read(ASSET, ()).height == 0
    assert lake.read(ASSET, ()).columns == empty("edp_scores").columns
