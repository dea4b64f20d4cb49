"""What is in an embedding: what it predicts, beside controls that were never trained, and which scans it joins."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from edp_assets.assets import cohort, imaging
from edp_assets.assets.album import scan_picture
from edp_assets.assets.encoder_weights import fitted, pixel_size
from edp_assets.assets.encoders import ENCODERS, LEARNED, TRAINED, matrix
from edp_assets.assets.stage import REGISTRY, StageRun, stage
from edp_assets.storage.lake import Stored
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partition, Partitions

log = logging.getLogger(__name__)

QUERIES, NEIGHBOURS = 4, 5
EMBEDDINGS = {f"{name}_embeddings": stages.embeddings for name, stages in LEARNED.items()}
ALTERNATIVES = {f"{name}_alternatives": REGISTRY[name, "cluster_alternatives"] for name in LEARNED}


@stage(
    "evidence/encoder_quality",
    group="evidence",
    dimensions=("organ",),
    table="encoder_quality",
    inputs={"masked_crops": imaging.masked_crops, "participants": cohort.participants, **EMBEDDINGS},
    streamed=("masked_crops", *EMBEDDINGS),
    settings=("evidence",),
    kinds={"scikitlearn", "torch"},
)
def encoder_quality(
    run: StageRun, masked_crops: Partition, participants: pl.DataFrame, **embeddings: Partition
) -> Stored:
    """Volume and age from embeddings, out of sample (paper, Tables 3 and 4), beside an untrained encoder and pixels."""
    from edp_assets.figures.imaging import neighbours
    from edp_assets.science.encoders.quality import nearest

    settings = run.workspace.settings.evidence
    made = {name.removesuffix("_embeddings"): part for name, part in embeddings.items() if part.version is not None}
    sample = _Sample.read(run, masked_crops, list(made))
    people = pl.DataFrame({"eid": sample.eids, "volume_ml": sample.volume_ml})
    people = people.join(participants.select("eid", "age"), on="eid", how="left", maintain_order="left")
    features: dict[tuple[str | None, str], np.ndarray] = {}
    metadata: dict[str, Any] = {"scans": people.height}
    for name, partition in made.items():
        stored = people.select("eid").join(partition.columns("eid", "z"), on="eid", maintain_order="left")
        z = features[name, "embedding"] = matrix(stored)
        if name in sample.untrained:
            features[name, "untrained encoder"] = sample.untrained[name]
        queries = np.random.default_rng(settings.seed).choice(len(z), min(QUERIES, len(z)), replace=False)
        found = nearest(z, queries, min(NEIGHBOURS, len(z) - 1))
        images = sample.middle[np.concatenate([queries[:, None], found], axis=1)]
        figure = neighbours(images, f"{run['organ']}: each scan and those nearest to it ({name})")
        metadata[f"neighbours_{name}"] = scan_picture(run, f"neighbours-{name}", figure)
    features[None, "pixel components"] = sample.pixels
    features[None, "organ volume"] = sample.volume_ml[:, None]
    rows = list(_rows(run, people, features))
    collapsed = [f"{row['encoder']}" for row in rows if row["collapsed"] and row["target"] == "volume_ml"]
    if collapsed:
        metadata["collapsed"] = ", ".join(collapsed)
        log.warning("%s: the embeddings of %s have collapsed: scans are hardly told apart", run["organ"], collapsed)
    return Stored(pl.DataFrame(rows, schema=empty("encoder_quality").schema), metadata=metadata)


def clusterings(run: StageRun, icd10_cases: Partitions, **alternatives: Partition) -> Stored:
    """How homogeneous in the studied codes the clusters of Leiden, k-means and agglomerative are (section 4)."""
    from edp_assets.science.phenotypes.clusters import homogeneity

    rows = []
    stored = icd10_cases.stored()
    eids = [icd10_cases[cell].select("eid", code=pl.lit(number)) for number, cell in enumerate(stored)]
    ill = pl.concat([pl.DataFrame(schema={"eid": pl.String, "code": pl.Int32}), *eids])
    rng = np.random.default_rng(run.workspace.settings.clustering.seed)
    for partition in (p for p in alternatives.values() if p.version is not None):
        table = partition.columns("encoder", "organ", "eid", "algorithm", "cluster", "mean_rand_index")
        for (algorithm,), people in table.group_by("algorithm", maintain_order=True):
            placed = people.select("eid").with_row_index("row").join(ill, on="eid")
            masks = np.zeros((len(stored), people.height), dtype=bool)
            masks[placed["code"].to_numpy(), placed["row"].to_numpy()] = True
            codes = [cases for cases in masks if 0 < cases.sum() < len(cases)]
            labels = people["cluster"].to_numpy()
            rows.append(
                {
                    "encoder": people["encoder"][0],
                    "organ": run["organ"],
                    "algorithm": algorithm,
                    "clusters": people["cluster"].n_unique(),
                    "mean_rand_index": people["mean_rand_index"][0],
                    "codes": len(codes),
                    "homogeneity": homogeneity(labels, codes) if codes else None,
                    "homogeneity_by_chance": homogeneity(rng.permutation(labels), codes) if codes else None,
                }
            )
    return Stored(pl.DataFrame(rows, schema=empty("clusterings").schema))


stage(
    "evidence/clusterings",
    group="evidence",
    dimensions=("organ",),
    table="clusterings",
    inputs={"icd10_cases": cohort.icd10_cases, **ALTERNATIVES},
    streamed=tuple(ALTERNATIVES),
    settings=("clustering",),
    kinds={"scikitlearn"},
)(clusterings)


def _rows(
    run: StageRun, people: pl.DataFrame, features: dict[tuple[str | None, str], np.ndarray]
) -> Iterator[dict[str, Any]]:
    from edp_assets.science.encoders.quality import effective_rank, ridge_prediction

    settings = run.workspace.settings.evidence
    for (encoder, name), z in features.items():
        rank = effective_rank(z)
        for target in ("volume_ml", "age"):
            if name == "organ volume" and target == "volume_ml":
                continue
            known = people[target].is_not_null().to_numpy()
            label = {"encoder": encoder, "organ": run["organ"], "features": name, "target": target}
            shape = {"participants": int(known.sum()), "dimensions": z.shape[1], "effective_rank": rank}
            flag = {"collapsed": name == "embedding" and rank < settings.collapsed_rank}
            if known.sum() < 2 * settings.folds:
                yield {**label, **shape, **flag}
                continue
            y = people[target].to_numpy()[known].astype(float)
            found = ridge_prediction(z[known], y, settings.folds, settings.seed)
            measures = {
                "pearson_r": found.r,
                "mean_absolute_error": found.mae,
                "mean_absolute_error_percent": found.mae_percent,
            }
            yield {**label, **shape, **flag, **measures}


@dataclass
class _Sample:
    """Some scans of an organ with what is shown of them, and the controls' features."""

    eids: list[str]
    volume_ml: np.ndarray
    middle: np.ndarray
    pixels: np.ndarray
    untrained: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def read(cls, run: StageRun, crops: Partition, encoders: list[str]) -> _Sample:
        """Read scans at random, a row group at a time, and make the controls of the encoders that were trained."""
        from edp_assets.science.encoders.checkpoints import read_encoder_config, read_pixel_mm, untrained
        from edp_assets.science.encoders.embedding import embed_scans
        from edp_assets.science.encoders.pooling import Pooling
        from edp_assets.science.encoders.quality import PIXEL_SLICES, central_slices, pixel_pca
        from edp_assets.science.encoders.team import best_device
        from edp_assets.science.imaging.slices import axial_slices, cut

        workspace, organ = run.workspace, run["organ"]
        settings, resolution = workspace.settings.evidence, workspace.settings.organs[organ].resolution
        pixel_mm = pixel_size(crops)
        frames = list(crops.sample(settings.scans, settings.seed))
        eids = [eid for frame in frames for eid in frame["eid"]]
        volume = np.concatenate([frame["volume_ml"].to_numpy() for frame in frames])

        def voxels(size: int, pixel: float | None) -> Iterator[np.ndarray]:
            for frame in frames:
                for _, crop in fitted(frame, size, pixel):
                    yield crop

        central = np.stack(
            [central_slices(axial_slices(crop, resolution), PIXEL_SLICES) for crop in voxels(resolution, pixel_mm)]
        )
        components = min(settings.pixel_components, len(eids) - 1)
        sample = cls(eids, volume, central[:, PIXEL_SLICES // 2, 0], pixel_pca(central, components))
        for name in (encoder for encoder in encoders if encoder in TRAINED):
            path = workspace.checkpoints.file(ENCODERS[name].encoder.spec.asset, run.cell)
            config, pixel = read_encoder_config(path), read_pixel_mm(path)
            model = untrained(config, settings.seed).to(best_device())
            shape = config.item_shape
            scans = ((eid, cut(crop, shape)) for eid, crop in zip(eids, voxels(shape[-1], pixel), strict=True))
            section = getattr(workspace.settings, name)
            embedded = embed_scans(model, scans, section.embed_batch_size, Pooling.from_settings(section))
            sample.untrained[name] = np.stack([z for _, z in embedded])
            log.info("%s: %d scans embedded by an untrained %s encoder", organ, len(eids), name)
        return sample
