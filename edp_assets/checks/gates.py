"""The frame of all checks: registers an asset's checks as its gate, and makes them Dagster asset checks.

A check in Dagster is of the whole asset and tells which partitions failed; its verdicts are kept a partition, and
these are what holds the cells downstream, so that one failed cell does not stop the others (Dagster's own `blocking`
would: it knows the asset as one).
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import dagster as dg
import polars as pl

from edp_assets.storage.lake import Cell
from edp_assets.storage.schemas import empty
from edp_assets.storage.verdicts import GATES, Gate, Verdicts, blocking
from edp_assets.storage.workspace import Asset, StageSpec, Workspace

DEFINITIONS: dict[Asset, dg.AssetChecksDefinition] = {}
"""The checks of every checked asset."""

STORED_ONLY = "edp/checks"
"""Tag of a run that tells the verdicts there are, and makes none."""

SHOWN = 50
"""Failed phenotypes that a result lists; the table `asset_checks` has all."""


def register(
    spec: StageSpec,
    checks: Mapping[str, str],
    evaluate: Callable[[StageSpec, Workspace, Cell], pl.DataFrame],
    fingerprint: Callable[[Workspace], str],
) -> None:
    """Make these the checks of an asset.

    Args:
        spec: the asset's.
        checks: name -> what it looks at. Each is one Dagster asset check.
        evaluate: makes a stored partition's rows of `asset_checks`, of all the checks at once.
        fingerprint: of all that the rows depend on but the partition: settings, code version, cohort files.

    Raises:
        ValueError: the asset has checks already; one pass over a partition evaluates all of an asset's.
    """
    if spec.asset in GATES:
        raise ValueError(f"{'/'.join(spec.asset)} has checks already: add these to them")
    GATES[spec.asset] = gate = Gate(spec, dict(checks), partial(evaluate, spec), fingerprint)
    key = dg.AssetKey(list(spec.asset))
    holds = "A failure of severity error holds the partitions downstream of those that failed, and no others."
    specs = [dg.AssetCheckSpec(name, asset=key, description=f"{told} {holds}") for name, told in checks.items()]

    @dg.multi_asset_check(name="__".join((*spec.asset, "checks")), specs=specs, can_subset=True)
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        rows, unchecked = _all_verdicts(gate, make=STORED_ONLY not in context.run.tags)
        for name in sorted(selected.name for selected in context.selected_asset_check_keys):
            yield _result(key, name, rows.filter(check_name=name), unchecked)

    DEFINITIONS[spec.asset] = check


def _all_verdicts(gate: Gate, *, make: bool) -> tuple[pl.DataFrame, int]:
    """Return the verdicts of all stored partitions, and how many partitions have none that is current."""
    verdicts = Verdicts(Workspace.current())
    find = verdicts.ensure if make else verdicts.stored
    found = [(cell, find(gate.spec.asset, cell)) for cell in verdicts.workspace.lake.cells(gate.spec.asset)]
    verdicts.mirror()
    frames = [
        rows.with_columns(partition=pl.lit("|".join(key for _, key in cell)))
        for cell, rows in found
        if rows is not None
    ]
    none = empty("asset_checks").with_columns(partition=pl.lit(""))
    return pl.concat([none, *frames]), len(found) - len(frames)


def _result(key: dg.AssetKey, name: str, rows: pl.DataFrame, unchecked: int) -> dg.AssetCheckResult:
    """Return a check's result over all partitions: failed where any did, as an error where any holds something."""
    failed = rows.filter(~pl.col("passed"))
    holding = blocking(failed)
    partitions = failed["partition"].unique(maintain_order=True).to_list()
    table = dg.TableMetadataValue(
        [
            dg.TableRecord({k: "" if v is None else v for k, v in row.items()})
            for row in failed.select("partition", "method", "cluster", "measure", "severity", "description")
            .head(SHOWN)
            .iter_rows(named=True)
        ],
        dg.TableSchema(
            [dg.TableColumn(k) for k in ("partition", "method", "cluster", "measure", "severity", "description")]
        ),
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
            "partitions_not_checked": unchecked,
            **({"findings": table} if failed.height else {}),
        },
    )
