"""Which cells of a run are held by failed checks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from edp_assets.assets.stage import REGISTRY
from edp_assets.storage.lake import Cell
from edp_assets.storage.verdicts import Hold, Verdicts
from edp_assets.storage.workspace import Asset, StageSpec, restricted

Say = Callable[[str], None]


class Holding:
    """Which cells of a run are held: those made from a partition with a failed check, and what stands below these."""

    def __init__(self, verdicts: Verdicts) -> None:
        self.verdicts = verdicts
        self._held: dict[Asset, dict[Cell, list[Hold]]] = {}

    def of(self, spec: StageSpec, cells: Sequence[Cell], *, look: bool = False) -> list[Cell]:
        """Return those of a stage's cells that are held; `look`: after a look at what they are to be made from."""
        held = self.verdicts.holds_above(spec, cells, look=look)
        self.verdicts.mirror()
        for asset in spec.inputs.values():
            above = self._held.get(asset, {})
            shared = set(REGISTRY[asset].spec.dimensions) & set(spec.dimensions)
            by_shared: dict[Cell, list[Hold]] = {}
            for cell, holds in above.items():
                by_shared.setdefault(restricted(cell, shared), []).extend(holds)
            for cell in cells:
                if holds := by_shared.get(restricted(cell, shared), []):
                    held.setdefault(cell, []).extend(holds)
        if held:
            self._held.setdefault(spec.asset, {}).update(held)
        return [cell for cell in cells if cell in held]

    def check(self, asset: Asset, cells: Sequence[Cell], say: Say) -> bool:
        """Evaluate the checks of the cells that lack a current verdict; return whether there were any."""
        before = time.monotonic()
        for cell in cells:
            self.verdicts.ensure(asset, cell)
        made = len(self.verdicts.made[asset])
        if made:
            self.verdicts.mirror()
            say(f"    {'/'.join(asset)}: checks of {made} partitions evaluated in {time.monotonic() - before:.1f} s")
        return bool(made)

    def told(self) -> list[Hold]:
        """Return the failed checks that held anything, each once."""
        return list(dict.fromkeys(hold for held in self._held.values() for holds in held.values() for hold in holds))
