"""What helps to name an abstract score: the people of its tails, where in the organ it looks, what it goes with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from edp_assets.assets import cohort, imaging
from edp_assets.assets.album import Album, phenotype_title
from edp_assets.assets.association import ASSOCIATIONS, CELLS_AT_ONCE
from edp_assets.assets.baselines import VOLUME
from edp_assets.assets.encoder_weights import fitted
from edp_assets.assets.encoders import LEARNED
from edp_assets.assets.hand_made import ORGAN_MEASURES, measure_columns
from edp_assets.assets.phenotypes import PHENOTYPES
from edp_assets.assets.score_gwas import cell_phenotypes
from edp_assets.assets.stage import StageRun, stage
from edp_assets.storage.columns import PHENOTYPE, of_phenotype
from edp_assets.storage.lake import Stored, Together, cell_of
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partition, Partitions

if TYPE_CHECKING:
    from edp_assets.science.encoders.occlusion import Occlusion

COVARIATES = ("age", "sex", "bmi")
STRONGEST = 20
"""Codes that are told of a score, those of the largest correlation, beside its own: all would be 700 a score."""
TAIL, MAPPED = 4, 2
"""People of either end of a score who are shown, and of them those whose slices are mapped."""
KEY = ["method", "cluster"]


def ends(people: int) -> int:
    """Return how many people of either end are shown, of so many with a score."""
    return min(TAIL, people // 2)


def mapped(people: int) -> int:
    """Return of how many of either end slices are mapped."""
    return min(MAPPED, ends(people))


def score_correlations(
    run: StageRun,
    edp_scores: Partitions,
    organ_measures: pl.DataFrame,
    participants: pl.DataFrame,
    icd10_codes: pl.DataFrame,
    icd10_cases: Partitions,
) -> Stored:
    """What each of the organ's scores goes with: hand-made measures, covariates, and the codes that it tracks."""
    channels = run.workspace.settings.organs[run["organ"]].channels
    measures = measure_columns(organ_measures, channels)
    measures = organ_measures.select("eid", pl.col("volume_ml").alias(VOLUME)).join(measures, on="eid")
    codes = icd10_codes.filter("studied")["icd10"].to_list()
    people: _People | None = None
    frames = [empty("score_correlations")]
    for cell in (cell for cell in edp_scores.stored() if dict(cell)["icd10"] in codes):
        phenotypes = cell_phenotypes(edp_scores.partition(cell), {})
        if not phenotypes:
            continue
        if people is None or not people.eids.equals(phenotypes[0]["eid"]):
            people = _People.of(phenotypes[0]["eid"], measures, participants, codes, icd10_cases)
        frames.append(people.tracked(phenotypes))
    frame = pl.concat(frames, how="diagonal_relaxed")
    return Stored(frame, metadata={"rows": frame.height, "codes_told_of_a_score": STRONGEST})


@dataclass(frozen=True)
class _People:
    """Whom scores are of, with what these are correlated with: `names` and `kinds` a column of `variables` each."""

    eids: pl.Series
    names: list[str]
    kinds: list[str]
    variables: np.ndarray
    cases: np.ndarray

    @classmethod
    def of(
        cls,
        eids: pl.Series,
        measures: pl.DataFrame,
        participants: pl.DataFrame,
        codes: list[str],
        icd10_cases: Partitions,
    ) -> _People:
        covariates = participants.select("eid", *COVARIATES)
        table = eids.to_frame("eid").join(measures, on="eid", how="left", maintain_order="left")
        table = table.join(covariates, on="eid", how="left", maintain_order="left").drop("eid")
        there = set(icd10_cases.stored())
        known = [code for code in codes if cell_of({"icd10": code}) in there]
        cases = [eids.is_in(icd10_cases[cell_of({"icd10": code})]["eid"].implode()).to_numpy() for code in known]
        names = [*table.columns, *known]
        kinds = ["covariate" if name in COVARIATES else "hand_made" for name in table.columns] + ["icd10"] * len(known)
        numbers = table.cast(pl.Float64).to_numpy()
        return cls(eids, names, kinds, numbers, np.column_stack(cases) if cases else np.empty((len(eids), 0), bool))

    def tracked(self, phenotypes: list[pl.DataFrame]) -> pl.DataFrame:
        """Return the rows of one cell's phenotypes."""
        from edp_assets.science.phenotypes.tracking import correlations, roc_aucs

        scores = np.column_stack([phenotype["score"] for phenotype in phenotypes])
        found = correlations(scores, np.hstack([self.variables, self.cases]))
        auc = np.hstack([np.full((scores.shape[1], self.variables.shape[1]), np.nan), roc_aucs(scores, self.cases)])
        frames = []
        for k, phenotype in enumerate(phenotypes):
            label = phenotype.select(*PHENOTYPE).row(0, named=True)
            columns = {"with_what": self.names, "kind": self.kinds, "pearson_r": found.pearson_r[k], "n": found.n[k]}
            rows = pl.DataFrame({**columns, "roc_auc": auc[k]}).fill_nan(None)
            own = (pl.col("kind") != "icd10") | (pl.col("with_what") == label["icd10"])
            strongest = rows.filter(~own).sort(pl.col("pearson_r").abs(), descending=True, nulls_last=True)
            told = pl.concat([rows.filter(own), strongest.head(STRONGEST)])
            frames.append(told.with_columns(**{name: pl.lit(value) for name, value in label.items()}))
        return pl.concat(frames, how="diagonal_relaxed")


@dataclass
class _Shown:
    """One score that is to be shown: the ends of it, how it changes with an embedding, and its standard deviation."""

    names: dict[str, Any]
    least: list[str]
    most: list[str]
    scores: dict[str, float]
    change: Callable[[np.ndarray, np.ndarray], np.ndarray]
    sd: float

    @property
    def eids(self) -> list[str]:
        return [*self.least, *self.most]

    @property
    def mapped(self) -> list[str]:
        """The outermost of either end."""
        return [*self.least[:MAPPED], *self.most[-MAPPED:]]

    def label(self, eid: str) -> str:
        """Return how far out somebody is, never who it is."""
        return f"{'least' if eid in self.least else 'most'}\n{self.scores[eid]:+.1f} SD"


def interpretation_figures(
    runs: Sequence[StageRun],
    edp_scores: Sequence[Partition],
    phenotype_models: Sequence[pl.DataFrame],
    gene_hits: Sequence[pl.DataFrame],
    adjusted_embeddings: Sequence[Partition],
    masked_crops: Sequence[Partition],
    encoder: Sequence[Path],
) -> Together:
    """The most and the least affected people of every score that hits a gene, and where in the organ it looks."""
    members = [Stored(()) for _ in runs]

    def frames() -> Iterator[tuple[int, pl.DataFrame]]:
        shown = [_shown(*one) for one in zip(edp_scores, phenotype_models, gene_hits, strict=True)]
        wanted = {eid for of_cell in shown for each in of_cell for eid in each.eids}
        seen = _Seen.read(runs[0], wanted, masked_crops[0], adjusted_embeddings[0], encoder[0]) if wanted else None
        for place, (run, of_cell) in enumerate(zip(runs, shown, strict=True)):
            album = Album(run, (run["organ"], run["icd10"], "interpretation"), ("icd10", "method", "cluster"))
            for each in of_cell if seen is not None else ():
                assert seen is not None  # noqa: S101
                seen.draw(run, album, each)
            drawn = album.stored()
            members[place].metadata.update(drawn.metadata)
            if of_cell and seen is not None and seen.why_no_maps:
                members[place].metadata["no_maps"] = seen.why_no_maps
            assert isinstance(drawn.frames, pl.DataFrame)  # noqa: S101
            yield place, drawn.frames

    return Together(members, frames())


def _shown(edp_scores: Partition, phenotype_models: pl.DataFrame, gene_hits: pl.DataFrame) -> list[_Shown]:
    """Return the scores of a cell that hit a gene. A classifier's is high in the affected, the others' low."""
    hits = gene_hits.drop_nulls("gene").select(KEY).unique(maintain_order=True)
    found = []
    for phenotype in cell_phenotypes(edp_scores, {}) if hits.height else ():
        names = phenotype.select("icd10", *KEY).row(0, named=True)
        of = of_phenotype(names["method"], names["cluster"])
        if not hits.filter(of).height:
            continue
        classifier = names["method"] == "classifier"
        ordered = phenotype.select("eid", "score").sort("score", "eid", descending=[not classifier, False])
        values = ordered["score"].to_numpy()
        sd = float(values.std()) or 1.0
        scaled = dict(zip(ordered["eid"], (values - values.mean()) / sd, strict=True))
        shown = ends(ordered.height)
        weights = np.array(phenotype_models.filter(of)["weights"].item())
        least, most = (part["eid"].to_list() for part in (ordered.head(shown), ordered.tail(shown)))
        scores = {eid: float(scaled[eid]) for eid in (*least, *most)}
        found.append(_Shown(names, least, most, scores, _affected(weights, classifier), sd))
    return found


def _affected(weights: np.ndarray, classifier: bool) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return how affected somebody counts as, of their embedding (n_dims,) and changes of it (n, n_dims)."""
    from edp_assets.science.phenotypes.clustering import cosine_distance

    if classifier:
        return lambda z, change: (z + change) @ weights
    return lambda z, change: -cosine_distance(z + change, weights)


@dataclass
class _Seen:
    """Of some people what is shown: a slice of the crop, an item as the encoder sees it, the embedding."""

    model: Any
    tokens: Any
    slices: dict[str, np.ndarray] = field(default_factory=dict)
    items: dict[str, tuple[np.ndarray, int]] = field(default_factory=dict)
    z: dict[str, np.ndarray] = field(default_factory=dict)
    occlusions: dict[str, Occlusion] = field(default_factory=dict)
    why_no_maps: str = ""

    @classmethod
    def read(cls, run: StageRun, wanted: set[str], crops: Partition, embeddings: Partition, encoder: Path) -> _Seen:
        """Read what of these people is shown; of each crop one slice and one item are kept."""
        from edp_assets.science.encoders.checkpoints import load_encoder, read_pixel_mm
        from edp_assets.science.encoders.team import best_device
        from edp_assets.science.imaging.slices import cut

        recipe = run.workspace.settings.embedding_recipe(run.encoder)
        seen = cls(load_encoder(encoder).to(best_device()), recipe.pooling)
        if recipe.pooling_over_items != ("mean",):
            seen.why_no_maps = "embeddings are more than means over items: a slice's part in them is not a share"
        shape, pixel_mm = seen.model.config.item_shape, read_pixel_mm(encoder)
        for frame in crops.rows_of(wanted):
            for eid, voxels in fitted(frame, shape[-1], pixel_mm):
                middle, items = voxels.shape[1] // 2, cut(voxels, shape)
                seen.slices[eid] = voxels[:, middle : middle + 1].copy()
                seen.items[eid] = items[len(items) // 2].copy(), len(items)
        for frame in embeddings.stream(("eid", "z")):
            for eid, z in frame.filter(pl.col("eid").is_in(list(wanted))).iter_rows():
                seen.z[eid] = np.array(z, dtype=np.float64)
        return seen

    def draw(self, run: StageRun, album: Album, shown: _Shown) -> None:
        """Draw one score. Files alone: pictures of scans never go into Dagster's event log."""
        from edp_assets.figures.imaging import crop_montage
        from edp_assets.figures.interpretation import occlusion_maps

        channels = run.workspace.settings.organs[run["organ"]].channels
        title = phenotype_title(run, shown.names["method"], shown.names["cluster"])
        crops = [self.slices[eid] for eid in shown.eids]
        labels = [shown.label(eid) for eid in shown.eids]
        album.add("tails", partial(crop_montage, crops, labels, title, channels), shown=False, **shown.names)
        if self.why_no_maps:
            return
        images, maps = zip(*(self._mapped(eid, shown) for eid in shown.mapped), strict=True)
        drawn = partial(occlusion_maps, images, maps, [shown.label(eid) for eid in shown.mapped], title)
        album.add("occlusion", drawn, shown=False, **shown.names)

    def _mapped(self, eid: str, shown: _Shown) -> tuple[np.ndarray, np.ndarray]:
        """Return the middle slice of somebody's item, its first channel, and what its parts add, in the score's SD."""
        from edp_assets.science.encoders.occlusion import Occlusion

        item, n_items = self.items[eid]
        if eid not in self.occlusions:  # the tails of an organ's scores are often the same people
            self.occlusions[eid] = Occlusion.of(self.model, item, tokens=self.tokens)
        z = self.z[eid]
        # The embedding is the mean over items; what was adjusted for is held as it is.
        found = self.occlusions[eid].map(lambda change: shown.change(z, change / n_items)) / shown.sd
        return (item[0] if item.ndim == 3 else item[0, item.shape[1] // 2]), found


for _name, _above in LEARNED.items():
    stage(
        f"{_name}/score_correlations",
        group="evidence",
        dimensions=("organ",),
        table="score_correlations",
        inputs={
            "edp_scores": PHENOTYPES[_name].edp_scores,
            "organ_measures": ORGAN_MEASURES,
            "participants": cohort.participants,
            "icd10_codes": cohort.icd10_codes,
            "icd10_cases": cohort.icd10_cases,
        },
        gathers=True,
    )(score_correlations)
    stage(
        f"{_name}/interpretation_figures",
        group="evidence",
        dimensions=("organ", "icd10"),
        table="interpretation_figures",
        inputs={
            "edp_scores": PHENOTYPES[_name].edp_scores,
            "phenotype_models": PHENOTYPES[_name].phenotype_models,
            "gene_hits": ASSOCIATIONS[_name].gene_hits,
            "adjusted_embeddings": _above.adjusted_embeddings,
            "masked_crops": imaging.masked_crops,
            "encoder": _above.encoder,
        },
        streamed=("edp_scores", "adjusted_embeddings", "masked_crops"),
        at_once=CELLS_AT_ONCE,
        code_version="2",
        kinds={"torch", "matplotlib", "parquet"},
    )(interpretation_figures)
