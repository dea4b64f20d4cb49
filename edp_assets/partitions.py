"""Partitions: organ, icd10, chromosome, and their products; dynamic, since the cohort decides the keys."""

from __future__ import annotations

import warnings

import dagster as dg

# Partition mappings and backfill policies are beta on this version of Dagster; the choice is made, here, once.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

DIMENSIONS = ("organ", "icd10", "chromosome")

_SINGLE = {name: dg.DynamicPartitionsDefinition(name=name) for name in DIMENSIONS}


def partitions_for(dimensions: tuple[str, ...]) -> dg.PartitionsDefinition | None:
    """Return the partitions definition of these dimensions; None for none."""
    if not dimensions:
        return None
    if len(dimensions) == 1:
        return _SINGLE[dimensions[0]]
    return dg.MultiPartitionsDefinition({name: _SINGLE[name] for name in dimensions})


def mapping_between(upstream: tuple[str, ...], downstream: tuple[str, ...]) -> dg.PartitionMapping | None:
    """Return the mapping under which a cell depends on every upstream cell that agrees on the shared dimensions.

    The one rule of this project, as the `PartitionMapping` Dagster asks for; None where Dagster's default does it.
    """
    shared = tuple(sorted(set(upstream) & set(downstream)))
    if not upstream or not downstream or set(upstream) == set(downstream):
        return dg.AllPartitionMapping() if upstream and not downstream else None
    if not shared:
        return dg.AllPartitionMapping()
    if len(upstream) == 1 or len(downstream) == 1:
        return dg.MultiToSingleDimensionPartitionMapping(partition_dimension_name=shared[0])
    return dg.MultiPartitionMapping(
        {
            name: dg.DimensionPartitionMapping(dimension_name=name, partition_mapping=dg.IdentityPartitionMapping())
            for name in shared
        }
    )
