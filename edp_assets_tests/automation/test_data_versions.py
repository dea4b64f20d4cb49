"""What Dagster knows of stored partitions: their content as data version, and so which ones are stale and why."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView, TemporalContext
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleCause
from dagster._time import get_current_datetime

from edp_assets.definitions import defs
from edp_assets.runner import Choice, run
from edp_assets.storage.home import Home
from edp_assets.storage.lake import cell_of
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.automation.conftest import GWAS, diagnose, make

STATISTICS, CASES = dg.AssetKey(GWAS.split("/")), dg.AssetKey("icd10_cases")


def materialisations(key: dg.AssetKey) -> list[dg.AssetMaterialization]:
    """Return the materialisations of an asset, oldest first."""
    with dg.DagsterInstance.get() as instance:
        records = instance.fetch_materializations(key, limit=100, ascending=True).records
    return [record.asset_materialization for record in records if record.asset_materialization]


def stale(key: dg.AssetKey) -> dict[str, list[StaleCause]]:
    """Return why each code's partition of an asset counts as stale to Dagster."""
    with dg.DagsterInstance.get() as instance:
        graph = defs.resolve_asset_graph()
        now = TemporalContext(effective_dt=get_current_datetime(), last_event_id=None)
        view = AssetGraphView(temporal_context=now, instance=instance, asset_graph=graph)
        resolver = CachingStaleStatusResolver(instance, graph, view)
        return {code: list(resolver.get_stale_causes(key, code)) for code in ("I50", "K76")}


def test_materialisation__has_the_hash_of_its_own_rows_as_data_version(home: Home) -> None:
    lake = Workspace(home).lake
    told = {made.partition: made for made in materialisations(STATISTICS)}
    assert set(told) == {"I50", "K76"}  # both of one range run, each told once
    assert len(materialisations(STATISTICS)) == 2
    for code, made in told.items():
        stored = lake.provenance(("icd10_whole_cohort", "gwas_summary_stats"), cell_of({"icd10": str(code)}))
        assert stored is not None
        assert made.tags["dagster/data_version"] == stored.version
        assert made.tags["dagster/code_version"]
        assert made.metadata["dagster/row_count"].value == stored.rows
    assert len({made.tags["dagster/data_version"] for made in told.values()}) == 2


def test_staleness__of_one_changed_code_alone_and_why(home: Home, folder: Path) -> None:
    assert stale(STATISTICS) == {"I50": [], "K76": []}
    diagnose(folder, "290", "K760")
    with home.writing():
        run(Workspace(home), Choice(select='key:diagnoses or key:icd10_codes or key:"icd10_cases"'), lambda line: None)
    causes = stale(STATISTICS)
    assert causes["I50"] == []
    (cause,) = causes["K76"]
    assert (cause.dependency_asset_key, cause.dependency_partition_key) == (CASES, "K76")
    assert "new dependency data version" in cause.reason
    make(home)
    assert stale(STATISTICS) == {"I50": [], "K76": []}


def test_staleness__made_again_with_the_same_content_touches_nothing_below(home: Home) -> None:
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection={CASES})
    tags = {"dagster/asset_partition_range_start": "I50", "dagster/asset_partition_range_end": "K76"}
    with dg.DagsterInstance.get() as instance:
        assert job.execute_in_process(instance=instance, tags=tags).success
    assert len(materialisations(CASES)) == 4
    assert stale(STATISTICS) == {"I50": [], "K76": []}
