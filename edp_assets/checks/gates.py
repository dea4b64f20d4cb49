"""The frame of all checks: registers an asset's checks, and makes them Dagster asset checks.

A check in Dagster is of the whole asset and tells which partitions failed; its verdicts are kept a partition, and
these are what holds the cells downstream, so that one failed cell does not stop the others (Dagster's own `blocking`
would: it knows the asset as one).
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from edp_assets.checks.findings import rows_of
from edp_assets.science.findings import Finding
from edp_assets.storage.lake import Cell
from edp_assets.storage.schemas import polars_schema
from edp_assets.storage.verdicts import GATES, LOOKS, TABLE, Gate, Look, Verdict, Verdicts, blocking
from edp_assets.storage.workspace import Asset, StageSpec, Workspace

DEFINITIONS: dict[Asset, dg.AssetChecksDefinition] = {}
"""The checks of every asset whose verdicts are kept."""

STORED_ONLY = "edp/checks"
"""Tag of a run that tells the verdicts there are, and makes none."""

SHOWN = 50
"""Failed phenotypes that a result lists; the table `asset_checks` has all."""

_HOLDS = "A failure of severity error holds the partitions downstream of those that failed, and no others."


def register(
    spec: StageSpec,
    checks: Mapping[str, str],
    evaluate: Callable[[StageSpec, Workspace, Cell, Mapping[str, Any]], Verdict],
    fingerprint: Callable[[Workspace], str],
) -> None:
    """Make these the checks of an asset whose verdicts are kept.

    Args:
        spec: the asset's.
        checks: name -> what it looks at. Each is one Dagster asset check.
        evaluate: makes a stored partition's verdict, of all the checks at once, given what the last one remembered.
        fingerprint: of all that the rows depend on but the partition: settings, code version, cohort files.

    Raises:
        ValueError: the asset has checks already; one pass over a partition evaluates all of an asset's.
    """
    if spec.asset in GATES:
        raise ValueError(f"{'/'.join(spec.asset)} has checks already: add these to them")
    GATES[spec.asset] = gate = Gate(spec, dict(checks), partial(evaluate, spec), fingerprint)
    key = dg.AssetKey(list(spec.asset))

    @dg.multi_asset_check(name="__".join((*spec.asset, "checks")), specs=_specs(spec, checks), can_subset=True)
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        rows, unchecked = _all_verdicts(gate, make=STORED_ONLY not in context.run.tags)
        for name in sorted(selected.name for selected in context.selected_asset_check_keys):
            yield _result(key, name, rows.filter(check_name=name), {"partitions_not_checked": unchecked})

    DEFINITIONS[spec.asset] = check


def register_look(
    spec: StageSpec,
    checks: Mapping[str, str],
    evaluate: Callable[[StageSpec, Workspace, Cell, bool], list[Finding]],
) -> None:
    """Make these the checks of an asset that a glance at its files evaluates, beside those whose verdicts are kept.

    Args:
        spec: the asset's.
        checks: name -> what it looks at.
        evaluate: finds what there is of a partition, told whether it is current (see `Look`).
    """
    LOOKS[spec.asset] = Look(spec, dict(checks), partial(evaluate, spec), partial(rows_of, spec))


def look_definition() -> dg.AssetChecksDefinition:
    """Return the Dagster checks of all assets that are looked at: one step for all, as each costs next to nothing."""
    specs = [spec for look in LOOKS.values() for spec in _specs(look.spec, look.checks)]

    @dg.multi_asset_check(name="stored_tables", specs=specs, can_subset=True)
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        asked: dict[Asset, list[str]] = {}
        for selected in context.selected_asset_check_keys:
            asked.setdefault(tuple(selected.asset_key.path), []).append(selected.name)
        verdicts = Verdicts(Workspace.current())
        for asset in sorted(asked):
            rows, counts = _all_looks(verdicts, LOOKS[asset], make=STORED_ONLY not in context.run.tags)
            for name in sorted(asked[asset]):
                yield _result(dg.AssetKey(list(asset)), name, rows.filter(check_name=name), counts)
        verdicts.mirror()

    return check


def _specs(spec: StageSpec, checks: Mapping[str, str]) -> list[dg.AssetCheckSpec]:
    key = dg.AssetKey(list(spec.asset))
    return [dg.AssetCheckSpec(name, asset=key, description=f"{told} {_HOLDS}") for name, told in checks.items()]


def _all_verdicts(gate: Gate, *, make: bool) -> tuple[pl.DataFrame, int]:
    """Return the verdicts of all stored partitions, and how many partitions have none that is current."""
    verdicts = Verdicts(Workspace.current())
    find = verdicts.ensure if make else verdicts.stored
    found = [(cell, find(gate.spec.asset, cell)) for cell in verdicts.workspace.lake.cells(gate.spec.asset)]
    verdicts.mirror()
    frames = [_with_partition(rows, cell) for cell, rows in found if rows is not None]
    return pl.concat([_NONE, *frames]), len(found) - len(frames)


def _all_looks(verdicts: Verdicts, look: Look, *, make: bool) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return what a look at all stored partitions finds, or the failures that are kept; and how many were looked at.

    Rows are compared where a partition is current: where it is not, it is due to be made anew.
    """
    asset, lake = look.spec.asset, verdicts.workspace.lake
    cells = lake.cells(asset)
    if not make:
        failed = [(cell, lake.read_stored(asset, cell, "failed_checks")) for cell in sorted(verdicts.failed(asset))]
        frames = [_with_partition(rows, cell) for cell, rows in failed if rows is not None]
        return pl.concat([_NONE, *frames]), {"stored_partitions": len(cells), "looked_at": 0}
    compared = "row_counts" in look.checks
    stale = verdicts.workspace.stale_cells(look.spec, cells) if compared else cells
    found = [(cell, verdicts.look(asset, cell, current=cell not in stale) or []) for cell in cells]
    frames = [_with_partition(look.rows(cell, findings), cell) for cell, findings in found]
    counts = {"stored_partitions": len(cells), "looked_at": len(cells)}
    return pl.concat([_NONE, *frames]), counts | ({"current": len(cells) - len(stale)} if compared else {})


# By its schema alone: what computes starts threads, which a process that is forked must not have.
_NONE = pl.DataFrame(schema={**polars_schema(TABLE), "partition": pl.String})


def _with_partition(rows: pl.DataFrame, cell: Cell) -> pl.DataFrame:
    return rows.with_columns(partition=pl.lit("|".join(key for _, key in cell)))


def _result(key: dg.AssetKey, name: str, rows: pl.DataFrame, counts: Mapping[str, int]) -> dg.AssetCheckResult:
    """Return a check's result over all partitions: failed where any did, as an error where any holds something."""
    failed = rows.filter(~pl.col("passed"))
    holding = blocking(failed)
    partitions = failed["partition"].unique(maintain_order=True).to_list()
    shown = ("partition", "method", "cluster", "measure", "severity", "description", "remedy")
    table = dg.TableMetadataValue(
        [
            dg.TableRecord({k: "" if v is None else v for k, v in row.items()})
            for row in failed.select(shown).head(SHOWN).iter_rows(named=True)
        ],
        dg.TableSchema([dg.TableColumn(k) for k in shown]),
    )
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=failed.is_empty(),
        severity=dg.AssetCheckSeverity.ERROR if holding.height else dg.AssetCheckSeverity.WARN,
        description=f"{failed.height} of {rows.height} failed, in {len(partitions)} partitions"
        if failed.height
        else None,
        metadata={
            "checked": rows.height,
            "failed": failed.height,
            "partitions": rows["partition"].n_unique(),
            "partitions_failed": dg.MetadataValue.json(partitions[:SHOWN]),
            "partitions_holding": dg.MetadataValue.json(
                holding["partition"].unique(maintain_order=True).to_list()[:SHOWN]
            ),
            **counts,
            **({"findings": table} if failed.height else {}),
        },
    )
