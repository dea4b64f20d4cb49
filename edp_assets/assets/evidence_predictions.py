"""Age and volume from embeddings, beside an untrained encoder and hand-made phenotypes (paper, Tables 3 and 4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from edp_assets.assets import cohort, imaging
from edp_assets.assets.baselines import VOLUME
from edp_assets.assets.encoders import ENCODERS, matrix
from edp_assets.assets.hand_made import ORGAN_MEASURES
from edp_assets.assets.stage import StageRun, stage
from edp_assets.science.evidence.paper import COMBINED, TABLE_3, TABLE_4_ERROR, TABLE_4_R
from edp_assets.storage.lake import Stored, cell_of
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partition, Partitions

MEASURES, MEAN = "organ_measures", "mean"
EMBEDDINGS = {name: stages.embeddings for name, stages in ENCODERS.items()}


def volume(run: StageRun, organ_volumes: pl.DataFrame, **embeddings: Partition) -> Stored:
    """Organ volume from embeddings, out of sample, with intervals over people (Table 4)."""
    people = _some(run, organ_volumes.select("eid", y="volume_ml"))
    rows = []
    for name, partition in embeddings.items():
        if (found := _matrix(partition, people["eid"])) is not None:
            rows.append(_row(run, name, run["organ"], found[0], _y(people, found[1])))
    rows.append(_row(run, MEAN, run["organ"], None, _y(people, people["eid"])))
    printed = not run.workspace.cohort.synthetic
    for row in rows:
        place = row["features"], row["organ"]
        row["paper_pearson_r"] = TABLE_4_R.get(place) if printed else None
        row["paper_mean_absolute_error_percent"] = TABLE_4_ERROR.get(place) if printed else None
    return Stored(pl.DataFrame(rows, schema=empty("evidence_volume").schema), metadata={"people": people.height})


def age(run: StageRun, participants: pl.DataFrame, measures: Partitions, **embeddings: Partitions) -> Stored:
    """Age from embeddings and from hand-made phenotypes, an organ and all organs together (Table 3)."""
    known = participants.select("eid", y="age").drop_nulls()
    rows = [row for features in _Features.all(run, measures, embeddings) for row in features.rows(run, known)]
    printed = not run.workspace.cohort.synthetic
    for row in rows:
        row["paper_mean_absolute_error"] = TABLE_3.get((row["features"], row["organ"])) if printed else None
    schema = empty("evidence_age").schema
    return Stored(pl.DataFrame(rows, schema=schema), metadata={"people_of_known_age": known.height})


class _Features:
    """One kind of features: of every organ that has them, a matrix of some people when asked for."""

    def __init__(self, name: str, organs: list[str], read: Any) -> None:
        self.name, self.organs, self._read = name, organs, read

    @classmethod
    def all(cls, run: StageRun, measures: Partitions, embeddings: Mapping[str, Partitions]) -> Iterator[_Features]:
        """Yield the features of each encoder, organ volume, all hand-made measures, and none: the mean."""
        for name, partitions in (*embeddings.items(), (VOLUME, measures), (MEASURES, measures), (MEAN, measures)):
            organs = [dict(cell)["organ"] for cell in partitions.stored()]
            if organs:
                yield cls(name, organs, partitions)

    def people(self, organ: str) -> pl.Series:
        return self._partition(organ).columns("eid")["eid"]

    def matrix(self, organ: str, eids: pl.Series) -> np.ndarray | None:
        """Return the features (n_participants, n_dims) of these people in their order; None: there is none to know."""
        if self.name == MEAN:
            return None
        if self.name in EMBEDDINGS:
            found = _matrix(self._partition(organ), eids)
            assert found is not None  # noqa: S101  the organ is stored
            return found[0]
        stored = self._partition(organ).scan().collect()
        table = eids.to_frame("eid").join(stored, on="eid", maintain_order="left")
        columns = [table["volume_ml"]]
        if self.name == MEASURES:
            columns += [table["surface_cm2"], *matrix(table, "mean_intensity").T]
            columns += [table["fat_fraction"]] if not table["fat_fraction"].null_count() else []
        return np.column_stack(columns)

    def rows(self, run: StageRun, known: pl.DataFrame) -> Iterator[dict[str, Any]]:
        """Yield a row an organ, and one of all organs together where there are several."""
        shared = known
        for organ in self.organs:
            of_organ = known.join(self.people(organ).to_frame(), on="eid", how="semi", maintain_order="left")
            shared = shared.join(of_organ, on="eid", how="semi", maintain_order="left")
            people = _some(run, of_organ)
            yield _row(run, self.name, organ, self.matrix(organ, people["eid"]), people["y"].to_numpy())
        if len(self.organs) > 1:
            people = _some(run, shared)
            z, y = self._combined(run, people["eid"]), people["y"].to_numpy()
            yield _row(run, self.name, COMBINED, z, y, len(self.organs))

    def _combined(self, run: StageRun, eids: pl.Series) -> np.ndarray | None:
        from edp_assets.science.evidence.predictions import leading_components

        most, parts = run.workspace.settings.evidence.combined_components, []
        for organ in self.organs:
            if (z := self.matrix(organ, eids)) is None:
                return None
            parts.append(leading_components(z, most) if len(z) else z)
        return np.hstack(parts)

    def _partition(self, organ: str) -> Partition:
        found: Partition = self._read.partition(cell_of({"organ": organ}))
        return found


def _some(run: StageRun, people: pl.DataFrame) -> pl.DataFrame:
    """Return so many people as settings try things on, at random, in the order of their eids."""
    settings = run.workspace.settings.evidence
    ordered, most = people.sort("eid"), settings.people
    return ordered if ordered.height <= most else ordered.sample(most, seed=settings.seed).sort("eid")


def _matrix(embeddings: Partition, eids: pl.Series) -> tuple[np.ndarray, pl.Series] | None:
    """Return the embeddings of those of the people who have one, in their order, and who they are."""
    if embeddings.version is None:
        return None
    wanted = eids.to_frame("eid")
    parts = [part.join(wanted, on="eid", how="semi") for part in embeddings.stream(("eid", "z"))]
    stored = wanted.join(pl.concat(parts), on="eid", maintain_order="left")
    return matrix(stored), stored["eid"]


def _y(people: pl.DataFrame, eids: pl.Series) -> np.ndarray:
    return eids.to_frame("eid").join(people, on="eid", how="left", maintain_order="left")["y"].to_numpy()


def _row(
    run: StageRun, features: str, organ: str, z: np.ndarray | None, y: np.ndarray, organs: int = 1
) -> dict[str, Any]:
    """Return a row of predictions with intervals; without the measures where there are too few people."""
    from edp_assets.science.encoders.quality import out_of_fold
    from edp_assets.science.evidence.predictions import bootstrap, mean_prediction

    settings = run.workspace.settings.evidence
    row = {"features": features, "organ": organ, "organs": organs, "participants": len(y)}
    row["dimensions"] = 0 if z is None else z.shape[1]
    if len(y) < 2 * settings.folds:
        return row
    y = y.astype(float)
    split = settings.folds, settings.seed
    mean = mean_prediction(y, *split)
    predicted = mean if z is None else out_of_fold(z, y, *split)
    for name, measure in bootstrap(predicted, y, settings.seed, settings.resamples, mean).items():
        row |= {name: measure.value, f"{name}_low": measure.low, f"{name}_high": measure.high}
    return row


stage(
    "evidence/volume",
    group="evidence",
    dimensions=("organ",),
    table="evidence_volume",
    inputs={"organ_volumes": imaging.organ_volumes, **EMBEDDINGS},
    streamed=tuple(EMBEDDINGS),
    settings=("evidence",),
    files=("synthetic",),
    kinds={"scikitlearn", "parquet"},
    code_version="2",
)(volume)

stage(
    "evidence/age",
    group="evidence",
    dimensions=(),
    table="evidence_age",
    inputs={"participants": cohort.participants, "measures": ORGAN_MEASURES, **EMBEDDINGS},
    settings=("evidence",),
    files=("synthetic",),
    kinds={"scikitlearn", "parquet"},
    code_version="2",
)(age)
