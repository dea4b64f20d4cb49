"""The graph: every asset with its checks and the stores it is kept in. What starts runs of it is in `automation`."""

from __future__ import annotations

import dagster as dg

from edp_assets.assets import (
    adjustment,
    ancestry,
    association,
    association_figures,
    baselines,
    cohort,
    encoder_sizes,
    encoders,
    enrichment,
    evidence,
    evidence_predictions,
    evidence_tables,
    few_shot,
    genes,
    hand_made,
    imaging,
    interpretation,
    paper_figures,
    permutation,
    phenome,
    phenotype_figures,
    phenotypes,
    phewas,
    regional_figures,
)
from edp_assets.assets.stage import REGISTRY
from edp_assets.checks import association as association_checks
from edp_assets.checks import embeddings as embedding_checks
from edp_assets.checks import labels as label_checks
from edp_assets.checks import people as people_checks
from edp_assets.checks import tables as table_checks
from edp_assets.checks.gates import DEFINITIONS, look_definition
from edp_assets.storage.event_log import allow_batches
from edp_assets.storage.io_managers import CheckpointIOManager, LakeIOManager

STAGES = (
    cohort,
    ancestry,
    genes,
    imaging,
    encoders,
    evidence,
    phenotypes,
    enrichment,
    phenotype_figures,
    association,
    association_figures,
    regional_figures,
    permutation,
    baselines,
    hand_made,
    few_shot,
    adjustment,
    phenome,
    phewas,
    evidence_tables,
    evidence_predictions,
    encoder_sizes,
    interpretation,
    paper_figures,
)
"""The modules whose import defines the stages, in the order of the flow."""

CHECKS = (association_checks, embedding_checks, label_checks, people_checks, table_checks)
"""The modules whose import registers checks of them."""


def build_graph() -> dg.Definitions:
    """Return every asset with its checks and the stores it is kept in."""
    return dg.Definitions(
        assets=[stage.definition for stage in REGISTRY.values()],
        asset_checks=[*DEFINITIONS.values(), look_definition(), people_checks.withdrawn_people],
        resources={"io_manager": LakeIOManager(), "checkpoint_io_manager": CheckpointIOManager()},
    )


allow_batches()
graph = build_graph()
