"""The failure of a step some of whose cells were not made: those that failed, and those that failed checks hold."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from edp_assets.storage.attempts import Reason
from edp_assets.storage.lake import Cell
from edp_assets.storage.verdicts import Hold
from edp_assets.storage.workspace import StageSpec

SHOWN = 10
"""Failed cells, and failed checks, that a message lists; the metadata has all keys."""


class CellsUnmadeError(dg.Failure):
    """Some cells of a step could not be made, or are held by checks upstream; all others are made and stored."""

    def __init__(
        self, spec: StageSpec, failed: Mapping[Cell, Reason], held: Mapping[Cell, list[Hold]], asked: int
    ) -> None:
        self.failed, self.held = dict(failed), dict(held)
        name, told, metadata = "/".join(spec.asset), [], {}
        if failed:
            lines = [f"{partition_key(cell)}: {reason}" for cell, reason in failed.items()]
            told += [f"{name}: {len(failed)} of {asked} cells failed (the others are made).", *_first(lines)]
            metadata["failed"] = dg.MetadataValue.json({f"{partition_key(c)}": str(r) for c, r in failed.items()})
        if held:
            lines = list(dict.fromkeys(str(hold) for each in held.values() for hold in each))
            told += [f"{name}: {len(held)} cells are held by checks upstream (the others are made).", *_first(lines)]
            metadata["held"] = dg.MetadataValue.json([partition_key(cell) for cell in held])
        super().__init__("\n".join(told), metadata=metadata, allow_retries=False)


def partition_key(cell: Cell) -> str | None:
    """Return a cell's partition key in Dagster's words; None for an asset without partitions."""
    return "|".join(key for _, key in cell) or None


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - SHOWN
    return lines if more <= 0 else [*lines[:SHOWN], f"and {more} more: this step's metadata has all keys"]
