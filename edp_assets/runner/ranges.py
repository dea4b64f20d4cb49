"""Ranges: the few Dagster partition ranges that cover exactly the cells to be made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from edp_assets.storage.lake import Cell


def ranges(cells: Iterable[Cell], order: dict[str, list[str]]) -> list[tuple[Cell, Cell]]:
    """Cover exactly these cells by few ranges (first and last cell of a block that is contiguous in each dimension)."""
    cells = list(cells)
    if not cells or not cells[0]:
        return [((), ())] if cells else []
    place = {name: {key: i for i, key in enumerate(keys)} for name, keys in order.items()}
    if len(cells[0]) == 1:
        name = cells[0][0][0]
        return [(((name, a),), ((name, b),)) for a, b in _stretches((dict(c)[name] for c in cells), place[name])]
    (outer, inner) = (name for name, _ in cells[0])
    inner_keys: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        inner_keys[dict(cell)[outer]].append(dict(cell)[inner])
    # Outer keys that lack the same inner ones share their ranges.
    alike: dict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
    for key, values in inner_keys.items():
        alike[tuple(_stretches(values, place[inner]))].append(key)
    return [
        (((outer, a), (inner, first)), ((outer, b), (inner, last)))
        for stretches, keys in alike.items()
        for a, b in _stretches(keys, place[outer])
        for first, last in stretches
    ]


def _stretches(keys: Iterable[str], place: dict[str, int]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key in sorted(set(keys), key=place.__getitem__):
        if found and place[key] == place[found[-1][1]] + 1:
            found[-1] = (found[-1][0], key)
        else:
            found.append((key, key))
    return found
