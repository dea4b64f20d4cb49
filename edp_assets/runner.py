"""The runner: walks the asset graph in order and materialises what is not current, in the instance that the UI shows.

Dagster's command line cannot cover a graph of mixed partitions in one call. Which partitions are current is told by
`storage.workspace`; this module only decides the order, the ranges, and what is said meanwhile.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import dagster as dg

from edp_assets.assets.stage import REGISTRY, Stage
from edp_assets.checks.gates import STORED_ONLY
from edp_assets.definitions import defs
from edp_assets.partitions import DIMENSIONS
from edp_assets.storage import mirror, warehouse
from edp_assets.storage.cells import ASIDE
from edp_assets.storage.lake import Cell, cell_of
from edp_assets.storage.verdicts import GATES, Hold, Verdicts
from edp_assets.storage.workspace import Asset, StageSpec, Workspace

RUN_TAG = "edp/run"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

Say = Callable[[str], None]


class StageFailedError(RuntimeError):
    """A stage failed; the message names it, and says why in the words of what went wrong."""


@dataclass(frozen=True)
class Choice:
    """What of the graph to run: organs, codes and encoders (empty: all), and a Dagster asset selection."""

    organs: tuple[str, ...] = ()
    icd10: tuple[str, ...] = ()
    encoders: tuple[str, ...] = ()
    select: str | None = None


@dataclass
class Outcome:
    """What a run did: partitions made, found current, and held by failed checks, by asset; and which checks failed."""

    made: dict[str, int] = field(default_factory=dict)
    current: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    holds: list[Hold] = field(default_factory=list)
    seconds: float = 0.0


def run(workspace: Workspace, choice: Choice, say: Say) -> Outcome:
    """Materialise the chosen part of the graph, leaving alone what is current and what failed checks hold.

    Raises:
        StageFailedError: a stage failed; what was done before it is kept, and the next run goes on there.
        ValueError: an organ, code, encoder or selection that the cohort or the graph does not have.
    """
    started = time.monotonic()
    outcome = Outcome()
    stages = _chosen_stages(choice, workspace.settings.encoders)
    with dg.DagsterInstance.get() as instance:
        end_orphans(instance, say)
        bring_warehouse_up_to_date(workspace, say)
        dimensions = _Dimensions(workspace, instance, choice)
        holding = _Holding(Verdicts(workspace))
        for number, stage in enumerate(stages, 1):
            name = "/".join(stage.spec.asset)
            cells = dimensions.cells(stage)
            held = holding.of(stage.spec, cells)
            cells = [cell for cell in cells if cell not in held]
            current = workspace.current_cells(stage.spec, cells)
            stale = [cell for cell in cells if cell not in current]
            outcome.current[name] = len(current)
            if held:
                outcome.held[name] = len(held)
                say(f"[{number}/{len(stages)}] {name} held by failed checks upstream: {_describe(held) or 'all'}")
            if stale:
                what = f" {_describe(stale)}" if stage.spec.dimensions else ""
                say(f"[{number}/{len(stages)}] {name}{what}")
                if again := sorted(set(stale) & set(workspace.set_aside(stage.spec.asset))):
                    say(f"    {len(again)} of them because a damaged file was set aside: {_describe(again)}")
                before = time.monotonic()
                for first, last in ranges(stale, dimensions.order):
                    _materialise(instance, stage, first, last)
                outcome.made[name] = len(stale)
                say(f"[{number}/{len(stages)}] {name} done in {time.monotonic() - before:.1f} s")
            if stage.spec.asset in GATES and (holding.check(stage.spec.asset, cells, say) or stale):
                _tell_checks(instance, stage)
            if name == "icd10_codes":
                dimensions.add_codes()
        outcome.holds = holding.told()
    bring_warehouse_up_to_date(workspace, say)
    outcome.seconds = time.monotonic() - started
    return outcome


class _Holding:
    """Which cells of a run are held: those made from a partition with a failed check, and what stands below these."""

    def __init__(self, verdicts: Verdicts) -> None:
        self.verdicts = verdicts
        self._held: dict[Asset, dict[Cell, list[Hold]]] = {}

    def of(self, spec: StageSpec, cells: Sequence[Cell]) -> list[Cell]:
        """Return those of a stage's cells that are held."""
        held = self.verdicts.holds_above(spec, cells)
        self.verdicts.mirror()
        for asset in spec.inputs.values():
            above = self._held.get(asset, {})
            shared = set(REGISTRY[asset].spec.dimensions) & set(spec.dimensions)
            by_shared: dict[Cell, list[Hold]] = {}
            for cell, holds in above.items():
                by_shared.setdefault(_restricted(cell, shared), []).extend(holds)
            for cell in cells:
                if holds := by_shared.get(_restricted(cell, shared), []):
                    held.setdefault(cell, []).extend(holds)
        if held:
            self._held[spec.asset] = held
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


def _restricted(cell: Cell, dimensions: set[str]) -> Cell:
    return tuple(pair for pair in cell if pair[0] in dimensions)


def _chosen_stages(choice: Choice, used: Sequence[str]) -> list[Stage]:
    """Return the stages of a run in order; `used` are the cohort's encoders, where the choice names none."""
    known = {stage.spec.asset[0] for stage in REGISTRY.values() if stage.group == "encoders"}
    unknown = sorted(set(choice.encoders) - known)
    if unknown:
        raise ValueError(f"--encoder {unknown[0]}: the encoders are {', '.join(sorted(known))}")
    stages = list(REGISTRY.values())
    encoders = choice.encoders or tuple(used)
    stages = [s for s in stages if s.spec.asset[0] not in known or s.spec.asset[0] in encoders]
    if choice.select is not None:
        try:
            keys = dg.AssetSelection.from_string(choice.select).resolve(defs.resolve_asset_graph())
        except Exception as error:
            raise ValueError(f"--select {choice.select!r} is not an asset selection: {error}") from None
        if not keys:
            raise ValueError(
                f"--select {choice.select!r} matches no asset; assets: {', '.join(map('/'.join, REGISTRY))}"
            )
        stages = [s for s in stages if dg.AssetKey(list(s.spec.asset)) in keys]
    return stages


class _Dimensions:
    """The partition keys of a run, in the order that Dagster's ranges follow."""

    def __init__(self, workspace: Workspace, instance: dg.DagsterInstance, choice: Choice) -> None:
        self.workspace, self.instance, self.choice = workspace, instance, choice
        organs = sorted(workspace.settings.organs)
        unknown = sorted(set(choice.organs) - set(organs))
        if unknown:
            raise ValueError(f"--organ {unknown[0]}: the cohort's organs are {', '.join(organs)}")
        self.keys: dict[str, list[str]] = {"organ": organs, "chromosome": workspace.chromosomes, "icd10": []}
        for name in ("organ", "chromosome"):
            instance.add_dynamic_partitions(name, self.keys[name])
        self.add_codes()

    def add_codes(self) -> None:
        """Add the studied codes as partitions, once the stage that chooses them has run."""
        if not self.workspace.lake.cells(("icd10_codes",)):
            return
        codes = sorted(self.workspace.lake.read(("icd10_codes",), ()).filter("studied")["icd10"])
        unknown = sorted(set(self.choice.icd10) - set(codes))
        if unknown:
            raise ValueError(f"--icd10 {unknown[0]} is not studied in this cohort; studied: {', '.join(codes)}")
        unknown = sorted(set(self.workspace.settings.few_shot.codes) - set(codes))
        if unknown:
            raise ValueError(
                f"[few_shot] codes: {unknown[0]} is not studied in this cohort; studied: {', '.join(codes)}"
            )
        self.keys["icd10"] = codes
        self.instance.add_dynamic_partitions("icd10", codes)

    def cells(self, stage: Stage) -> list[Cell]:
        """Return the chosen cells of a stage; few-shot stages are for the codes that the settings name."""
        wanted = {"organ": self.choice.organs, "icd10": self.choice.icd10}
        few_shot = self.workspace.settings.few_shot.codes
        found: list[dict[str, str]] = [{}]
        for name in stage.spec.dimensions:
            keys = list(wanted.get(name) or self.keys[name])
            if name == "icd10" and stage.group == "few_shot":
                keys = [key for key in keys if key in few_shot]
            found = [{**cell, name: key} for cell in found for key in keys]
        return [cell_of(cell) for cell in found]

    @property
    def order(self) -> dict[str, list[str]]:
        """Return the keys of each dimension in the order in which Dagster counts a range."""
        return {name: list(self.instance.get_dynamic_partitions(name)) for name in DIMENSIONS}


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


def _materialise(instance: dg.DagsterInstance, stage: Stage, first: Cell, last: Cell) -> None:
    """Run one asset over a range of partitions in this process (the one place that resolves a job by hand)."""
    tags = {RUN_TAG: "true"}
    if first:
        start, end = ("|".join(key for _, key in cell) for cell in (first, last))
        tags |= {"dagster/asset_partition_range_start": start, "dagster/asset_partition_range_end": end}
    # Checks are told once an asset, not once a range: `_tell_checks`.
    job = defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={stage.definition.key}, asset_check_selection=set()
    )
    try:
        job.execute_in_process(instance=instance, tags=tags, run_config=QUIET)
    except KeyboardInterrupt:
        raise
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise StageFailedError(f"{'/'.join(stage.spec.asset)} failed: {cause}") from error


def _tell_checks(instance: dg.DagsterInstance, stage: Stage) -> None:
    """Tell Dagster the verdicts of an asset's partitions as results of its checks."""
    checks = {dg.AssetCheckKey(stage.definition.key, name) for name in GATES[stage.spec.asset].checks}
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=set(), asset_check_selection=checks)
    job.execute_in_process(instance=instance, tags={RUN_TAG: "true", STORED_ONLY: "stored"}, run_config=QUIET)


def end_orphans(instance: dg.DagsterInstance, say: Say) -> None:
    """Mark as failed the runs of this runner that a killed process left open; the caller holds the writer lock."""
    open_statuses = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.NOT_STARTED]
    orphans = instance.get_runs(filters=dg.RunsFilter(statuses=open_statuses, tags={RUN_TAG: "true"}))
    for orphan in orphans:
        instance.report_run_failed(orphan, message="The process was killed; a later `edp run` went on from here.")
        # The dead run would hold its place in the encoders' pool, and every later one would wait for it.
        instance.event_log_storage.free_concurrency_slots_for_run(orphan.run_id)
    if orphans:
        say(f"an earlier run was killed: {len(orphans)} open run(s) marked as failed, going on from what is stored")


def bring_warehouse_up_to_date(workspace: Workspace, say: Say) -> None:
    """Bring what the warehouse lacks in from the lake: all of it where it is gone or damaged, what a kill left out."""
    home = workspace.home
    everything = [(stage.spec.table, stage.spec.asset) for stage in REGISTRY.values()]
    try:
        if home.warehouse.exists():
            warehouse.check(home.warehouse, wait_seconds=0)
    except warehouse.WarehouseLockedError:
        pass  # told below, where something waits for it
    except warehouse.WarehouseDamagedError as error:
        mirror.set_aside(home, error)
        say(f"{error} It was set aside as {home.warehouse.name}{ASIDE}.")
    if left := mirror.catch_up(home, workspace.lake, everything):
        say(
            f"{home.warehouse} is held by another program and lacks results of {len(left)} assets, which the lake has: "
            "close that program; the next run, or `edp report`, brings them in"
        )


def _describe(cells: Sequence[Cell]) -> str:
    """Return what the cells are, shortly: "liver, heart x 10 icd10"."""
    parts = []
    for i, (name, _) in enumerate(cells[0]):
        keys = list(dict.fromkeys(cell[i][1] for cell in cells))
        parts.append(
            ", ".join(keys) if len(keys) <= 3 else f"{len(keys)} {name}s" if name != "icd10" else f"{len(keys)} codes"
        )
    return " x ".join(parts)
