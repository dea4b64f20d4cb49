"""The scan of the phenotypes of several cells of an organ: who is tested, and which results are taken over.

A pair of phenotype and trait whose scores, values, people and covariates are what they were is not fitted again, but
copied. So a changed diagnosis costs the phecodes that it changes, not all traits. The stages are in `phewas`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from edp_assets.assets.encoders import matrix
from edp_assets.assets.people import without_relatives
from edp_assets.assets.stage import StageRun
from edp_assets.cohort.phenome import BLOCK
from edp_assets.settings import PhewasSettings
from edp_assets.storage.columns import of_phenotype
from edp_assets.storage.lake import LakeError
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partition

DIGEST = 10
"""Hexadecimal digits that tell of scores, or of values: a row was made from the two."""


class Earlier:
    """The rows that a cell had before: by phenotype and trait, with what each was made from."""

    def __init__(self, run: StageRun) -> None:
        """Read the stored partition of the run's cell; none where it is not stored, damaged, or of another version."""
        lake, asset = run.workspace.lake, run.spec.asset
        self._rows = empty("phewas")
        if lake.path(asset, run.cell).exists():
            try:
                stored = lake.read(asset, run.cell)
            except LakeError:  # it is set aside, and made anew
                return
            if stored.columns == self._rows.columns:
                self._rows = stored

    def of(self, phenotype: pl.DataFrame) -> pl.DataFrame:
        """Return the earlier rows of a phenotype (method and cluster among its columns)."""
        method, cluster = phenotype.select("method", "cluster").row(0)
        return self._rows.filter(of_phenotype(method, cluster))


@dataclass
class _Group:
    """Phenotypes that are scanned together: those whose scores and people are as they were, or the others."""

    places: list[int]
    scan: Any
    known: list[set[str]]
    found: dict[int, Any] = field(default_factory=dict)

    def test(self, block: Sequence[tuple[int, str]], values: np.ndarray, sources: Sequence[Sequence[str]]) -> None:
        """Test those traits of a block (row and kind of each) that any of the phenotypes has no earlier result of.

        `sources` has of each phenotype what each trait's result is made from.
        """
        wanted = [
            at
            for at in range(len(block))
            if any(sources[i][at] not in known for i, known in zip(self.places, self.known, strict=True))
        ]
        results = self.scan.test_all([(values[:, at], block[at][1]) for at in wanted])
        self.found |= {block[at][0]: result for at, result in zip(wanted, results, strict=True)}


def scan_traits(
    run: StageRun,
    phenotypes: Sequence[pl.DataFrame],
    earlier: Sequence[pl.DataFrame],
    inputs: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, Partition],
) -> tuple[list[pl.DataFrame], dict[str, Any]]:
    """Return the rows of each phenotype, one a row of the dictionary, and what is told of the people.

    Args:
        run: any of the organ's cells.
        phenotypes: eid, score of each.
        earlier: rows that each had before.
        inputs: participants, relatives, the phenome's dictionary and values.
    """
    from edp_assets.science.phenome.results import results_frame

    participants, relatives, dictionary, traits = inputs
    settings = run.workspace.settings.phewas
    people, scores, covariates, told = tested_people(phenotypes, participants, relatives, settings)
    made_from = digest(
        run.spec.code_version, settings.min_cases, settings.min_people, people["eid"].to_list(), *covariates
    )
    of_scores = [digest(made_from, column) for column in scores.T]
    groups = _grouped(scores, covariates, settings, of_scores, [set(rows["source"]) for rows in earlier])
    sources = [[""] * dictionary.height for _ in phenotypes]
    placed = dictionary.with_row_index("row").filter(pl.col("place").is_not_null()).sort("place")
    stored = traits.scan()
    for first in range(0, placed.height, BLOCK):
        of_block, values = placed[first : first + BLOCK], _values(stored, people, first // BLOCK)
        rows = of_block["row"].to_list()
        described = of_block.select("kind", "levels").rows()
        of_values = [digest(*about, column) for about, column in zip(described, values.T, strict=True)]
        of_pairs = [[of_score + of_trait for of_trait in of_values] for of_score in of_scores]
        for mine, pairs in zip(sources, of_pairs, strict=True):
            for row, source in zip(rows, pairs, strict=True):
                mine[row] = source
        for group in groups:
            group.test(list(zip(rows, of_block["kind"], strict=True)), values, of_pairs)
    frames: dict[int, pl.DataFrame] = {}
    told["results_taken_over"] = 0
    for group in groups:
        results = [group.found.get(row) for row in range(dictionary.height)]
        for place, i in enumerate(group.places):
            frames[i], copied = results_frame(dictionary, results, place, earlier[i], sources[i])
            told["results_taken_over"] += copied
    return [frames[i] for i in range(len(phenotypes))], told


def _grouped(
    scores: np.ndarray,
    covariates: list[np.ndarray],
    settings: PhewasSettings,
    of_scores: Sequence[str],
    known: Sequence[set[str]],
) -> list[_Group]:
    """Return the phenotypes whose earlier rows are of the same scores, and the others, as groups that are scanned."""
    from edp_assets.science.phenome.scan import PhenomeScan
    from edp_assets.science.phenome.traits import Rules

    rules = Rules(settings.min_cases, settings.min_people)
    same = [any(source.startswith(of_score) for source in of) for of_score, of in zip(of_scores, known, strict=True)]
    groups = []
    for as_before in (False, True):
        places = [i for i, each in enumerate(same) if each == as_before]
        if places:
            scan = PhenomeScan(scores[:, places], covariates, rules)
            groups.append(_Group(places, scan, [known[i] for i in places]))
    return groups


def digest(*parts: Any) -> str:
    """Return a short hash of texts, numbers and arrays."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return whole.hexdigest()[:DIGEST]


def _values(stored: pl.LazyFrame, people: pl.DataFrame, block: int) -> np.ndarray:
    """Return the people's values of a block of traits (n_participants, n_traits), NaN where missing."""
    of_block = stored.filter(pl.col("block") == block).select("eid", "values").collect().with_row_index("at")
    at = people.select("eid").join(of_block.select("eid", "at"), on="eid", how="left", maintain_order="left")["at"]
    values = matrix(of_block, "values")
    with_nothing = np.concatenate([values, np.full((1, values.shape[1]), np.nan)])
    return np.asarray(with_nothing[at.fill_null(of_block.height).to_numpy()], np.float64)


def tested_people(
    phenotypes: Sequence[pl.DataFrame], participants: pl.DataFrame, relatives: pl.DataFrame, settings: PhewasSettings
) -> tuple[pl.DataFrame, np.ndarray, list[np.ndarray], dict[str, Any]]:
    """Return the unrelated people with every covariate, their scores, the covariates, and what is told of the people.

    A covariate that the cohort lacks altogether is left out of the model and named.
    """
    from edp_assets.science.genetics.covariates import indicator_columns

    scores = phenotypes[0].select("eid")
    for number, phenotype in enumerate(phenotypes):
        scores = scores.join(
            phenotype.select("eid", pl.col("score").alias(f"s{number}")), on="eid", maintain_order="left"
        )
    names = settings.covariates
    present = [name for name in names if participants[name].null_count() < participants.height]
    joined = scores.join(participants.select("eid", *present), on="eid", how="left", maintain_order="left")
    complete = joined.drop_nulls(present)
    people = without_relatives(complete, relatives)
    columns: list[np.ndarray] = []
    for name in present:
        if name == "imaging_date":
            columns.append(people[name].str.to_date("%Y-%m-%d").to_physical().to_numpy().astype(float))
        elif people[name].dtype == pl.String:
            columns.append(indicator_columns(people[name].to_list()))
        else:
            columns.append(people[name].to_numpy().astype(float))
    told: dict[str, Any] = {"people": people.height, "missing_covariate": joined.height - complete.height}
    told |= {"related": complete.height - people.height}
    lacking = [name for name in names if name not in present]
    if lacking:
        told["covariates_lacking"] = ", ".join(lacking)
    return people, people.select(f"s{i}" for i in range(len(phenotypes))).to_numpy(), columns, told
