"""Which cells of a run are held: by failed checks, or by cells above them that failed in this run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edp_assets.assets.stage import REGISTRY
from edp_assets.storage.attempts import Attempt, Reason
from edp_assets.storage.lake import Cell
from edp_assets.storage.verdicts import Hold, Verdicts
from edp_assets.storage.workspace import Asset, StageSpec, restricted

Say = Callable[[str], None]


@dataclass(frozen=True)
class Failed:
    """A cell that could not be made in this run, and why."""

    asset: Asset
    cell: Cell
    reason: Reason


class Holding:
    """Which cells of a run are held: those made from a partition that failed or has a failed check, and those below."""

    def __init__(self, verdicts: Verdicts) -> None:
        self.verdicts = verdicts
        self._held: dict[Asset, dict[Cell, list[Hold | Failed]]] = {}

    def of(self, spec: StageSpec, cells: Sequence[Cell], *, look: bool = False) -> list[Cell]:
        """Return those of a stage's cells that are held; `look`: after a look at what they are to be made from."""
        above_held = self.verdicts.holds_above(spec, cells, look=look)
        held: dict[Cell, list[Hold | Failed]] = {cell: [*holds] for cell, holds in above_held.items()}
        self.verdicts.mirror()
        for asset in () if spec.gathers else spec.inputs.values():
            above = self._held.get(asset, {})
            shared = set(REGISTRY[asset].spec.dimensions) & set(spec.dimensions)
            by_shared: dict[Cell, list[Hold | Failed]] = {}
            for cell, holds in above.items():
                by_shared.setdefault(restricted(cell, shared), []).extend(holds)
            for cell in cells:
                if holds := by_shared.get(restricted(cell, shared), []):
                    held.setdefault(cell, []).extend(holds)
        if held:
            self._held.setdefault(spec.asset, {}).update(held)
        return [cell for cell in cells if cell in held]

    def fail(self, asset: Asset, reasons: Mapping[Cell, Reason]) -> None:
        """Take in the cells of an asset that failed: they hold what stands below them."""
        held = self._held.setdefault(asset, {})
        for cell, reason in reasons.items():
            held[cell] = [Failed(asset, cell, reason)]

    def check(self, asset: Asset, cells: Sequence[Cell], say: Say) -> bool:
        """Evaluate the checks of the cells that lack a current verdict; return whether there were any."""
        before = time.monotonic()
        for cell in cells:
            with Attempt():  # a cell that cannot be checked holds what is below it, which is then told why
                self.verdicts.ensure(asset, cell)
        made = len(self.verdicts.made.get(asset, ()))
        if made:
            self.verdicts.mirror()
            say(f"    {'/'.join(asset)}: checks of {made} partitions evaluated in {time.monotonic() - before:.1f} s")
        return bool(made)

    def told(self) -> list[Hold]:
        """Return the failed checks that held anything, each once."""
        return [hold for hold in self._holds() if isinstance(hold, Hold)]

    def failed(self) -> list[Failed]:
        """Return the cells that failed, each once."""
        return [hold for hold in self._holds() if isinstance(hold, Failed)]

    def below_failed(self) -> dict[Asset, list[Cell]]:
        """Return the cells that failed and those that stand below them, by asset."""
        found = {
            asset: [cell for cell, holds in held.items() if any(isinstance(hold, Failed) for hold in holds)]
            for asset, held in self._held.items()
        }
        return {asset: cells for asset, cells in found.items() if cells}

    def _holds(self) -> list[Hold | Failed]:
        return list(dict.fromkeys(hold for held in self._held.values() for holds in held.values() for hold in holds))
