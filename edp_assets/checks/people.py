"""The check that nobody who withdrew is in anything stored, proved by looking (`storage/withdrawn.py`).

It is of the whole home, and stands at the end: what cures a failure is a run, so it holds nothing.
"""

import hashlib
import json
import time

import dagster as dg
import polars as pl

from edp_assets.assets import cohort
from edp_assets.checks.findings import rows_of
from edp_assets.checks.gates import STORED_ONLY
from edp_assets.cohort.withdrawals import read_withdrawn
from edp_assets.science.findings import Finding
from edp_assets.storage.mirror import mirroring
from edp_assets.storage.verdicts import TABLE, blocking
from edp_assets.storage.warehouse import WarehouseLockedError
from edp_assets.storage.withdrawn import Found, find_withdrawn
from edp_assets.storage.workspace import Workspace

NAME = "withdrawn_people"
ABOUT = (
    "Nobody on the cohort's list of the withdrawn is in a stored file or warehouse table, by looking at all of them. "
    "It holds nothing: a run is what cures it."
)
SHOWN = 10
"""Places that a failure names; the check in Dagster lists all."""

_SPEC = cohort.participants.spec


def check_withdrawn(workspace: Workspace, *, whole: bool) -> tuple[pl.DataFrame, list[Found]]:
    """Look for the withdrawn, keep the verdict beside `participants`, and bring it into the warehouse.

    Args:
        workspace: whose home is looked through.
        whole: look at every file; else, where the same list was looked for and nobody found, at those written since.

    Returns:
        The row of `asset_checks` (none where the check is off, or no participants are stored), and where anybody is.
        Where another program holds the warehouse the row fails and is not kept: the next run looks again.
    """
    severity, lake = workspace.settings.checks.withdrawn_people.severity, workspace.lake
    if not _applies(workspace):
        return rows_of(_SPEC, (), []), []
    people, inputs = _list(workspace)
    started = time.time_ns()
    known = is_clean(workspace) and not whole
    looked = lake.notes_beside(_SPEC.asset, (), TABLE).get("looked_ns", 0) if known else 0
    try:
        found = find_withdrawn(workspace, people, looked)
    except WarehouseLockedError as error:
        told = f"not everything could be looked at: {error}"
        return rows_of(_SPEC, (), [Finding(NAME, "places", severity, False, 0, 0, told, "run again then")]), []
    told = f"{len(people)} people withdrew; {len(found)} places hold rows of them"
    if found:
        places = [f"{each.place} ({each.column}, {each.rows} rows)" for each in found[:SHOWN]]
        told += f": {', '.join(places)}" + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
    remedy = "run `edp run` (or `edp refresh`) on the whole cohort; what is still named then, delete and run again"
    rows = rows_of(_SPEC, (), [Finding(NAME, "places", severity, not found, len(found), 0, told, remedy)])
    with mirroring(workspace.home, lake, "", _SPEC.asset) as written:
        lake.write_beside(_SPEC.asset, (), TABLE, rows, inputs, {"looked_ns": started})
        written.append(())
    return rows, found


def is_clean(workspace: Workspace) -> bool:
    """Return whether this list of people was looked for, and nobody found; or the check is off, or without a table."""
    if not _applies(workspace):
        return True
    last = workspace.lake.read_beside(_SPEC.asset, (), TABLE, _list(workspace)[1])
    return last is not None and bool(last["passed"].all())


def withdrawn_found(workspace: Workspace) -> list[str]:
    """Return the kept failures of severity error, in words; none where all is well."""
    if not _applies(workspace):
        return []
    last = workspace.lake.read_beside(_SPEC.asset, (), TABLE, _list(workspace)[1])
    failed = [] if last is None else blocking(last).iter_rows(named=True)
    return [f"participants: check {NAME} failed: {row['description']}. To do: {row['remedy']}." for row in failed]


def _applies(workspace: Workspace) -> bool:
    severity = workspace.settings.checks.withdrawn_people.severity
    return severity != "off" and workspace.lake.provenance(_SPEC.asset, ()) is not None


def _list(workspace: Workspace) -> tuple[frozenset[str], str]:
    """Return the withdrawn, and what a verdict about them is made from."""
    people, _ = read_withdrawn(workspace.cohort)
    severity = workspace.settings.checks.withdrawn_people.severity
    return people, hashlib.sha256(json.dumps([1, severity, sorted(people)]).encode()).hexdigest()[:32]


@dg.asset_check(asset=dg.AssetKey(list(_SPEC.asset)), name=NAME, description=ABOUT)
def withdrawn_people(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Look at every file, or at those written since the last verdict where a run tells it."""
    rows, found = check_withdrawn(Workspace.current(), whole=STORED_ONLY not in context.run.tags)
    return dg.AssetCheckResult(
        passed=bool(rows["passed"].all()),
        severity=dg.AssetCheckSeverity.ERROR if "error" in rows["severity"] else dg.AssetCheckSeverity.WARN,
        description=rows["description"][0] if rows.height else "off, or no participants are stored",
        metadata={"places": dg.MetadataValue.json([list(each) for each in found])},
    )
