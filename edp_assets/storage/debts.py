"""What the warehouse is owed: assets with stored partitions that it may not show, since a process died between the two.

A small file stands for each until the warehouse has the rows. What the warehouse holds, and how, is in `warehouse`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from edp_assets.storage import warehouse
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Lake

Asset = tuple[str, ...]


class Debt:
    """The warehouse is owed rows of an asset, from `owe` (before they are stored) to `pay` (after it has them)."""

    def __init__(self, home: Home, asset: Asset) -> None:
        self._file = home.owed / f"{'.'.join(asset)}.{uuid.uuid4().hex}"

    def owe(self) -> None:
        """Note the debt; to be called within `Home.making`, which keeps `settle` away."""
        self._file.parent.mkdir(exist_ok=True)
        self._file.touch()

    def pay(self) -> None:
        """Forget the debt."""
        self._file.unlink(missing_ok=True)


def settle(home: Home, lake: Lake, tables: Mapping[Asset, str]) -> list[Asset]:
    """Bring what dead processes owed into the warehouse, and return of which assets; the caller has the home alone.

    Args:
        home: whose.
        lake: its lake.
        tables: asset -> stored table; debts of other assets are forgotten.
    """
    files = sorted(home.owed.glob("*.*"))
    names = {file.stem for file in files}
    assets = [asset for asset in tables if ".".join(asset) in names]
    for asset in assets:
        warehouse.refresh(home.warehouse, lake, tables[asset], asset, lake.cells(asset))
    for file in files:
        file.unlink(missing_ok=True)
    return assets
