"""What of the cohort changed since the run before, in words and counts: labels, codes, scans, participants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from edp_assets.storage.lake import Cell, LakeError
from edp_assets.storage.workspace import Asset, StageSpec, Workspace

KEYS: dict[Asset, str] = {
    ("participants",): "eid",
    ("scans",): "eid",
    ("icd10_cases",): "eid",
    ("icd10_codes",): "icd10",
}
"""The tables of which changes are told, with what a row is told apart by."""
CODES_SHOWN = 8
"""Codes that are told one by one."""

Rows = Mapping[Cell, pl.DataFrame]


def rows_of(workspace: Workspace, spec: StageSpec, cells: Iterable[Cell]) -> Rows:
    """Read the stored partitions of a told table; nothing of others, of those not stored, and of damaged ones."""
    found: dict[Cell, pl.DataFrame] = {}
    for cell in cells if spec.asset in KEYS else ():
        try:
            found[cell] = workspace.lake.read(spec.asset, cell)
        except LakeError:
            continue
    return found


def told(spec: StageSpec, before: Rows, after: Rows) -> list[str]:
    """Return what has changed in the partitions that were there before, a line a partition; no line where nothing."""
    if spec.asset not in KEYS:
        return []
    if spec.asset == ("icd10_codes",):
        return [line for cell, rows in before.items() if cell in after for line in _codes(rows, after[cell])]
    counts = {cell: _counts(rows, after[cell], KEYS[spec.asset]) for cell, rows in before.items() if cell in after}
    counts = {cell: found for cell, found in counts.items() if any(found)}
    if spec.asset == ("icd10_cases",):
        return _labels(counts, after)
    return [
        f"{' '.join([*(key for _, key in cell), spec.asset[0]])}: {new} new, {changed} changed, {gone} gone"
        for cell, (new, changed, gone) in counts.items()
    ]


def _counts(before: pl.DataFrame, after: pl.DataFrame, key: str) -> tuple[int, int, int]:
    """Return how many rows are new, changed and gone; a row is told apart by its key."""
    new = after.join(before, on=key, how="anti").height
    gone = before.join(after, on=key, how="anti").height
    if before.columns != after.columns:
        return new, 0, gone
    same = after.join(before, on=after.columns, how="semi", nulls_equal=True).height
    return new, after.height - new - same, gone


def _labels(counts: Mapping[Cell, tuple[int, int, int]], after: Rows) -> list[str]:
    lines = [
        f"label {cell[0][1]}: {new} cases more, {gone} fewer, now {after[cell].height}"
        for cell, (new, _, gone) in list(counts.items())[:CODES_SHOWN]
    ]
    if others := list(counts.values())[CODES_SHOWN:]:
        more, fewer = sum(new for new, _, _ in others), sum(gone for _, _, gone in others)
        lines.append(f"{len(others)} further labels: {more} cases more, {fewer} fewer")
    return lines


def _codes(before: pl.DataFrame, after: pl.DataFrame) -> list[str]:
    """Return which codes are studied now that were not, and the other way round."""
    was, now = (frame.filter("studied")["icd10"] for frame in (before, after))
    new, gone = sorted(set(now) - set(was)), sorted(set(was) - set(now))
    lines = []
    if new:
        lines.append(f"codes studied now: {_listed(new)}")
    if gone:
        lines.append(f"codes retired (what was made of them is kept, and marked in icd10_codes): {_listed(gone)}")
    return lines


def _listed(codes: list[str]) -> str:
    more = f" and {len(codes) - CODES_SHOWN} more" if len(codes) > CODES_SHOWN else ""
    return ", ".join(codes[:CODES_SHOWN]) + more
