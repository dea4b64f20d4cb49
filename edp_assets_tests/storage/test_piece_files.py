"""Pieces: a killed run goes on after the last one, and what was made from other inputs is not used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from edp_assets.storage.lake import Lake, Stored, cell_of
from edp_assets.storage.piece_files import remove_finished

ASSET, CELL = ("organ_volumes",), cell_of({"organ": "liver"})


def volumes(first: int, n: int = 2) -> pl.DataFrame:
    eids = [str(i) for i in range(first, first + n)]
    return pl.DataFrame({"eid": eids, "organ": "liver", "voxels": range(first, first + n), "volume_ml": float(first)})


class Maker:
    """Makes four pieces, and is killed before one of them."""

    def __init__(self, killed_at: int | None = None) -> None:
        self.killed_at, self.began_at = killed_at, -1

    def __call__(self, state: dict[str, Any]) -> Iterator[tuple[pl.DataFrame, dict[str, Any]]]:
        self.began_at = state.get("done", 0)
        for piece in range(self.began_at, 4):
            if piece == self.killed_at:
                raise KeyboardInterrupt
            yield volumes(2 * piece), {"done": piece + 1}


def test_write__a_killed_run_goes_on_after_its_last_piece(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        lake.write(ASSET, CELL, "organ_volumes", Stored(Maker(killed_at=3)), "inputs")
    assert lake.provenance(ASSET, CELL) is None
    again = Maker()
    lake.write(ASSET, CELL, "organ_volumes", Stored(again), "inputs")
    assert again.began_at == 3
    undisturbed = Lake(tmp_path / "other")
    undisturbed.write(ASSET, CELL, "organ_volumes", Stored(Maker()), "inputs")
    assert lake.provenance(ASSET, CELL) == undisturbed.provenance(ASSET, CELL)
    assert lake.read(ASSET, CELL)["eid"].to_list() == [str(i) for i in range(8)]
    assert not list(tmp_path.rglob(".pieces-*"))


def test_write__pieces_of_other_inputs_are_thrown_away(tmp_path: Path) -> None:
    lake, again = Lake(tmp_path), Maker()
    with pytest.raises(KeyboardInterrupt):
        lake.write(ASSET, CELL, "organ_volumes", Stored(Maker(killed_at=3)), "of one label")
    lake.write(ASSET, CELL, "organ_volumes", Stored(again), "of another")
    assert again.began_at == 0
    assert not list(tmp_path.rglob(".pieces-*"))


def test_write__a_damaged_piece_is_made_again(tmp_path: Path) -> None:
    lake, again = Lake(tmp_path), Maker()
    with pytest.raises(KeyboardInterrupt):
        lake.write(ASSET, CELL, "organ_volumes", Stored(Maker(killed_at=3)), "inputs")
    damaged = sorted(tmp_path.rglob("000001.parquet"))[0]
    damaged.write_bytes(damaged.read_bytes()[:40])
    lake.write(ASSET, CELL, "organ_volumes", Stored(again), "inputs")
    assert again.began_at == 1
    assert lake.read(ASSET, CELL)["eid"].to_list() == [str(i) for i in range(8)]


def test_remove_finished__leaves_the_pieces_of_what_is_not_whole(tmp_path: Path) -> None:
    lake, cells = Lake(tmp_path), [cell_of({"icd10": code}) for code in ("A00", "A01", "A02")]
    frame = pl.DataFrame({"icd10": ["A00"], "eid": ["1"]})
    for cell, inputs in zip(cells, ("a" * 32, "b" * 32), strict=False):
        lake.write(("icd10_cases",), cell, "icd10_cases", Stored(frame), inputs)
    for cell, name in zip(cells, "acc", strict=True):  # whole; being made anew; never made
        (lake.path(("icd10_cases",), cell).parent / f".pieces-{name * 32}").mkdir(parents=True)
    remove_finished(tmp_path)
    assert [cell for cell in cells if list(lake.path(("icd10_cases",), cell).parent.glob(".pieces-*"))] == cells[1:]
