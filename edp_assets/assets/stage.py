"""`stage`: makes a Dagster asset of a plain function that computes one partition.

The function takes a `StageRun` (which cell, the cohort, its settings) and its inputs for that cell, and returns what is
to be stored. Looping over the partitions of a range, partition mappings, metadata and storage are here, once.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from typing import Any

import dagster as dg
import polars as pl

from edp_assets.assets.unmade import SHOWN, CellsUnmadeError, partition_key
from edp_assets.partitions import mapping_between, partitions_for
from edp_assets.storage.attempts import Attempt, Batch, Reason
from edp_assets.storage.checkpoints import CheckpointPartitions
from edp_assets.storage.events import StageOutput
from edp_assets.storage.io_managers import cells_of
from edp_assets.storage.lake import Cell, Stored, Together
from edp_assets.storage.schemas import SCHEMAS
from edp_assets.storage.upstream import Partitions
from edp_assets.storage.verdicts import Verdicts
from edp_assets.storage.workspace import CODES, StageSpec, Workspace

log = logging.getLogger(__name__)

GROUPS = (
    "cohort", "imaging", "encoders", "evidence", "phenotypes", "association", "baselines", "few_shot", "adjustment",
    "phenome",
)  # fmt: skip
"""Asset groups in the order of the flow."""


@dataclass(frozen=True)
class StageRun:
    """What a stage's function is told: the cell it makes, and the workspace it works in."""

    cell: Cell
    spec: StageSpec
    workspace: Workspace

    def __getitem__(self, dimension: str) -> str:
        return dict(self.cell)[dimension]

    @property
    def encoder(self) -> str:
        """Which encoder's asset this is: assets of one stage are told apart by the first part of their key."""
        return self.spec.asset[0]


@dataclass(frozen=True)
class Stage:
    """An asset with what the runner needs to know of it."""

    spec: StageSpec
    group: str
    definition: dg.AssetsDefinition


REGISTRY: dict[tuple[str, ...], Stage] = {}
"""Every stage by its asset key, in the order of definition, which is the order of the flow."""


def stage(
    key: str,
    *,
    group: str,
    dimensions: tuple[str, ...],
    table: str,
    inputs: Mapping[str, Stage] | None = None,
    streamed: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    kept_despite: tuple[str, ...] = (),
    snapshot_of: tuple[str, ...] = (),
    at_once: int | None = None,
    rows: Mapping[str, str] | None = None,
    settings: tuple[str, ...] = (),
    files: tuple[str, ...] = (),
    code_version: str = "1",
    kinds: set[str] | None = None,
    checkpoint: bool = False,
    pool: str | None = None,
    gathers: bool = False,
) -> Callable[[Callable[..., Any]], Stage]:
    """Return a decorator that turns a function of one cell into a registered stage.

    Args:
        key: asset key, slashes between its parts.
        group: one of GROUPS.
        dimensions: partition dimensions of the asset.
        table: the stored table's schema (for a checkpoint: what it is called).
        inputs: argument -> upstream stage. The argument is one frame (or
            path) where the upstream has no dimension that this one lacks, else a mapping from cell to frame.
        rows: argument -> column, where a cell uses the rows that hold its own key and no others.
        streamed: arguments that are handed over unread, as a `Partition`.
        optional: arguments that count for nothing where they have no rows, see `StageSpec`.
        kept_despite: arguments whose change leaves what is stored current, see `StageSpec`.
        snapshot_of: likewise, of tables; see `StageSpec`.
        at_once: most cells of an organ that one call makes: the function takes a list of runs, and of each input a
            list, and returns a `Together`. None: a call is one cell.
        settings: what of the settings it uses, see `StageSpec`.
        files: what of the cohort folder it reads, see `StageSpec`.
        code_version: raise it when the function's result changes.
        kinds: what Dagster's UI shows as kinds.
        checkpoint: stored as an encoder file, not as a table.
        pool: Dagster's concurrency pool, of which runs of the UI and the daemon hold a place while they work.
        gathers: it counts what there is of its inputs, see `StageSpec`.
    """
    upstream = {name: made.spec for name, made in (inputs or {}).items()}
    asset = tuple(key.split("/"))
    # Which codes there are, the table of codes says: its checks hold whatever is made of any, all that is left too.
    of_codes = any("icd10" in names for names in (dimensions, *(above.dimensions for above in upstream.values())))
    spec = StageSpec(
        asset=asset,
        dimensions=tuple(sorted(dimensions)),
        table=table,
        code_version=code_version,
        inputs={name: above.asset for name, above in upstream.items()},
        rows=rows or {},
        settings=settings,
        files=files,
        optional=optional,
        guarded_by=(CODES,) if of_codes and asset != CODES else (),
        kept_despite=kept_despite,
        snapshot_of=snapshot_of,
        gathers=gathers,
    )

    def decorate(function: Callable[..., Any]) -> Stage:
        def compute(context: dg.AssetExecutionContext, **values: Any) -> dg.Output[StageOutput]:
            told: deque[tuple[Cell, dict[str, Any]]] = deque()
            return dg.Output(StageOutput(spec, _cells(context, spec, function, values, streamed, at_once, told), told))

        compute.__name__ = function.__name__
        definition = dg.asset(
            key=list(spec.asset),
            ins={
                name: dg.AssetIn(
                    key=list(above.asset), partition_mapping=mapping_between(above.dimensions, spec.dimensions)
                )
                for name, above in upstream.items()
            },
            partitions_def=partitions_for(spec.dimensions),
            backfill_policy=dg.BackfillPolicy.single_run() if spec.dimensions else None,
            group_name=group,
            kinds=kinds or {"polars", "parquet"},
            owners=[f"team:{group}"],
            description=function.__doc__,
            code_version=code_version,
            metadata={} if checkpoint else {"dagster/column_schema": column_schema(table)},
            io_manager_key="checkpoint_io_manager" if checkpoint else "io_manager",
            pool=pool,
            output_required=True,
        )(compute)
        REGISTRY[spec.asset] = made = Stage(spec, group, definition)
        return made

    return decorate


def column_schema(table: str) -> dg.TableSchema:
    """Return a stored table's columns as Dagster shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name, str(column.dtype), column.meaning, constraints=dg.TableColumnConstraints(nullable=column.nullable)
            )
            for name, column in SCHEMAS[table].items()
        ]
    )


def table_preview(frame: pl.DataFrame, rows: int) -> dg.MarkdownMetadataValue:
    """Return the first rows of a table as Dagster shows them: never one with participants' ids, the event log stays.

    As text: Dagster's own table takes five times as much of the event log.
    """
    shown = frame.head(rows).with_columns(pl.selectors.float().round(2))
    lines = [
        frame.columns,
        ["---"] * frame.width,
        *(["" if v is None else str(v) for v in row] for row in shown.rows()),
    ]
    return dg.MetadataValue.md("\n".join(f"|{'|'.join(line)}|" for line in lines))


def _cells(
    context: dg.AssetExecutionContext,
    spec: StageSpec,
    function: Callable[..., Any],
    values: dict[str, Any],
    streamed: tuple[str, ...],
    at_once: int | None,
    told: deque[tuple[Cell, dict[str, Any]]],
) -> Iterator[Batch]:
    """Hand over the cells to be made one after another, those of one organ together so that its inputs are read once.

    A cell that cannot be made, or stands on a partition with a failed check, is not made: the others are, and then the
    step fails. Of those made together that fail, each is tried again alone.
    """
    workspace = Workspace.current()
    verdicts = Verdicts(workspace)
    asked = sorted(cells_of(context, spec.dimensions), key=lambda cell: (dict(cell).get("organ", ""), cell))
    held = verdicts.holds_above(spec, asked, look=True)
    failed: dict[Cell, Reason] = {}

    def compute(cells: list[Cell]) -> Any:
        arguments: dict[str, list[Any]] = {
            name: [_argument(value, cell, REGISTRY[spec.inputs[name]].spec, name in streamed) for cell in cells]
            for name, value in values.items()
        }
        runs = [StageRun(cell, spec, workspace) for cell in cells]
        if at_once is None:
            return function(runs[0], **{name: of_cell[0] for name, of_cell in arguments.items()})
        return function(runs, **arguments)

    waiting = deque(_groups([cell for cell in asked if cell not in held], at_once or 1))
    while waiting:
        cells, started = waiting.popleft(), time.monotonic()
        batch = Batch(cells, partial(compute, cells), Attempt(keeps=bool(spec.dimensions)))
        yield batch
        if batch.attempt.reason is not None:
            if len(cells) > 1:
                log.warning("%s: %d made together failed, each is tried alone", "/".join(spec.asset), len(cells))
                waiting.extendleft([cell] for cell in reversed(cells))
            else:
                failed[cells[0]] = batch.attempt.reason
                _tell_failed(context, cells[0], batch.attempt.reason, len(failed))
            continue
        seconds = round((time.monotonic() - started) / len(cells), 2)
        members = batch.made.members if isinstance(batch.made, Together) else [batch.made]
        batch.made = None
        for cell, member in zip(cells, members, strict=True):
            checks, found = Attempt(keeps=bool(spec.dimensions)), None
            with checks:
                found = verdicts.of_made(spec.asset, cell)
            if checks.reason is not None:
                failed[cell] = checks.reason
                _tell_failed(context, cell, checks.reason, len(failed))
            told.append((cell, _metadata(member, seconds, found)))
    verdicts.mirror()
    if held or failed:
        raise CellsUnmadeError(spec, failed, held, len(asked))


def _groups(cells: list[Cell], at_once: int) -> Iterator[list[Cell]]:
    """Split cells, sorted by organ, into groups of one organ."""
    for _, of_organ in groupby(cells, key=lambda cell: dict(cell).get("organ")):
        while group := list(islice(of_organ, at_once)):
            yield group


def _metadata(made: Any, seconds: float, checks_failed: int | None) -> dict[str, Any]:
    """Return what is told of a cell with its materialisation."""
    metadata = {**made.metadata, "seconds": seconds}
    if isinstance(made, Stored) and made.provenance is not None and made.path is not None:
        metadata["dagster/row_count"] = made.provenance.rows
        metadata["path"] = dg.MetadataValue.path(str(made.path))
        if made.excluded:
            metadata["excluded"] = dg.MetadataValue.json(dict(Counter(e.reason for e in made.excluded)))
    if checks_failed is not None:
        metadata["checks_failed"] = checks_failed
    return metadata


def _tell_failed(context: dg.AssetExecutionContext, cell: Cell, reason: Reason, count: int) -> None:
    """Tell at once of a failed cell, the first few with where it failed; the step's failure names them all."""
    if count <= SHOWN:
        log.warning("%s failed, the others go on: %s", partition_key(cell), reason)
        context.log.error(f"{partition_key(cell)} failed:\n{reason.traceback}")


def _argument(value: Partitions | CheckpointPartitions, cell: Cell, upstream: StageSpec, streamed: bool) -> Any:
    keys = dict(cell)
    if set(upstream.dimensions) <= set(keys):
        single = tuple((name, keys[name]) for name in upstream.dimensions)
        return value.partition(single) if streamed and isinstance(value, Partitions) else value[single]
    assert isinstance(value, Partitions)  # noqa: S101
    return value.matching(cell)
