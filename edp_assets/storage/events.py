"""What Dagster is told of a stored partition, as soon as it is stored: its metadata, and as data version its content.

Dagster tells data versions an asset, not a partition: those of a range run would all be one hash of the range's inputs,
so that a rebuild with the same result would look like a change. Here each partition has the hash of its own rows.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import DataVersion
from dagster._core.definitions.partitions.utils import get_tags_from_multi_partition_key
from dagster._core.events import DagsterEventBatchMetadata, generate_event_batch_id
from dagster._core.execution.plan.execute_step import _build_data_version_tags, _get_input_provenance_data

from edp_assets.storage.attempts import Batch
from edp_assets.storage.lake import Cell
from edp_assets.storage.workspace import StageSpec, Workspace

TELL_SECONDS = 1.0
"""How long what was stored may wait to be told: one by one, Dagster's database costs more than most partitions."""


@dataclass(frozen=True)
class StageOutput:
    """What a stage hands to its IO manager.

    Attributes:
        spec: the stage's.
        batches: the partitions to be made, one or several in one go; each is computed and stored within its
            `attempt`, which tells the stage what could not be.
        told: what the stage tells of a partition once it is stored: cell and metadata; the IO manager takes them out.
    """

    spec: StageSpec
    batches: Iterable[Batch]
    told: deque[tuple[Cell, dict[str, Any]]] = field(default_factory=deque)


def store_and_tell(
    context: dg.OutputContext, workspace: Workspace, output: StageOutput, store: Callable[[Batch], None]
) -> Iterator[dg.DagsterEvent]:
    """Store partitions as they are made, and yield of each the event that tells Dagster so.

    What was stored before a failure, or before the process is killed, is told as well.
    """
    materialised, due = _materialisations(context, workspace, output), _Pulse(TELL_SECONDS)
    try:
        for batch in output.batches:
            if due():
                yield from materialised()
            with batch.attempt, workspace.home.making(output.spec.asset, batch.cells):
                store(batch)
    except Exception:
        yield from materialised()
        raise
    yield from materialised()


class _Pulse:
    """Says yes once in so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.last = seconds, time.monotonic()

    def __call__(self) -> bool:
        if time.monotonic() - self.last < self.seconds:
            return False
        self.last = time.monotonic()
        return True


def _materialisations(
    context: dg.OutputContext, workspace: Workspace, output: StageOutput
) -> Callable[[], Iterator[dg.DagsterEvent]]:
    """Return what yields the events of the cells that were told since it was last called."""
    asset, step = context.asset_key, context.step_context
    keys = list(context.asset_partition_keys) if context.has_asset_partitions else []
    key_of = {str(key): key for key in keys}
    code_version = output.spec.code_version
    inputs = _get_input_provenance_data(asset, step)
    # Dagster would add an event of its own for every partition of the range, all with one data version: an output
    # without an asset key has none. Private, and pinned by a test: there is no public way on this version.
    context._asset_key = None

    def events() -> Iterator[dg.DagsterEvent]:
        made = []
        while output.told:
            cell, metadata = output.told.popleft()
            stored = workspace.provenance(output.spec.asset, cell)
            if stored is None:
                continue
            key = key_of["|".join(part for _, part in cell)] if cell else None
            tags = _build_data_version_tags(DataVersion(stored.version), code_version, inputs, True)
            if isinstance(key, dg.MultiPartitionKey):
                tags |= get_tags_from_multi_partition_key(key)
            made.append(dg.AssetMaterialization(asset, partition=key, metadata=metadata, tags=tags))
        batch = generate_event_batch_id()
        for number, one in enumerate(made, 1):
            together = DagsterEventBatchMetadata(batch, number == len(made))
            yield dg.DagsterEvent.asset_materialization(step, one, together)

    return events
