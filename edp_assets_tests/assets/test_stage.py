"""Stages: what a cell is given, what makes it current, and the assets as Dagster sees them."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context

from edp_assets.assets.stage import GROUPS, REGISTRY
from edp_assets.definitions import defs
from edp_assets.partitions import mapping_between, partitions_for
from edp_assets.settings import ORGANS, Settings
from edp_assets.storage.schemas import SCHEMAS
from edp_assets.storage.workspace import Fingerprints, Workspace

ORGAN, CODE = ["heart", "liver"], ["E11", "K76"]


def test_registry__names_the_issues_assets_under_their_groups() -> None:
    keys = {"/".join(key) for key in REGISTRY}
    wanted = {
        "masked_crops",
        "organ_volumes",
        "mae/encoder",
        "mae/embeddings",
        "mae/adjusted_embeddings",
        "mae/clusters",
    }
    wanted |= {"mae/edp_scores", "mae/phenotype_selection", "mae/embedding_associations"}
    wanted |= {
        f"{method}/{table}"
        for method in ("mae", "icd10_imaging_cohort", "icd10_whole_cohort", "organ_volume")
        for table in ("gwas_summary_stats", "lead_variants", "gene_hits")
    }
    assert wanted <= keys
    groups = [stage.group for stage in REGISTRY.values()]
    assert set(groups) == set(GROUPS)


def test_registry__every_asset_tells_what_it_holds() -> None:
    graph = defs.resolve_asset_graph()
    for key, stage in REGISTRY.items():
        node = graph.get(dg.AssetKey(list(key)))
        assert node.description, key
        assert node.owners == [f"team:{stage.group}"], key
        assert node.code_version, key
        if stage.spec.table in SCHEMAS:
            schema = node.metadata["dagster/column_schema"]
            assert [column.name for column in schema.columns] == list(SCHEMAS[stage.spec.table])


@pytest.mark.parametrize(
    ("upstream", "downstream", "cell", "wanted"),
    [
        (("organ",), ("organ",), "liver", {"liver"}),
        (("organ",), ("icd10", "organ"), "K76|liver", {"liver"}),
        (("icd10",), ("icd10", "organ"), "K76|liver", {"K76"}),
        (("chromosome", "organ"), ("icd10", "organ"), "K76|liver", {"1|liver", "2|liver"}),
        (("chromosome", "organ"), ("organ",), "liver", {"1|liver", "2|liver"}),
    ],
)
def test_mapping_between__a_cell_depends_on_what_agrees_on_the_shared_dimensions(
    upstream: tuple[str, ...], downstream: tuple[str, ...], cell: str, wanted: set[str]
) -> None:
    above, below = partitions_for(upstream), partitions_for(downstream)
    mapping = mapping_between(upstream, downstream) or dg.IdentityPartitionMapping()
    with dg.DagsterInstance.ephemeral() as instance, partition_loading_context(dynamic_partitions_store=instance):
        for name, keys in (("organ", ORGAN), ("icd10", CODE), ("chromosome", ["1", "2"])):
            instance.add_dynamic_partitions(name, keys)
        subset = below.subset_with_partition_keys([cell])
        found = mapping.get_upstream_mapped_partitions_result_for_partitions(
            subset, below, above, dynamic_partitions_store=instance
        )
        assert set(found.partitions_subset.get_partition_keys()) == wanted


def test_mapping_between__nothing_shared_means_all() -> None:
    assert mapping_between(("organ",), ("icd10",)) == dg.AllPartitionMapping()
    assert mapping_between(("organ",), ()) == dg.AllPartitionMapping()


def test_settings__table_five_is_the_papers() -> None:
    table = {name: (o.patch, o.patch_video, o.resolution, o.resolution_video) for name, o in ORGANS.items()}
    assert table["liver"] == (8, 7, 144, 144)
    assert table["kidneys"] == (6, 6, 48, 36)
    assert table["lungs"] == (12, 12, 180, 156)
    assert table["heart"] == (8, 7, 144, 144)


def test_settings__fingerprint_changes_with_a_value() -> None:
    fingerprints = [
        Settings.from_toml({"encoders": {"mae": {"epochs": epochs}}}).mae.fingerprint() for epochs in (30, 30, 31)
    ]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_settings__wrong_keys_are_named_together() -> None:
    with pytest.raises(ValueError, match=r"classifier.fold.*clustering.n_neighbors"):
        Settings.from_toml({"classifier": {"fold": 3}, "clustering": {"n_neighbors": 0}})


@pytest.mark.parametrize("encoder", ["mae", "video_mae", "imagenet"])
@pytest.mark.parametrize("change", [{"pooling": ["cls", "patch_spread"]}, {"pooling_over_items": ["max"]}])
def test_fingerprints__another_pooling_makes_embeddings_out_of_date_and_no_encoder(
    encoder: str, change: dict[str, list[str]]
) -> None:
    def fingerprint(table: str, section: dict[str, list[str]]) -> str:
        settings = Settings.from_toml({"organs": {"liver": {}}, "encoders": {encoder: section}})
        workspace: Any = SimpleNamespace(settings=settings, provenances=lambda asset: {}, files=lambda name, cell: "")
        workspace.settings_used = partial(Workspace.settings_used, workspace)
        return Fingerprints(workspace, REGISTRY[encoder, table].spec).of((("organ", "liver"),))

    assert fingerprint("encoder", change) == fingerprint("encoder", {})
    assert fingerprint("embeddings", change) != fingerprint("embeddings", {})
    assert fingerprint("adjusted_embeddings", change) == fingerprint("adjusted_embeddings", {})  # by content alone
