"""Conditions on assets, for who materialises by hand in the UI: what stands below a change is made as well.

Off until its sensor is switched on. Encoders and what they are made from never follow by themselves: a training costs
days. The refresh does not need this: it knows what is current by content.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import dagster as dg

from edp_assets.assets.stage import REGISTRY
from edp_assets.settings import EncoderName
from edp_assets.storage.workspace import StageSpec

GROUPS = ("phenotypes", "association", "baselines")
"""Groups whose assets follow. Few-shot and adjustment are of few codes, which Dagster's partitions do not know."""


def condition(spec: StageSpec) -> dg.AutomationCondition[dg.AssetKey]:
    """Return when a partition is asked for: an input has other content, or is itself asked for in the same go.

    Dagster makes only partitions of the same dimensions in one go. So what sums up cells waits for these: it follows
    them alone, and not as well the label that they are made from.
    """
    ac: Any = dg.AutomationCondition
    followed = [a for a in spec.inputs.values() if REGISTRY[a].group in GROUPS]
    sums_up = any(set(spec.dimensions) < set(REGISTRY[asset].spec.dimensions) for asset in followed)
    content = ac.any_deps_match(ac.data_version_changed())
    if sums_up:
        content = content.allow(dg.AssetSelection.assets(*(dg.AssetKey(list(asset)) for asset in followed)))
    changed = (
        content | ac.any_deps_match(ac.will_be_requested()) | ac.newly_missing() | ac.code_version_changed()
    ).since_last_handled()
    ready = ~ac.any_deps_missing() & ~ac.any_deps_in_progress() & ~ac.in_progress()
    return (changed & ready).with_label("an input has other content")


def following(encoders: Sequence[str]) -> dg.AssetSelection:
    """Return the assets that follow; of the encoders' chains those of the cohort's encoders."""
    unused = set(get_args(EncoderName)) - set(encoders)
    return dg.AssetSelection.assets(
        *(dg.AssetKey(list(key)) for key, s in REGISTRY.items() if s.group in GROUPS and key[0] not in unused)
    )


def with_conditions(graph: dg.Definitions, encoders: Sequence[str]) -> dg.Definitions:
    """Return the graph with the condition on the assets that follow."""
    return graph.map_resolved_asset_specs(
        func=lambda spec: spec.replace_attributes(automation_condition=condition(REGISTRY[tuple(spec.key.path)].spec)),
        selection=following(encoders),
    )


def build_follow_sensor(encoders: Sequence[str]) -> dg.AutomationConditionSensorDefinition:
    """Return the sensor that evaluates the conditions, switched off."""
    return dg.AutomationConditionSensorDefinition(
        "follow_changes",
        target=following(encoders),
        default_status=dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=60,
        description="For who materialises by hand: makes phenotypes, associations and genes whose inputs have other "
        "content than before. It trains no encoder.",
    )
