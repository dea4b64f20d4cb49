"""Conditions on assets: what follows a changed label, and what does not."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from edp_assets.assets.stage import REGISTRY
from edp_assets.automation.following import following
from edp_assets.definitions import defs
from edp_assets.storage.workspace import Asset

KEYS = {"organ": ["heart", "liver"], "icd10": ["I50", "K76"], "chromosome": ["1", "2"]}
CHANGED = "icd10_cases"
ORGAN_CODE = {"K76|heart", "K76|liver"}
FOLLOWING = following(["mae"])


def partitions(dimensions: tuple[str, ...]) -> list[str | None]:
    if not dimensions:
        return [None]
    if len(dimensions) == 1:
        return list(KEYS[dimensions[0]])
    a, b = dimensions
    return [dg.MultiPartitionKey({a: x, b: y}) for x in KEYS[a] for y in KEYS[b]]


def tell(instance: dg.DagsterInstance, asset: Asset, partition: str | None, version: str) -> None:
    event = dg.AssetMaterialization(list(asset), partition=partition, tags={"dagster/data_version": version})
    instance.report_runless_asset_event(event)


class Ticks:
    """An instance in which everything but the encoders without use is made, and the ticks of the sensor on it."""

    def __init__(self, instance: dg.DagsterInstance, lacking: Asset | None = None) -> None:
        self.instance = instance
        for name, keys in KEYS.items():
            instance.add_dynamic_partitions(name, keys)
        for key, stage in REGISTRY.items():
            if key[0] not in ("video_mae", "imagenet", "untrained") and key != lacking:
                for partition in partitions(stage.spec.dimensions):
                    tell(instance, key, partition, "a")
        self.cursor = dg.evaluate_automation_conditions(defs, instance, FOLLOWING).cursor

    def __call__(self) -> dict[str, set[str | None]]:
        """Return what one more look asks for, by asset."""
        found = dg.evaluate_automation_conditions(defs, self.instance, FOLLOWING, cursor=self.cursor)
        self.cursor = found.cursor
        asked: dict[str, set[str | None]] = {}
        for result in found.results:
            if found.get_num_requested(result.key):
                asked[result.key.to_user_string()] = set(found.get_requested_partitions(result.key))
        return asked


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def test_following__one_changed_label_asks_for_its_code_in_every_organ_and_nothing_else(
    instance: dg.DagsterInstance,
) -> None:
    tick = Ticks(instance)
    assert tick() == {}
    tell(instance, (CHANGED,), "K76", "a")  # made again with the same content
    assert tick() == {}
    tell(instance, (CHANGED,), "K76", "b")
    asked = tick()
    for name in ("mae/phenotype_models", "mae/edp_scores", "mae/gwas_summary_stats", "mae/gene_hits"):
        assert asked[name] == ORGAN_CODE
    assert asked["icd10_whole_cohort/gwas_summary_stats"] == {"K76"}
    by_code = {
        name: keys for name, keys in asked.items() if "icd10" in REGISTRY[tuple(name.split("/"))].spec.dimensions
    }
    assert all("K76" in str(key) for keys in by_code.values() for key in keys)
    groups = {REGISTRY[tuple(name.split("/"))].group for name in asked}
    assert groups <= {"phenotypes", "association", "baselines"}
    assert not {name for name in asked if name.startswith(("video_mae/", "imagenet/"))}
    assert not {"mae/phenotype_figures", "mae/cluster_enrichment"} & set(
        asked
    )  # they sum up: they wait for their cells
    for name in asked:
        for key in asked[name]:
            tell(instance, tuple(name.split("/")), key, "b")
    organs = {"heart", "liver"}
    assert tick() == {"mae/phenotype_figures": organs, "mae/cluster_enrichment": organs}
    assert tick() == {}  # asked for once


def test_following__encoders_never_follow(instance: dg.DagsterInstance) -> None:
    tick = Ticks(instance)
    tell(instance, ("masked_crops",), "liver", "b")
    assert not any("encoder" in name or "embeddings" in name for name in tick())
    conditions = {
        key for key in REGISTRY if defs.resolve_asset_graph().get(dg.AssetKey(list(key))).automation_condition
    }
    assert ("mae", "phenotype_models") in conditions
    assert not {key for key in conditions if REGISTRY[key].group in ("encoders", "imaging", "cohort", "few_shot")}


def test_following__waits_for_what_is_missing_upstream(instance: dg.DagsterInstance) -> None:
    tick = Ticks(instance, lacking=("mae", "adjusted_embeddings"))
    tell(instance, (CHANGED,), "K76", "b")
    asked = tick()
    assert "mae/phenotype_models" not in asked
    assert "icd10_whole_cohort/gwas_summary_stats" in asked


def test_follow_changes__is_off_until_it_is_switched_on() -> None:
    sensor = next(sensor for sensor in defs.sensors or [] if sensor.name == "follow_changes")
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
