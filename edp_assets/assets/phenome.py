"""The phenome as assets: which traits and phecodes the imaged people have, and their values. Nothing is tested here."""

from __future__ import annotations

import logging

import polars as pl

from edp_assets.assets import cohort
from edp_assets.assets.stage import StageRun, stage, table_preview
from edp_assets.cohort.phenome import phenome_blocks, read_phecodes, read_phenome_dictionary
from edp_assets.cohort.tables import read_scans
from edp_assets.storage.lake import Stored
from edp_assets.storage.schemas import empty

log = logging.getLogger(__name__)

GROUP = "phenome"
PHECODE_FILES = ("phecode_map", "phecode_definitions", "phecode_exclusions")
NOTHING_TO_TEST = (
    "the cohort has no trait with a kind and no phecode of anybody imaged: every phenome-wide scan is empty"
)
FILES = ("traits", "trait_dictionary", *PHECODE_FILES, "scans", "withdrawn")


def _imaged(run: StageRun, participants: pl.DataFrame) -> pl.DataFrame:
    """Return eid and sex of the participants with a scan, by eid."""
    scans = read_scans(run.workspace.cohort, set(participants["eid"])).table
    return participants.select("eid", "sex").join(scans, on="eid", how="semi").sort("eid")


def read_dictionary(run: StageRun, participants: pl.DataFrame, diagnoses: pl.DataFrame) -> Stored:
    """Every trait of the cohort and every phecode of the imaged people's diagnoses, or why it cannot be tested."""
    people = _imaged(run, participants)
    phecodes = read_phecodes(run.workspace.cohort, diagnoses, people)
    frame = read_phenome_dictionary(run.workspace.cohort, people, phecodes)
    told = {
        "traits": frame.filter(pl.col("kind") != "phecode").height,
        "phecodes": frame.filter(pl.col("kind") == "phecode").height,
        "not_tested": frame["reason"].drop_nulls().len(),
        "first": table_preview(frame.select("trait", "description", "kind", "category"), 10),
    }
    if not frame["reason"].is_null().any():
        told["nothing_to_test"] = NOTHING_TO_TEST
        log.warning("phenome: %s", NOTHING_TO_TEST)
    if phecodes is not None:
        told |= {"codes_by_category": phecodes.by_category, "codes_without_phecode": phecodes.unmapped}
    return Stored(frame.select(empty("phenome_dictionary").columns), metadata=told)


def read_values(
    run: StageRun, participants: pl.DataFrame, diagnoses: pl.DataFrame, phenome_dictionary: pl.DataFrame
) -> Stored:
    """The imaged people's values of every trait and phecode, a block of traits after another."""
    people = _imaged(run, participants)
    phecodes = read_phecodes(run.workspace.cohort, diagnoses, people)
    blocks = phenome_blocks(run.workspace.cohort, phenome_dictionary, people, phecodes)
    return Stored(frame for part in ([empty("phenome_traits")], blocks) for frame in part)


PEOPLE = {"participants": cohort.participants, "diagnoses": cohort.diagnoses}
# A diagnosis more is a case more of its phecode, one trait of every EDP: days of testing at a biobank's size.
phenome_dictionary = stage(
    "phenome_dictionary",
    group=GROUP,
    dimensions=(),
    table="phenome_dictionary",
    inputs=PEOPLE,
    snapshot_of=("diagnoses",),
    files=FILES,
    code_version="2",
)(read_dictionary)
phenome_traits = stage(
    "phenome_traits",
    group=GROUP,
    dimensions=(),
    table="phenome_traits",
    inputs={**PEOPLE, "phenome_dictionary": phenome_dictionary},
    snapshot_of=("diagnoses",),
    files=FILES,
    code_version="3",
)(read_values)
