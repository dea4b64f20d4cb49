"""Who each encoder was trained on: a table beside its weights, from which those who withdraw are taken, yet counted.

When an encoder is kept and when it is trained is told by `Workspace.stale_cells`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import polars as pl

from edp_assets.storage.lake import Cell, Stored
from edp_assets.storage.upstream import Partition
from edp_assets.storage.workspace import Fingerprints, StageSpec, Workspace, trained_on

TABLE = "trained_on"


def record(workspace: Workspace, fingerprints: Fingerprints, cell: Cell) -> None:
    """Write down whom the encoder that has just been stored was trained on: everybody in its crops.

    The file keeps what the encoder depends on beside the crops (its `inputs`), and the content hashes of both.
    """
    spec = fingerprints.spec
    made = workspace.checkpoints.provenance(spec.asset, cell)
    crops = _crops(workspace, spec, cell)
    assert made is not None  # noqa: S101
    frame = crops.columns("eid").select(
        encoder=pl.lit(spec.asset[0]), organ=pl.lit(dict(cell)["organ"]), eid=pl.col("eid").sort()
    )
    stored = Stored(frame, notes={"encoder": made.version, "crops": crops.version})
    inputs = fingerprints.of(cell, without=spec.kept_despite)
    workspace.lake.write(trained_on(spec.asset), cell, TABLE, stored, inputs)


def adopt(workspace: Workspace, specs: Iterable[StageSpec]) -> None:
    """Write down whom stored encoders were trained on, where that is not known but told by the crops' version.

    That is so of encoders of earlier versions, and where people who had withdrawn are back.
    """
    for spec in specs:
        if not spec.kept_despite:
            continue
        fingerprints = Fingerprints(workspace, spec)
        for cell in workspace.checkpoints.cells(spec.asset):
            made = workspace.checkpoints.provenance(spec.asset, cell)
            if made is None or dict(cell)["organ"] not in workspace.settings.organs:
                continue
            known = _known(workspace, spec, cell)
            if known is not None and not known["eid"].null_count():
                continue
            if made.inputs == fingerprints.of(cell):
                record(workspace, fingerprints, cell)


@dataclass(frozen=True)
class Training:
    """On whom a stored encoder was trained; `scans` and `withdrawn` are None where that was never written down."""

    name: str
    organ: str
    scans: int | None
    withdrawn: int | None

    @property
    def retrain(self) -> str:
        """The options that train this encoder alone anew."""
        return f"--retrain --organ {self.organ} --encoder {self.name.split('/')[0]}"


def trainings(workspace: Workspace, specs: Iterable[StageSpec]) -> Iterator[Training]:
    """Yield, for every stored encoder that was trained here, on how many scans, and how many withdrew since."""
    for spec in specs:
        for cell in workspace.checkpoints.cells(spec.asset) if spec.kept_despite else []:
            known = _known(workspace, spec, cell)
            counts = (None, None) if known is None else (known.height, known["eid"].null_count())
            yield Training("/".join(spec.asset), dict(cell)["organ"], *counts)


def kept_lines(workspace: Workspace, spec: StageSpec, cells: Iterable[Cell]) -> list[str]:
    """Return a line for each stored encoder that is kept although its crops are others: what differs, what to do."""
    lines = []
    for cell in sorted(cells):
        known = _known(workspace, spec, cell)
        crops = _crops(workspace, spec, cell)
        trained = workspace.lake.notes(trained_on(spec.asset), cell) if known is not None else {}
        if known is None or crops.version in (None, trained["crops"]):
            continue
        now = crops.columns("eid")
        new = now.join(known, on="eid", how="anti").height
        gone = known.drop_nulls("eid").join(now, on="eid", how="anti").height
        counts = {"new": new, "withdrawn": known["eid"].null_count(), "no longer there": gone}
        what = ", ".join(f"{n} {name}" for name, n in counts.items() if n) or "some replaced"
        each = Training("/".join(spec.asset), dict(cell)["organ"], None, None)
        lines.append(
            f"{each.name} {each.organ}: kept, trained on other scans than there are now ({what}); "
            f"`edp refresh {workspace.home.cohort_folder()} {each.retrain}` trains it anew"
        )
    return lines


def _crops(workspace: Workspace, spec: StageSpec, cell: Cell) -> Partition:
    (argument,) = spec.kept_despite
    return Partition(workspace.lake, spec.inputs[argument], cell)


def _known(workspace: Workspace, spec: StageSpec, cell: Cell) -> pl.DataFrame | None:
    """Return the rows of the encoder that is stored; None where it is not known whom that one was trained on."""
    table, made = trained_on(spec.asset), workspace.checkpoints.provenance(spec.asset, cell)
    if made is None or workspace.lake.provenance(table, cell) is None:
        return None
    same = workspace.lake.notes(table, cell).get("encoder") == made.version
    return workspace.lake.read(table, cell) if same else None
