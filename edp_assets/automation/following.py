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

GROUPS = ("phenotypes", "association", "baselines")
"""Groups whose assets follow. Few-shot ones are of few codes alone, which Dagster's partitions do not know."""

_AC: Any = dg.AutomationCondition
CONDITION: dg.AutomationCondition[dg.AssetKey] = (
    (
        _AC.any_deps_match(_AC.data_version_changed())
        | _AC.any_deps_match(_AC.will_be_requested())
        | _AC.newly_missing()
        | _AC.code_version_changed()
    ).since_last_handled()
    & ~_AC.any_deps_missing()
    & ~_AC.any_deps_in_progress()
    & ~_AC.in_progress()
).with_label("an input has other content")


def following(encoders: Sequence[str]) -> dg.AssetSelection:
    """Return the assets that follow; of the encoders' chains those of the cohort's encoders."""
    unused = set(get_args(EncoderName)) - set(encoders)
    return dg.AssetSelection.assets(
        *(dg.AssetKey(list(key)) for key, s in REGISTRY.items() if s.group in GROUPS and key[0] not in unused)
    )


def with_conditions(graph: dg.Definitions, encoders: Sequence[str]) -> dg.Definitions:
    """Return the graph with the condition on the assets that follow."""
    return graph.map_resolved_asset_specs(
        func=lambda spec: spec.replace_attributes(automation_condition=CONDITION), selection=following(encoders)
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
