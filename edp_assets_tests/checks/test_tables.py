"""Every stored table is looked at: what differs from its schema, and rows lost, fail by name; what is sound passes."""

from __future__ import annotations

import re
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from edp_assets.assets.stage import REGISTRY
from edp_assets.graph import graph
from edp_assets.storage import warehouse
from edp_assets.storage.lake import Stored, cell_of
from edp_assets.storage.schemas import KEYS, SCHEMAS
from edp_assets.storage.verdicts import FAILED, LOOKS, Verdicts
from edp_assets.storage.workspace import Asset, Workspace
from edp_assets_tests.checks.planted import K76, LIVER, people, planted, rewritten, store, table

assert graph  # its import registers the checks
VOLUMES, EMBEDDINGS, ADJUSTED = ("organ_volumes",), ("mae", "embeddings"), ("mae", "adjusted_embeddings")


def failures(
    workspace: Workspace, asset: Asset, cell: tuple[tuple[str, str], ...], *, current: bool = False
) -> list[str]:
    found = Verdicts(workspace).look(asset, cell, current=current)
    assert found is not None
    return [f"{each.check_name} {each.measure}: {each.description}" for each in found if not each.passed]


def test_every_stored_table_is_looked_at_and_keys_are_columns() -> None:
    assert set(LOOKS) == {key for key, stage in REGISTRY.items() if stage.spec.table in SCHEMAS}
    assert all("schema" in look.checks for look in LOOKS.values())
    assert all(set(key) <= set(SCHEMAS[name]) for name, key in KEYS.items())


@pytest.mark.parametrize("name", sorted({look.spec.table for look in LOOKS.values()}))
def test_schema__what_the_writer_writes_passes(name: str, tmp_path: Path) -> None:
    workspace = planted(tmp_path)
    asset = next(key for key, look in LOOKS.items() if look.spec.table == name)
    cell = cell_of(dict.fromkeys(REGISTRY[asset].spec.dimensions, "liver"))
    for n in (0, 1):
        workspace.lake.write(asset, cell, name, Stored(table(name, n)), "")
        assert failures(workspace, asset, cell) == []
    assert not workspace.lake.beside(asset, cell, FAILED).exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.drop_columns(["voxels"]), "schema columns: .* not those of organ_volumes: missing voxels"),
        (lambda t: t.append_column("age", pa.array([1.0] * 5)), "columns: .* unknown age"),
        (
            lambda t: t.set_column(3, "volume_ml", pc.cast(t["volume_ml"], pa.float32())),
            "schema types: volume_ml is float, double is wanted",
        ),
        (
            lambda t: t.set_column(3, "volume_ml", pa.array([None, 1.0, 1.0, 1.0, 1.0])),
            "schema missing_values: 1 values of volume_ml are missing; none may be",
        ),
        (
            lambda t: t.set_column(0, "eid", pa.array([None, "1", "2", "3", "4"])),
            "schema missing_values: 1 values of eid are missing; none may be",
        ),
        (
            lambda t: t.set_column(0, "eid", pa.array(["1", "1", "2", "3", "4"])),
            "schema duplicates: 1 rows repeat the eid of another; none may",
        ),
        (lambda t: t.slice(2), "schema rows: 3 rows; it was written with 5"),
    ],
)  # fmt: skip
def test_schema__a_file_replaced_by_hand_fails_by_name(change: object, told: str, tmp_path: Path) -> None:
    workspace = planted(tmp_path)
    path = store(workspace, VOLUMES, LIVER, table("organ_volumes", 5))
    assert failures(workspace, VOLUMES, LIVER) == []
    rewritten(path, change)
    (found,) = failures(workspace, VOLUMES, LIVER)
    assert re.search(told, found), found


def test_schema__a_file_of_an_earlier_version_that_is_sound_passes(tmp_path: Path) -> None:
    workspace = planted(tmp_path)
    path = store(workspace, EMBEDDINGS, LIVER, table("embeddings", 3))
    # Every column may be null there, by the file's own schema.
    rewritten(path, lambda t: t.cast(pa.schema([field.with_nullable(True) for field in t.schema])))
    assert not pq.read_schema(path).equals(
        pq.read_schema(store(workspace, EMBEDDINGS, (("organ", "b"),), table("embeddings", 3)))
    )
    assert failures(workspace, EMBEDDINGS, LIVER) == []


def test_schema__a_damaged_file_and_one_of_another_program_fail(tmp_path: Path) -> None:
    workspace = planted(tmp_path)
    path = store(workspace, VOLUMES, LIVER, table("organ_volumes", 5))
    path.write_bytes(path.read_bytes()[:-20])
    assert "schema file: it cannot be read" in failures(workspace, VOLUMES, LIVER)[0]
    table("organ_volumes", 5).write_parquet(path)
    assert "not written by edp_assets" in failures(workspace, VOLUMES, LIVER)[0]
    assert failures(workspace, VOLUMES, (("organ", "none"),)) == []


def test_look__keeps_a_failure_holds_below_and_forgets_it_when_mended(tmp_path: Path) -> None:
    workspace = planted(tmp_path)
    path = store(workspace, VOLUMES, LIVER, table("organ_volumes", 5))
    sound, below = path.read_bytes(), REGISTRY["organ_volume", "gwas_summary_stats"].spec
    assert Verdicts(workspace).holds_above(below, [LIVER], look=True) == {}
    rewritten(path, lambda t: t.drop_columns(["voxels"]))
    assert Verdicts(workspace).holds_above(below, [LIVER]) == {}  # nobody has looked yet
    ((hold,),) = Verdicts(workspace).holds_above(below, [LIVER], look=True).values()
    assert "organ_volumes [liver]: check schema failed" in str(hold)
    assert f"To do: delete {path} and run again" in str(hold)
    later = Verdicts(workspace)
    assert list(later.holds_above(below, [LIVER])) == [LIVER]  # now it is known
    later.look(VOLUMES, LIVER)
    later.mirror()
    count = "SELECT count(*) AS n FROM asset_checks WHERE check_name = 'schema' AND NOT passed"
    assert warehouse.query(workspace.home.warehouse, count)["n"][0] == 1
    path.write_bytes(sound)
    mended = Verdicts(workspace)
    assert mended.holds_above(below, [LIVER]) == {}
    mended.mirror()
    assert warehouse.query(workspace.home.warehouse, count)["n"][0] == 0
    assert not workspace.lake.beside(VOLUMES, LIVER, FAILED).exists()


@pytest.mark.parametrize(("severity", "held"), [("warn", False), ("off", False), ("error", True)])
def test_schema__severity(severity: str, held: bool, tmp_path: Path) -> None:
    workspace = planted(tmp_path, f"[checks.schema]\nseverity = '{severity}'")
    rewritten(store(workspace, VOLUMES, LIVER, table("organ_volumes", 5)), lambda t: t.slice(1))
    assert len(failures(workspace, VOLUMES, LIVER)) == (severity != "off")
    assert bool(Verdicts(workspace).holds(VOLUMES, LIVER)) == held


CHAIN: list[tuple[Asset, int, int]] = [
    (("scans",), 10, 0), (("masked_crops",), 8, 2), (VOLUMES, 8, 0), (EMBEDDINGS, 8, 0), (ADJUSTED, 7, 1),
    (("mae", "clusters"), 7, 0), (("mae", "association_basis"), 4, 3),
]  # fmt: skip


def chain(workspace: Workspace) -> None:
    for asset, rows, excluded in CHAIN:
        store(workspace, asset, LIVER, table(asset[-1], rows), excluded)


def test_row_counts__nothing_lost_passes(tmp_path: Path) -> None:
    workspace = planted(tmp_path)
    chain(workspace)
    for asset, *_ in CHAIN:
        assert failures(workspace, asset, LIVER, current=True) == []


@pytest.mark.parametrize("place", range(1, len(CHAIN)))
def test_row_counts__a_row_that_is_lost_and_not_counted_fails(place: int, tmp_path: Path) -> None:
    workspace = planted(tmp_path)
    chain(workspace)
    asset, rows, excluded = CHAIN[place]
    store(workspace, asset, LIVER, table(asset[-1], rows - 1), excluded)
    assert failures(workspace, asset, LIVER) == []  # what it is made from may have changed since
    (found,) = failures(workspace, asset, LIVER, current=True)
    assert f"row_counts rows: {rows - 1} rows; {rows} are wanted" in found
    assert "mae/clusters" not in found


def test_row_counts__of_scores_models_and_statistics(tmp_path: Path) -> None:
    workspace = planted(tmp_path)
    selection, scores, statistics = (
        ("mae", name) for name in ("phenotype_selection", "edp_scores", "gwas_summary_stats")
    )
    chain(workspace)
    store(workspace, selection, K76, table("phenotype_selection", 3, cluster=[0, 1, 2], selected=[True, False, True]))
    store(workspace, ("mae", "phenotype_models"), K76, table("phenotype_models", 3, cluster=[0, 1, 2]))
    store(workspace, scores, K76, table("edp_scores", 14, eid=2 * people(7)))
    noted = {"phenotypes": [{"variants_stored": 3}, {"variants_stored": 2}]}
    store(workspace, statistics, K76, table("gwas_summary_stats", 5), **noted)
    for asset in (selection, scores, statistics):
        assert failures(workspace, asset, K76, current=True) == []
    store(workspace, selection, K76, table("phenotype_selection", 2, cluster=[0, 1], selected=[True, True]))
    store(workspace, scores, K76, table("edp_scores", 13, eid=people(13)))
    store(workspace, statistics, K76, table("gwas_summary_stats", 4), **noted)
    told = [failures(workspace, asset, K76, current=True)[0] for asset in (selection, scores, statistics)]
    assert "2 rows; 3 are wanted: as many as phenotype_models" in told[0]
    assert "13 rows; 14 are wanted: 2 phenotypes x 7 people of adjusted_embeddings" in told[1]
    assert "4 rows; 5 are wanted: variants of 2 phenotypes, as noted" in told[2]


def test_dagster__the_full_check_looks_at_every_file_and_lists_the_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = planted(tmp_path)
    monkeypatch.setenv("EDP_HOME", str(workspace.home.root))
    for organ in ("heart", "liver"):
        path = store(workspace, VOLUMES, (("organ", organ),), table("organ_volumes", 5))
    keys = {dg.AssetCheckKey(dg.AssetKey(list(VOLUMES)), name) for name in ("schema", "row_counts")}
    job = graph.resolve_implicit_global_asset_job_def().get_subset(asset_selection=set(), asset_check_selection=keys)

    def evaluated() -> dict[str, dg.AssetCheckEvaluation]:
        with dg.DagsterInstance.ephemeral() as instance:
            done = job.execute_in_process(instance=instance)
        return {found.check_name: found for found in done.get_asset_check_evaluations()}

    sound = evaluated()
    assert sound["schema"].passed
    assert sound["schema"].metadata["looked_at"].value == 2
    assert sound["row_counts"].metadata["current"].value == 0  # hand-written: made of nothing that is there
    rewritten(path, lambda t: t.slice(1))
    failed = evaluated()["schema"]
    assert (failed.passed, failed.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert failed.metadata["partitions_holding"].value == ["liver"]
