"""What an asset hands over to be stored in the lake: rows, whom it left out, metadata, notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from edp_assets.storage.cells import Location
from edp_assets.storage.piece_files import Pieces
from edp_assets.storage.schemas import polars_schema
from edp_assets.storage.table_files import Frame, Provenance, TableWriter


@dataclass(frozen=True)
class Exclusion:
    """One participant, scan or code that a stage left out (a row of the table `excluded`)."""

    eid: str | None
    organ: str | None
    stage: str
    reason: str


@dataclass
class Stored:
    """What an asset hands over to be stored.

    `frames` is the rows, or an iterator that makes them; such an iterator may go on filling `excluded`, `metadata` and
    `notes` until it ends. Metadata is for Dagster's UI; notes are kept in the file, for what is made from it. Tables
    `beside` are kept in files of their own, for whoever makes the partition again (`read_beside` with its version).
    """

    frames: pl.DataFrame | Iterable[Frame] | Pieces
    excluded: list[Exclusion] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, pl.DataFrame] = field(default_factory=dict)
    provenance: Provenance | None = None
    path: Location | None = None


@dataclass
class Together:
    """Partitions that are made in one go: what each leaves, and (place of the partition, its rows) as they come."""

    members: list[Stored]
    frames: Iterable[tuple[int, Frame]]

    @classmethod
    def of(cls, stored: Stored) -> Together:
        """Return one partition as what is made in one go."""
        assert not callable(stored.frames)  # noqa: S101
        frames = [stored.frames] if isinstance(stored.frames, pl.DataFrame) else stored.frames
        return cls([stored], ((0, frame) for frame in frames))


def write_exclusions(path: Location, excluded: Sequence[Exclusion], scratch: Path) -> None:
    """Store whom a partition left out beside it; nobody: no file."""
    if not excluded:
        path.unlink(missing_ok=True)
        return
    rows = [asdict(exclusion) for exclusion in excluded]
    write_small(path, "excluded", pl.DataFrame(rows, schema=polars_schema("excluded")), "", scratch, {})


def write_small(
    path: Location, table: str, frame: pl.DataFrame, inputs: str, scratch: Path, notes: Mapping[str, Any]
) -> None:
    """Store a small table whole."""
    with TableWriter(path, table, scratch) as writer:
        writer.add(frame)
        writer.finish(inputs, dict(notes))
        writer.replace()
