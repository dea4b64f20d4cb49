"""Verdicts: what the checks of a stored partition found, kept beside it, and which cells a failure holds.

A verdict is of one content, one set of thresholds: where either changed, or it is missing, it is made again. What is
checked and how is in `checks`, which registers itself in GATES; whoever builds on a partition asks here.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import polars as pl

from edp_assets.storage import warehouse
from edp_assets.storage.attempts import Attempt
from edp_assets.storage.debts import Debt
from edp_assets.storage.lake import Cell
from edp_assets.storage.workspace import Asset, StageSpec, Workspace

TABLE = "asset_checks"


@dataclass(frozen=True)
class Gate:
    """The checks of one asset.

    Attributes:
        spec: the asset's.
        checks: names of the checks with what each looks at.
        evaluate: makes a stored partition's rows of the table `asset_checks`.
        fingerprint: of all that the rows depend on, but the partition itself.
    """

    spec: StageSpec
    checks: dict[str, str]
    evaluate: Callable[[Workspace, Cell], pl.DataFrame]
    fingerprint: Callable[[Workspace], str]


GATES: dict[Asset, Gate] = {}
"""The checked assets."""


@dataclass(frozen=True)
class Hold:
    """A failed check that holds what stands downstream of a cell."""

    asset: Asset
    cell: Cell
    phenotype: str
    check: str
    description: str
    remedy: str

    def __str__(self) -> str:
        where = ", ".join(filter(None, (" ".join(key for _, key in self.cell), self.phenotype)))
        return f"{'/'.join(self.asset)} [{where}]: check {self.check} failed: {self.description}. To do: {self.remedy}."


class Verdicts:
    """The verdicts of one workspace, made where they are missing; `mirror` brings those made into the warehouse."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.made: dict[Asset, list[Cell]] = defaultdict(list)
        self._debts: dict[Asset, Debt] = {}
        self._fingerprints: dict[Asset, str] = {}
        self._holds: dict[tuple[Asset, Cell], tuple[str, list[Hold]]] = {}

    def stored(self, asset: Asset, cell: Cell) -> pl.DataFrame | None:
        """Return the rows of a current verdict; None where there is none, or no partition."""
        inputs = self._inputs(asset, cell)
        return None if inputs is None else self.workspace.lake.read_beside(asset, cell, TABLE, inputs)

    def ensure(self, asset: Asset, cell: Cell) -> pl.DataFrame | None:
        """Return the rows of the verdict, made if need be; None where the asset has no checks or no such partition."""
        inputs = self._inputs(asset, cell)
        if inputs is None:
            return None
        found = self.workspace.lake.read_beside(asset, cell, TABLE, inputs)
        if found is None:
            with self.workspace.home.making((TABLE, *asset), [cell]):
                found = GATES[asset].evaluate(self.workspace, cell)
                self._debts.setdefault(asset, Debt(self.workspace.home, asset)).owe()
                self.workspace.lake.write_beside(asset, cell, TABLE, found, inputs)
            self.made[asset].append(cell)
        return found

    def holds(self, asset: Asset, cell: Cell) -> list[Hold]:
        """Return the failed checks of a stored partition that hold what stands downstream of it."""
        inputs = self._inputs(asset, cell)
        if inputs is None:
            return []
        known = self._holds.get((asset, cell))
        if known is None or known[0] != inputs:
            found, evaluated = [], Attempt()
            with evaluated:
                rows = self.ensure(asset, cell)
                found = (
                    [] if rows is None else [_hold(asset, cell, row) for row in blocking(rows).iter_rows(named=True)]
                )
            if evaluated.reason is not None:
                what = f"its checks could not be evaluated ({evaluated.reason})"
                found = [Hold(asset, cell, "", "evaluation", what, "mend what the message says, and run again")]
            known = self._holds[asset, cell] = inputs, found
        return known[1]

    def holds_above(self, spec: StageSpec, cells: Iterable[Cell]) -> dict[Cell, list[Hold]]:
        """Return those of an asset's cells that are made from a partition with a blocking failure, with what failed."""
        gated = {asset for asset in spec.inputs.values() if asset in GATES}
        found: dict[Cell, list[Hold]] = {}
        for asset in gated:
            dimensions = GATES[asset].spec.dimensions
            there = None if set(dimensions) <= set(spec.dimensions) else self.workspace.lake.cells(asset)
            for cell in cells:
                keys = dict(cell)
                if there is None:
                    above = [tuple((name, keys[name]) for name in dimensions)]
                else:
                    above = [each for each in there if all(keys.get(name, key) == key for name, key in each)]
                holds = [hold for each in above for hold in self.holds(asset, each)]
                if holds:
                    found.setdefault(cell, []).extend(holds)
        return found

    def mirror(self) -> None:
        """Bring the verdicts made so far into the warehouse."""
        for asset, cells in self.made.items():
            if not cells:
                continue
            table = GATES[asset].spec.table
            warehouse.refresh(self.workspace.home.warehouse, self.workspace.lake, table, asset, cells)
            self._debts.pop(asset).pay()
        self.made.clear()

    def _inputs(self, asset: Asset, cell: Cell) -> str | None:
        """Return what the verdict of a stored partition would be made from now."""
        if asset not in GATES:
            return None
        provenance = self.workspace.lake.provenance(asset, cell)
        if provenance is None:
            return None
        if asset not in self._fingerprints:
            self._fingerprints[asset] = GATES[asset].fingerprint(self.workspace)
        text = json.dumps([self._fingerprints[asset], provenance.version])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def blocking(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of `asset_checks` that hold what stands downstream."""
    return rows.filter(~pl.col("passed") & (pl.col("severity") == "error"))


def _hold(asset: Asset, cell: Cell, row: dict[str, object]) -> Hold:
    phenotype = f"{row['method']}" if row["cluster"] is None else f"{row['method']} {row['cluster']}"
    return Hold(asset, cell, phenotype, f"{row['check_name']}", f"{row['description']}", f"{row['remedy']}")
