"""build_defs(): the code location, nothing else."""

from __future__ import annotations

import dagster as dg

from edp_assets.automation.build import build_automation, executor_of_home, settings_of_home
from edp_assets.automation.following import with_conditions
from edp_assets.graph import build_graph
from edp_assets.storage.home import Home


def build_defs() -> dg.Definitions:
    """Return the graph of assets, and what starts runs of it."""
    home = Home.from_environment()
    settings = settings_of_home(home)
    return dg.Definitions.merge(
        with_conditions(build_graph(), settings.encoders),
        build_automation(settings),
        dg.Definitions(executor=executor_of_home(home)),
    )


defs = build_defs()
