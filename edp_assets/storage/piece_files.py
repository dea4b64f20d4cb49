"""Pieces of a partition that takes long: each is kept as it is made, so that a killed run goes on after the last one.

They lie in a hidden folder beside the partition, named by what they are made from, until the partition is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from edp_assets.storage.parquet_files import UNREADABLE, damage, read_footer, read_table
from edp_assets.storage.table_files import NOTES, Frame, TableWriter, provenance_of

PREFIX = ".pieces-"


class Pieces(Protocol):
    """Rows of a partition that takes long, in pieces that are kept at once: a killed run goes on after them."""

    def __call__(self, state: dict[str, Any]) -> Iterator[tuple[Frame, dict[str, Any]]]:
        """Yield each piece with the state after it (plain values), going on from a state; the first is empty."""


def remove_finished(lake: Path) -> None:
    """Remove the pieces of partitions that are whole: those of a process that died before it could."""
    for where, folders, _ in os.walk(lake):
        for name in [folder for folder in folders if folder.startswith(PREFIX)]:
            folders.remove(name)
            try:
                made = provenance_of(read_footer(Path(where, "part.parquet")))
            except UNREADABLE:
                continue
            inputs = made.inputs if made is not None else ""
            if name == _name(inputs):
                shutil.rmtree(Path(where, name))


def _name(inputs: str) -> str:
    return f"{PREFIX}{inputs[:32]}"


class PieceFiles:
    """The pieces of one partition."""

    def __init__(self, partition: Path, table: str, inputs: str) -> None:
        """Find the pieces that are there; those made from other inputs are removed.

        Args:
            partition: the partition's folder.
            table: the stored table's schema.
            inputs: the fingerprint of what the partition is made from.
        """
        self._table, self._folder = table, partition / _name(inputs)
        for other in partition.glob(f"{PREFIX}*"):
            if other != self._folder:
                shutil.rmtree(other)

    def made(self, pieces: Pieces) -> Iterator[Frame]:
        """Make the pieces that are lacking, then yield all of them."""
        state: dict[str, Any] = {}
        done = 0
        while (found := self._state(done)) is not None:
            state, done = found, done + 1
        for frame, state_after in pieces(state):
            with TableWriter(self._path(done), self._table) as writer:
                writer.add(frame)
                writer.finish("", {"state": state_after})
                writer.replace()
            done += 1
        for piece in range(done):
            yield pl.DataFrame(read_table(self._path(piece)))

    def remove(self) -> None:
        """Remove the pieces."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, piece: int) -> Path:
        return self._folder / f"{piece:06d}.parquet"

    def _state(self, piece: int) -> dict[str, Any] | None:
        """Return the state after a piece; None where it is not there, or damaged."""
        path = self._path(piece)
        if not path.exists() or damage(path) is not None:
            return None
        metadata = read_footer(path).metadata or {}
        return dict(json.loads(metadata[NOTES])["state"])
