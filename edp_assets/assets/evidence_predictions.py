"""Age and volume from embeddings, beside an untrained encoder and hand-made phenotypes (paper, Tables 3 and 4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
BOUNDS = ("low", "high")
EMBEDDINGS = {name: stages.embeddings for name, stages in ENCODERS.items()}


def volume(run: StageRun, organ_volumes: pl.DataFrame, measures: Partition, **embeddings: Partition) -> Stored:
    """Organ volume from embeddings and from the other hand-made measures, with intervals over people (Table 4)."""
    people = _some(run, organ_volumes.select("eid", y="volume_ml"))
    rows = []
    for name, partition in embeddings.items():
        if (found := _matrix(partition, people["eid"])) is not None:
            rows.append(_predicted(run, name, run["organ"], found[0], people, found[1]).row)
    if measures.version is not None:
        measured = people["eid"].filter(people["eid"].is_in(measures.columns("eid")["eid"].implode()))
        z = _hand_made(measures, measured, volume=False)
        rows.append(_predicted(run, MEASURES, run["organ"], z, people, measured).row)
    rows.append(_predicted(run, MEAN, run["organ"], None, people, people["eid"]).row)
    printed = not run.workspace.cohort.synthetic
    for row in rows:
        place = row["features"], row["organ"]
        row["paper_pearson_r"] = TABLE_4_R.get(place) if printed else None
        row["paper_mean_absolute_error_percent"] = TABLE_4_ERROR.get(place) if printed else None
    return Stored(pl.DataFrame(rows, schema=empty("evidence_volume").schema), metadata={"people": people.height})


def age(run: StageRun, participants: pl.DataFrame, measures: Partitions, **embeddings: Partitions) -> Stored:
    """Age from embeddings and from hand-made phenotypes, an organ and all organs together (Table 3)."""
    known = participants.select("eid", y="age").drop_nulls()
    found = [each for features in _Features.all(run, measures, embeddings) for each in features.predicted(run, known)]
    of_volume = {each.row["organ"]: each for each in found if each.row["features"] == VOLUME}
    rows = [each.row | _below(run, each, of_volume.get(each.row["organ"])) for each in found]
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
        if self.name == MEASURES:
            return _hand_made(self._partition(organ), eids, volume=True)
        stored = self._partition(organ).columns("eid", "volume_ml")
        return eids.to_frame("eid").join(stored, on="eid", maintain_order="left").select("volume_ml").to_numpy()

    def predicted(self, run: StageRun, known: pl.DataFrame) -> Iterator[_Predicted]:
        """Yield what is predicted an organ, and of all organs together where there are several."""
        shared = known
        for organ in self.organs:
            of_organ = known.join(self.people(organ).to_frame(), on="eid", how="semi", maintain_order="left")
            shared = shared.join(of_organ, on="eid", how="semi", maintain_order="left")
            people = _some(run, of_organ)
            yield _predicted(run, self.name, organ, self.matrix(organ, people["eid"]), people, people["eid"])
        if len(self.organs) > 1:
            people = _some(run, shared)
            z = self._combined(run, people["eid"])
            yield _predicted(run, self.name, COMBINED, z, people, people["eid"], len(self.organs))

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


def _hand_made(measures: Partition, eids: pl.Series, *, volume: bool) -> np.ndarray:
    """Return an organ's hand-made measures of these people (n_participants, n_measures), with its volume or without."""
    table = eids.to_frame("eid").join(measures.scan().collect(), on="eid", maintain_order="left")
    columns = [table["volume_ml"]] if volume else []
    columns += [table["surface_cm2"], *matrix(table, "mean_intensity").T]
    columns += [table["fat_fraction"]] if not table["fat_fraction"].null_count() else []
    return np.column_stack(columns)


@dataclass(frozen=True)
class _Predicted:
    """A row of predictions with intervals, and each one's absolute error; none where there are too few people."""

    row: dict[str, Any]
    errors: pl.DataFrame


def _predicted(
    run: StageRun,
    features: str,
    organ: str,
    z: np.ndarray | None,
    people: pl.DataFrame,
    eids: pl.Series,
    organs: int = 1,
) -> _Predicted:
    """Predict y of `people` (eid, y) for these of them out of fold, from features z in their order."""
    from edp_assets.science.encoders.quality import out_of_fold
    from edp_assets.science.evidence.predictions import bootstrap, mean_prediction

    settings = run.workspace.settings.evidence
    y = eids.to_frame("eid").join(people, on="eid", how="left", maintain_order="left")["y"].to_numpy().astype(float)
    row = {"features": features, "organ": organ, "organs": organs, "participants": len(y)}
    row["dimensions"] = 0 if z is None else z.shape[1]
    if len(y) < 2 * settings.folds:
        return _Predicted(row, pl.DataFrame(schema={"eid": pl.String, "error": pl.Float64}))
    split = settings.folds, settings.seed
    mean = mean_prediction(y, *split)
    predicted = mean if z is None else out_of_fold(z, y, *split)
    for name, measure in bootstrap(predicted, y, settings.seed, settings.resamples, mean).items():
        row |= {name: measure.value, f"{name}_low": measure.low, f"{name}_high": measure.high}
    return _Predicted(row, pl.DataFrame({"eid": eids, "error": np.abs(predicted - y)}))


def _below(run: StageRun, found: _Predicted, of_volume: _Predicted | None) -> dict[str, float]:
    """Return by how much errors are below those from organ volume, over the people of both; of volume nothing."""
    from edp_assets.science.evidence.predictions import paired_difference

    settings = run.workspace.settings.evidence
    if of_volume is None or of_volume is found:
        return {}
    pairs = found.errors.join(of_volume.errors, on="eid", suffix="_of_volume")
    if pairs.height < 2 * settings.folds:
        return {}
    errors = pairs["error"].to_numpy(), pairs["error_of_volume"].to_numpy()
    measure = paired_difference(*errors, settings.seed, settings.resamples)
    return {"error_below_volume": measure.value, **{f"error_below_volume_{b}": getattr(measure, b) for b in BOUNDS}}


stage(
    "evidence/volume",
    group="evidence",
    dimensions=("organ",),
    table="evidence_volume",
    inputs={"organ_volumes": imaging.organ_volumes, "measures": ORGAN_MEASURES, **EMBEDDINGS},
    streamed=("measures", *EMBEDDINGS),
    settings=("evidence",),
    files=("synthetic",),
    kinds={"scikitlearn", "parquet"},
    code_version="3",
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
    code_version="3",
)(age)
