"""Verdicts: what the checks of a stored partition found, kept beside it, and which cells a failure holds.

A verdict is of one content, one set of thresholds: where either changed, or it is missing, it is made again. What a
glance at the file tells (its footer, a key column) is looked at anew whenever a partition is made or built on, and only
a failure is kept: a passing verdict would double the files of the lake and say less than another look. What is checked
and how is in `checks`, which registers itself in GATES and LOOKS; whoever builds on a partition asks here.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from edp_assets.science.findings import Finding
from edp_assets.storage.attempts import Attempt
from edp_assets.storage.cells import Location
from edp_assets.storage.lake import Cell
from edp_assets.storage.mirror import mirroring
from edp_assets.storage.unchanged import Unchanged
from edp_assets.storage.workspace import Asset, StageSpec, Workspace

TABLE = "asset_checks"
FAILED = "failed_checks"


@dataclass(frozen=True)
class Verdict:
    """What checks found of a partition: rows of `asset_checks`, and what the next verdict is to be told of this one."""

    rows: pl.DataFrame
    remembered: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Gate:
    """The checks of one asset whose verdicts are kept.

    Attributes:
        spec: the asset's.
        checks: names of the checks with what each looks at.
        evaluate: makes a stored partition's verdict, given what the last one remembered.
        fingerprint: of all that the rows depend on, but the partition itself.
    """

    spec: StageSpec
    checks: dict[str, str]
    evaluate: Callable[[Workspace, Cell, Mapping[str, Any]], Verdict]
    fingerprint: Callable[[Workspace], str]


@dataclass(frozen=True)
class Look:
    """The checks of one asset that cost a millisecond: of a verdict only a failure is kept.

    Attributes:
        spec: the asset's.
        checks: names of the checks with what each looks at.
        evaluate: finds what there is of a partition, told whether it is made of what its inputs are now; nothing where
            there is no partition.
        rows: makes rows of `asset_checks` of what was found of a partition.
    """

    spec: StageSpec
    checks: dict[str, str]
    evaluate: Callable[[Workspace, Cell, bool], list[Finding]]
    rows: Callable[[Cell, Iterable[Finding]], pl.DataFrame]


GATES: dict[Asset, Gate] = {}
"""The assets with checks whose verdicts are kept."""

LOOKS: dict[Asset, Look] = {}
"""The assets that are looked at: every stored table."""


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


_HOLDS: dict[Location, tuple[str, list[Hold]]] = {}
"""By the file of a partition, what its verdict holds, and what that was made from: each stage below asks for it."""

_SEEN = Unchanged[bool]()
"""The partitions' files that were looked at: a run builds on each several times."""


class Verdicts:
    """The verdicts of one workspace, made where they are missing; `mirror` brings those made into the warehouse."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.made: dict[Asset, list[Cell]] = {}
        self._mirroring = ExitStack()
        self._fingerprints: dict[Asset, str] = {}
        self._failed: dict[Asset, set[Cell]] = {}

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
            lake = self.workspace.lake
            with self.workspace.home.making((TABLE, *asset), [cell]):
                verdict = GATES[asset].evaluate(self.workspace, cell, lake.notes_beside(asset, cell, TABLE))
                found = verdict.rows
                self._to_mirror(asset, cell)
                lake.write_beside(asset, cell, TABLE, found, inputs, verdict.remembered)
        return found

    def look(self, asset: Asset, cell: Cell, *, current: bool = False) -> list[Finding] | None:
        """Return what a look at a partition finds, a failure kept and one that is mended forgotten.

        Args:
            asset: the partition's.
            cell: which one.
            current: whether it is known to be made of what its inputs are now: only then can rows be compared. Where a
                failure is kept, all is looked at again.

        Returns:
            What was found, failures and the rest; None where the asset is not looked at.
        """
        if asset not in LOOKS:
            return None
        failed, lake = self.failed(asset), self.workspace.lake
        found = LOOKS[asset].evaluate(self.workspace, cell, current or cell in failed)
        if failures := [finding for finding in found if not finding.passed]:
            self._to_mirror(asset, cell)
            lake.write_beside(asset, cell, FAILED, LOOKS[asset].rows(cell, failures), "")
            failed.add(cell)
        elif cell in failed:
            self._to_mirror(asset, cell)
            lake.remove_beside(asset, cell, FAILED)
            failed.remove(cell)
        return found

    def _look_again(self, asset: Asset, cell: Cell) -> None:
        """Look at a partition, unless this process has seen the very file and nothing failed."""
        if asset not in LOOKS:
            return
        if cell in self.failed(asset):
            self.look(asset, cell)
            return
        with suppress(FileNotFoundError):  # there is no partition
            path = self.workspace.lake.path(asset, cell)
            _SEEN.of(path, lambda _: bool(self.look(asset, cell)), self.workspace.settings.checks.schema_.severity)

    def of_made(self, asset: Asset, cell: Cell) -> int | None:
        """Check a partition that was made just now; return how many checks failed, None where it has none."""
        looked, kept = self.look(asset, cell, current=True), self.ensure(asset, cell)
        if looked is None and kept is None:
            return None
        failed = sum(not finding.passed for finding in looked or ())
        return failed + (0 if kept is None else kept.height - int(kept["passed"].sum()))

    def failed(self, asset: Asset) -> set[Cell]:
        """Return the partitions of which a failed look is kept."""
        if asset not in self._failed:
            self._failed[asset] = set(self.workspace.lake.cells(asset, FAILED)) if asset in LOOKS else set()
        return self._failed[asset]

    def holds(self, asset: Asset, cell: Cell) -> list[Hold]:
        """Return the failed checks of a stored partition that hold what stands downstream of it."""
        failed = []
        if cell in self.failed(asset):
            rows = LOOKS[asset].rows(cell, self.look(asset, cell) or ())
            failed = [_hold(asset, cell, row) for row in blocking(rows).iter_rows(named=True)]
        return failed + self._kept_holds(asset, cell)

    def _kept_holds(self, asset: Asset, cell: Cell) -> list[Hold]:
        inputs = self._inputs(asset, cell)
        if inputs is None:
            return []
        path = self.workspace.lake.path(asset, cell)
        known = _HOLDS.get(path)
        if known is not None and known[0] == inputs:
            return known[1]
        found, evaluated = [], Attempt()
        with evaluated:
            rows = self.ensure(asset, cell)
            found = [] if rows is None else [_hold(asset, cell, row) for row in blocking(rows).iter_rows(named=True)]
        if evaluated.reason is not None:  # not kept: whoever runs again in this process tries again
            what = f"its checks could not be evaluated ({evaluated.reason})"
            return [Hold(asset, cell, "", "evaluation", what, "mend what the message says, and run again")]
        _HOLDS[path] = inputs, found
        return found

    def holds_above(self, spec: StageSpec, cells: Iterable[Cell], *, look: bool = False) -> dict[Cell, list[Hold]]:
        """Return those of an asset's cells that are made from a partition with a blocking failure, with what failed.

        Args:
            spec: the asset's.
            cells: its cells.
            look: look at the partitions above anew, as is due before something is built on them; else what is known of
                them counts.
        """
        cells = list(cells)
        found: dict[Cell, list[Hold]] = {}
        if spec.gathers:
            return found
        for asset in dict.fromkeys((*spec.inputs.values(), *spec.guarded_by)):
            if asset not in GATES and asset not in LOOKS:
                continue
            dimensions = (GATES.get(asset) or LOOKS[asset]).spec.dimensions
            below: dict[Cell, list[Cell]] = defaultdict(list)
            for cell in cells:
                below[tuple(pair for pair in cell if pair[0] in dimensions)].append(cell)
            if not (look or asset in GATES):
                above = list(self.failed(asset))
            elif set(dimensions) <= set(spec.dimensions):
                above = list(below)
            else:
                above = self.workspace.lake.cells(asset)
            for each in above:
                held = below.get(tuple(pair for pair in each if pair[0] in spec.dimensions), [])
                if held and look:
                    self._look_again(asset, each)
                if held and (holds := self.holds(asset, each)):
                    for cell in held:
                        found.setdefault(cell, []).extend(holds)
        return found

    def _to_mirror(self, asset: Asset, cell: Cell) -> None:
        """Note what is about to be stored, so that the warehouse gets it even where this process dies before."""
        if asset not in self.made:
            marked = mirroring(self.workspace.home, self.workspace.lake, "", asset)
            self.made[asset] = self._mirroring.enter_context(marked)
        self.made[asset].append(cell)

    def mirror(self) -> None:
        """Bring the verdicts made so far into the warehouse."""
        self._mirroring.close()
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
    phenotype = " ".join(str(row[name]) for name in ("method", "cluster") if row[name] is not None)
    return Hold(asset, cell, phenotype, f"{row['check_name']}", f"{row['description']}", f"{row['remedy']}")
