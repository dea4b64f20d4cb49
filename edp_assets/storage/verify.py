"""Reading every stored file to its end: which are not as they were written. What is damaged is set aside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edp_assets.storage import checkpoints, mirror, parquet_files, warehouse
from edp_assets.storage.cells import ASIDE, Cell, Location, path_cell, said, set_aside
from edp_assets.storage.workspace import Asset, Workspace


@dataclass(frozen=True)
class Damage:
    """A file that was damaged, whose it is (no asset: the warehouse), and what is wrong with it."""

    asset: Asset
    cell: Cell
    path: Location
    why: str

    def __str__(self) -> str:
        what = said(self.asset, self.cell) if self.asset else "the warehouse"
        return f"{what}: {self.path} is damaged ({self.why}); set aside as {self.path.name}{ASIDE}"


def verify(workspace: Workspace, say: Callable[[str], None] = lambda _: None) -> list[Damage]:
    """Read all of the lake, the checkpoints and the warehouse; set aside and return what is damaged.

    A partition whose list of exclusions is damaged is set aside with it, since only both together are made again; a
    damaged verdict of its checks is made again by itself. Memory is bounded: files are read by blocks.
    """
    found: list[Damage] = []
    read = size = 0
    for asset, cell, path in _files(workspace):
        find = checkpoints.damage if path.name == checkpoints.FILE else parquet_files.damage
        try:
            why, size = find(path), size + path.stat().st_size
        except FileNotFoundError:  # set aside with another, or made again meanwhile
            continue
        read += 1
        if why is not None:
            found.append(Damage(asset, cell, path, why))
            set_aside(path)
            if path.name == "excluded.parquet":
                set_aside(path.with_name("part.parquet"))
    if workspace.home.warehouse.exists():
        try:
            warehouse.check(workspace.home.warehouse)
        except warehouse.WarehouseDamagedError as error:
            found.append(Damage((), (), workspace.home.warehouse, str(error)))
            mirror.set_aside(workspace.home, error)
    say(f"{read} files of {size / 1e9:.2f} GB read, {len(found)} damaged")
    return found


def _files(workspace: Workspace) -> Iterator[tuple[Asset, Cell, Location]]:
    """Yield every stored file with the asset and the cell that it is of."""
    places: list[tuple[Location, tuple[str, ...]]] = [
        (workspace.lake.root, ("part.parquet", "excluded.parquet", "asset_checks.parquet")),
        (workspace.checkpoints.root, (checkpoints.FILE,)),
    ]
    for root, names in places:
        for name in names:
            # Below the root come the asset's parts, without "=", then the cell's, with one.
            paths: list[Location] = sorted(root.glob(f"**/{name}"), key=str)
            for path in paths:
                parts = path.parent.relative_to(root).parts  # type: ignore[arg-type]
                asset = tuple(part for part in parts if "=" not in part)
                yield asset, path_cell(parts[len(asset) :]), path
