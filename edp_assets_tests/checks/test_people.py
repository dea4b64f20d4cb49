"""People who withdrew are found wherever they are stored, by looking; a run tells it and holds nothing for it."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from edp_assets.assets.stage import REGISTRY
from edp_assets.checks.people import check_withdrawn, is_clean, withdrawn_found
from edp_assets.graph import graph
from edp_assets.storage import warehouse
from edp_assets.storage.schemas import PARTICIPANT_COLUMNS
from edp_assets.storage.verdicts import Verdicts
from edp_assets.storage.withdrawn import Found, find_withdrawn
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.checks.planted import LIVER, people, planted, store, table
from edp_assets_tests.storage.test_mirror import held

assert graph
GONE = "1000002"
VOLUMES, RELATIVES = ("organ_volumes",), ("relatives",)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A home without the withdrawn: a table of the lake, relatives, a mirror of both, and the list."""
    workspace = planted(tmp_path, withdrawn=(GONE, "7"))
    others = [eid for eid in people(5) if eid != GONE]
    store(workspace, ("participants",), (), table("participants", 4, eid=others))
    store(workspace, VOLUMES, LIVER, table("organ_volumes", 4, eid=others))
    store(workspace, RELATIVES, (), table("relatives", 4, eid=others, relative=others[::-1]))
    for asset, cell in ((VOLUMES, LIVER), (RELATIVES, ())):
        warehouse.refresh(workspace.home.warehouse, workspace.lake, [(asset[-1], asset, [cell])])
    return workspace


def test_columns__that_name_participants_are_declared() -> None:
    assert {"eid", "relative"} == PARTICIPANT_COLUMNS


def test_find_withdrawn__nobody_is_found_where_nobody_is(workspace: Workspace) -> None:
    assert find_withdrawn(workspace, [GONE, "7"]) == []
    assert find_withdrawn(workspace, []) == []
    with_others = find_withdrawn(workspace, [people(1)[0]])
    assert ("warehouse.duckdb: organ_volumes", "eid", 1) in with_others
    assert ("lake/organ_volumes/organ=liver/part.parquet", "eid", 1) in with_others


def test_find_withdrawn__in_lake_files_pieces_and_warehouse_tables(workspace: Workspace) -> None:
    home = workspace.home.root
    store(workspace, VOLUMES, (("organ", "heart"),), table("organ_volumes", 5))
    store(workspace, RELATIVES, (), table("relatives", 3, eid=["1", "2", "3"], relative=[GONE, GONE, "1"]))
    piece = home / "lake/mae/x/.pieces-1/000000.parquet"
    piece.parent.mkdir(parents=True)
    pl.DataFrame({"eid": [int(GONE)], "score": [0.5]}).write_parquet(piece)  # as a number
    pl.DataFrame({"name": [GONE]}).write_parquet(home / "lake/other.parquet")  # no column of participants
    (home / "lake/broken.parquet").write_bytes(b"no Parquet")
    with warehouse.connect(workspace.home.warehouse) as connection:
        connection.execute("INSERT INTO clusters (eid, cluster) VALUES (?, 1), (?, 2)", [GONE, GONE])
        connection.execute('CREATE TABLE "a ""note" AS SELECT ? AS eid', [GONE])
    assert find_withdrawn(workspace, [GONE]) == [
        Found("lake/mae/x/.pieces-1/000000.parquet", "eid", 1),
        Found("lake/organ_volumes/organ=heart/part.parquet", "eid", 1),
        Found("lake/relatives/part.parquet", "relative", 2),
        Found('warehouse.duckdb: a "note', "eid", 1),
        Found("warehouse.duckdb: clusters", "eid", 2),
    ]


def test_find_withdrawn__the_cohorts_own_files_are_its_owners(tmp_path: Path) -> None:
    # The demo's cohort lies in its home; another home may lie in its cohort.
    workspace = planted(tmp_path / "a", withdrawn=(GONE,))
    inside = workspace.home.root / "demo_cohort"
    (tmp_path / "a/cohort").rename(inside)
    (workspace.home.root / "cohort.json").unlink()
    workspace.home.bind(inside)
    table("participants", 5).write_parquet(inside / "participants.parquet")
    assert find_withdrawn(Workspace(workspace.home), [GONE]) == []
    table("participants", 5).write_parquet(workspace.home.root / "copy.parquet")
    assert find_withdrawn(Workspace(workspace.home), [GONE]) == [Found("copy.parquet", "eid", 1)]
    (workspace.home.root / "cohort.json").unlink()
    workspace.home.bind(tmp_path / "a")
    assert Found("copy.parquet", "eid", 1) in find_withdrawn(Workspace(workspace.home), [GONE])


def test_check_withdrawn__tells_and_holds_nothing_until_it_is_cured(workspace: Workspace) -> None:
    assert not is_clean(workspace)  # nobody has looked
    rows, found = check_withdrawn(workspace, whole=False)
    assert (found, rows["passed"].to_list(), withdrawn_found(workspace), is_clean(workspace)) == ([], [True], [], True)
    path = store(workspace, VOLUMES, LIVER, table("organ_volumes", 5))
    rows, found = check_withdrawn(workspace, whole=False)
    assert found == [Found("lake/organ_volumes/organ=liver/part.parquet", "eid", 1)]
    (told,) = withdrawn_found(workspace)
    assert "check withdrawn_people failed: 2 people withdrew; 1 places hold rows of them" in told
    assert "lake/organ_volumes/organ=liver/part.parquet (eid, 1 rows). To do: run `edp run`" in told
    assert GONE not in str(rows.rows())  # a verdict is stored, too
    kept = "SELECT passed FROM asset_checks WHERE check_name = 'withdrawn_people'"
    assert warehouse.query(workspace.home.warehouse, kept).rows() == [(False,)]
    for asset in (("diagnoses",), ("scans",)):
        cell = LIVER if REGISTRY[asset].spec.dimensions else ()
        assert Verdicts(workspace).holds_above(REGISTRY[asset].spec, [cell], look=True) == {}
    path.unlink()
    check_withdrawn(workspace, whole=False)
    assert withdrawn_found(workspace) == []


def test_check_withdrawn__a_held_warehouse_leaves_it_open(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warehouse, "WAIT_SECONDS", 0.2)
    with warehouse.connect(workspace.home.warehouse):
        pass
    with held(workspace.home.warehouse):
        rows, found = check_withdrawn(workspace, whole=False)
    assert (rows["passed"].to_list(), found) == ([False], [])
    assert "not everything could be looked at: " in rows["description"][0]
    assert "is held by another program" in rows["description"][0]
    assert not is_clean(workspace)  # so that the next run looks again
    check_withdrawn(workspace, whole=False)
    assert is_clean(workspace)


def test_check_withdrawn__looks_at_what_is_new_but_at_all_for_another_list(workspace: Workspace) -> None:
    path = store(workspace, VOLUMES, LIVER, table("organ_volumes", 5))
    check_withdrawn(workspace, whole=False)
    path.unlink()
    check_withdrawn(workspace, whole=False)
    # Put back with its old time: it came to be there just now all the same.
    path.write_bytes(b"")
    store(workspace, VOLUMES, LIVER, table("organ_volumes", 5))
    os.utime(path, (0, 0))
    assert len(check_withdrawn(workspace, whole=False)[1]) == 1
    path.unlink()
    check_withdrawn(workspace, whole=False)
    (workspace.cohort.folder / "withdrawn.csv").write_text(f"{people(1)[0]}\n")
    again = Workspace(workspace.home)
    assert not is_clean(again)
    assert len(check_withdrawn(again, whole=False)[1]) > 2


@pytest.mark.parametrize("severity", ["warn", "off"])
def test_check_withdrawn__severity(severity: str, tmp_path: Path) -> None:
    workspace = planted(tmp_path, f"[checks.withdrawn_people]\nseverity = '{severity}'", withdrawn=(GONE,))
    store(workspace, ("participants",), (), table("participants", 5))
    rows, _ = check_withdrawn(workspace, whole=True)
    assert rows["severity"].to_list() == (["warn"] if severity == "warn" else [])
    assert withdrawn_found(workspace) == []
