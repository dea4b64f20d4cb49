"""IO managers: what a stage yields goes to the lake (and the warehouse) or to the checkpoints, one partition at a time.

They take single, range and multi-dimensional partitions alike: outputs come as (cell, value) pairs, inputs go out as
mappings from cell to value that read when asked. The stock managers cannot do this on these versions.
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from edp_assets.storage import trained_on
from edp_assets.storage.attempts import Batch
from edp_assets.storage.checkpoints import CheckpointPartitions
from edp_assets.storage.disk import full_disk_told
from edp_assets.storage.events import StageOutput, store_and_tell
from edp_assets.storage.lake import Cell, Stored, Together, cell_of
from edp_assets.storage.mirror import mirroring
from edp_assets.storage.upstream import Partitions
from edp_assets.storage.workspace import Fingerprints, Workspace


def cells_of(
    context: dg.InputContext | dg.OutputContext | dg.AssetExecutionContext, dimensions: tuple[str, ...]
) -> list[Cell]:
    """Return the cells that a context's partition keys name; the empty cell for an asset without partitions."""
    if isinstance(context, dg.AssetExecutionContext):
        keys = list(context.partition_keys) if context.has_partition_key or context.has_partition_key_range else []
    else:
        keys = list(context.asset_partition_keys) if context.has_asset_partitions else []
    return [key_to_cell(key, dimensions) for key in keys] if dimensions else [()]


def key_to_cell(key: str, dimensions: tuple[str, ...]) -> Cell:
    """Return the cell of a Dagster partition key (`icd10|organ`: dimensions sorted by name)."""
    parts = key.split("|") if len(dimensions) > 1 else [key]
    return cell_of(dict(zip(sorted(dimensions), parts, strict=True)))


class LakeIOManager(dg.IOManager):
    """Stores `Stored` partitions in the Parquet lake and mirrors the contract tables in the warehouse."""

    def handle_output(self, context: dg.OutputContext, obj: StageOutput) -> Iterator[dg.DagsterEvent]:  # type: ignore[override]
        """Write every partition as it is made, with its provenance; then refresh the warehouse once."""
        workspace, spec = Workspace.current(), obj.spec
        fingerprints = Fingerprints(workspace, spec)
        # Stages compute while they are stored, so that a disk that is full under any of their files is told here.
        with (
            full_disk_told(workspace.home.root),
            mirroring(workspace.home, workspace.lake, spec.table, spec.asset) as written,
        ):

            def store(batch: Batch) -> None:
                cells = batch.cells
                # Before it is made: what is replaced meanwhile is not what the cell was made from.
                inputs = [fingerprints.of(cell) for cell in cells]
                made = batch.make()
                # A group that fails may be stored in part.
                written.extend(cells)
                if isinstance(made, Stored):
                    workspace.lake.write(spec.asset, cells[0], spec.table, made, inputs[0])
                elif isinstance(made, Together):
                    workspace.lake.write_together(spec.asset, cells, spec.table, made, inputs)
                else:
                    raise TypeError(
                        f"{'/'.join(spec.asset)}: wanted Stored or Together of a table, found {type(made).__name__}"
                    )

            yield from store_and_tell(context, workspace, obj, store)

    def load_input(self, context: dg.InputContext) -> Partitions:
        """Return the upstream partitions, read when asked for."""
        dimensions = _dimensions(context)
        asset = tuple(context.asset_key.path)
        return Partitions(Workspace.current().lake, asset, cells_of(context, dimensions))


class CheckpointIOManager(dg.IOManager):
    """Stores trained encoders as safetensors files."""

    def handle_output(self, context: dg.OutputContext, obj: StageOutput) -> Iterator[dg.DagsterEvent]:  # type: ignore[override]
        """Write every trained encoder as it is made; the file that training resumed from is then done with."""
        workspace, spec = Workspace.current(), obj.spec
        fingerprints = Fingerprints(workspace, spec)

        def store(batch: Batch) -> None:
            (cell,) = batch.cells
            inputs = fingerprints.of(cell)
            stored = batch.make()
            workspace.checkpoints.write(spec.asset, cell, stored.trained, inputs)
            if spec.kept_despite:
                trained_on.record(workspace, fingerprints, cell)
            workspace.checkpoints.training_path(spec.asset, cell).unlink(missing_ok=True)

        with full_disk_told(workspace.home.root):
            yield from store_and_tell(context, workspace, obj, store)

    def load_input(self, context: dg.InputContext) -> CheckpointPartitions:
        """Return the upstream encoders' paths."""
        asset = tuple(context.asset_key.path)
        return CheckpointPartitions(Workspace.current().checkpoints, asset, cells_of(context, _dimensions(context)))


def _dimensions(context: dg.InputContext) -> tuple[str, ...]:
    if not context.has_asset_partitions:
        return ()
    definition = context.asset_partitions_def
    if isinstance(definition, dg.MultiPartitionsDefinition):
        return tuple(sorted(definition.partition_dimension_names))
    if not isinstance(definition, dg.DynamicPartitionsDefinition) or definition.name is None:
        raise TypeError(f"{context.asset_key}: partitions are named dynamic ones here, found {definition}")
    return (definition.name,)
