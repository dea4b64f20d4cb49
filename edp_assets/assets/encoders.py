"""From crops to embeddings, for each encoder alike: its weights, every scan embedded, adjusted, clustered."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import dagster as dg
import numpy as np
import polars as pl

from edp_assets.assets import cohort, imaging
from edp_assets.assets.encoder_weights import fitted_crops, imagenet_encoder, trained_encoder, untrained_encoder
from edp_assets.assets.stage import Stage, StageRun, stage
from edp_assets.settings import EncoderName
from edp_assets.storage.lake import Exclusion, Stored
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partition
from edp_assets.storage.workspace import Fingerprints

log = logging.getLogger(__name__)

EMBEDDINGS_A_FRAME = 2048
POOL = "encoders"
"""What takes a GPU runs one at a time: dagster.yaml gives a pool one place."""


@dataclass(frozen=True)
class EncoderStages:
    """The stages of one encoder, as those downstream name them."""

    encoder: Stage
    embeddings: Stage
    adjusted_embeddings: Stage
    clusters: Stage


def embeddings(run: StageRun, encoder: Path, masked_crops: Partition) -> Stored:
    """One vector a scan: tokens after the penultimate block, pooled over slices or subvolumes; resumes after a kill."""
    from edp_assets.science.encoders.checkpoints import load_encoder, read_pixel_mm
    from edp_assets.science.encoders.embedding import embed_resumably
    from edp_assets.science.encoders.pooling import Pooling
    from edp_assets.science.encoders.team import best_device
    from edp_assets.science.imaging.slices import cut

    organ = run["organ"]
    model = load_encoder(encoder).to(best_device())
    item_shape, pixel_mm = model.config.item_shape, read_pixel_mm(encoder)
    names = masked_crops.columns("eid")["eid"].to_list()
    journal = run.workspace.checkpoints.folder(run.spec.asset, run.cell) / "embeddings.journal"
    encoder_stage = run.spec.inputs["encoder"]
    made_by = run.workspace.provenance(encoder_stage, run.cell)
    version = f"{made_by.version if made_by else ''} {masked_crops.version}"
    section = run.workspace.settings.embedding_recipe(run.encoder)
    batch_size, pooling = section.embed_batch_size, Pooling.from_settings(section)
    recipe = Fingerprints(run.workspace, run.spec).of(run.cell, without=("masked_crops",))
    sources = crop_sources(masked_crops)
    earlier = earlier_embeddings(Partition(run.workspace.lake, run.spec.asset, run.cell), recipe, sources)
    new = [eid for eid in names if eid not in earlier]
    told = {"scans": len(names), "reused": len(names) - len(new), "embedded": len(new)}
    stored = Stored((), metadata=told, notes={"recipe": recipe}, beside={"crop_sources": sources})

    def scans_from(first: int) -> Iterator[tuple[str, np.ndarray]]:
        for eid, voxels in fitted_crops(masked_crops.rows_of(new[first:]), item_shape[-1], pixel_mm):
            yield eid, cut(voxels, item_shape)

    def frames() -> Iterator[pl.DataFrame]:
        yield empty("embeddings")
        rows: list[tuple[str, np.ndarray]] = []
        embedded = embed_resumably(model, new, scans_from, batch_size, journal, version, pooling)
        for done, eid in enumerate(names, 1):
            rows.append((eid, earlier[eid]) if eid in earlier else next(embedded))
            if len(rows) == EMBEDDINGS_A_FRAME or done == len(names):
                yield vectors([eid for eid, _ in rows], np.stack([z for _, z in rows]), run.encoder, organ)
                log.info("%s: %d of %d scans embedded", organ, done, len(names))
                rows = []
        journal.unlink(missing_ok=True)

    stored.frames = frames()
    return stored


def crop_sources(crops: Partition) -> pl.DataFrame:
    """Return eid and source of each crop: what it is cropped from, and how; no rows where that is not known."""
    known = crops.beside("crop_sources")
    if known is None:
        return empty("crop_sources")
    how = f" {crops.notes['recipe']}"
    return known.filter(pl.col("reason").is_null()).with_columns(pl.col("source") + how)


def earlier_embeddings(stored: Partition, recipe: str, sources: pl.DataFrame) -> dict[str, np.ndarray]:
    """Return the stored embeddings of those crops that are as they were when these were made, by the same recipe."""
    known = stored.beside("crop_sources")
    if known is None or stored.notes.get("recipe") != recipe:
        return {}
    same = sources.join(known, on=["eid", "source"], how="semi")["eid"]
    kept = stored.columns("eid", "z").filter(pl.col("eid").is_in(same.implode()))
    return dict(zip(kept["eid"], matrix(kept).astype(np.float32), strict=True))


def vectors(eids: list[str], z: np.ndarray, encoder: str, organ: str) -> pl.DataFrame:
    """Return a frame of embeddings from the ids and the matrix (n_participants, n_dims)."""
    return pl.DataFrame({"encoder": encoder, "organ": organ, "eid": eids, "z": pl.Series(z.astype(np.float32))})


def matrix(frame: pl.DataFrame, column: str = "z") -> np.ndarray:
    """Return a list column of equal lengths as float64 (n_participants, n_dims)."""
    flat = frame[column].explode(empty_as_null=False).to_numpy().astype(np.float64)
    return flat.reshape(frame.height, -1) if frame.height else np.empty((0, 0))


def with_factors(
    run: StageRun, embeddings: pl.DataFrame, factor_values: pl.DataFrame
) -> tuple[pl.DataFrame, dict[str, np.ndarray]]:
    """Return the embeddings of those who have every factor of the organ's `adjust_for`, and the factors' values."""
    from edp_assets.science.phenotypes.adjustment import EMBEDDING_FACTOR, embedding_factors

    names = run.workspace.settings.organs[run["organ"]].adjust_for
    measured = [name for name in names if not EMBEDDING_FACTOR.fullmatch(name)]
    people = embeddings
    for name in measured:
        rows = factor_values.filter(factor=name)
        column = "level" if rows["value"].null_count() else "value"
        values = rows.select("eid", pl.col(column).alias(f"factor {name}"))
        people = people.join(values, on="eid", maintain_order="left")
    if people.height < min(embeddings.height, 1):
        raise ValueError(f"{run['organ']}: nobody with an embedding has all of {', '.join(measured)} (adjust_for)")
    values_of = {name: people[f"factor {name}"].to_numpy() for name in measured}
    values_of |= embedding_factors(matrix(people), names)
    return people, {name: values_of[name] for name in names}


def adjustment_factors(run: StageRun, embeddings: pl.DataFrame, factor_values: pl.DataFrame) -> Stored:
    """What each of the organ's `adjust_for` factors adds to the embeddings, and the variance that it explains."""
    from edp_assets.science.phenotypes.adjustment import fit_adjustment

    people, factors = with_factors(run, embeddings, factor_values)
    fitted = fit_adjustment(matrix(people), factors)
    rows = [
        {
            "encoder": run.encoder,
            "organ": run["organ"],
            "factor": effect.factor,
            "level": effect.level,
            "mean": effect.mean,
            "coefficients": effect.coefficients.tolist(),
            "variance_explained": fitted.variance_explained[effect.factor],
            "variance_removed": fitted.variance_removed,
            "n": fitted.n,
        }
        for effect in fitted.effects
    ]
    shares = {**fitted.variance_explained, "all together": fitted.variance_removed}
    frame = pl.DataFrame(rows, schema=empty("adjustment_factors").schema)
    return Stored(frame, metadata={"variance_explained": dg.MetadataValue.json(shares)} if rows else {})


def adjusted_embeddings(
    run: StageRun, embeddings: pl.DataFrame, factor_values: pl.DataFrame, adjustment_factors: pl.DataFrame
) -> Stored:
    """Embeddings less what the organ's `adjust_for` factors explain (paper, section 4.3); all phenotypes read these."""
    from edp_assets.science.phenotypes.adjustment import Effect, remove_effects

    people, factors = with_factors(run, embeddings, factor_values)
    kept = adjustment_factors.select("factor", "level", "mean", "coefficients").iter_rows()
    effects = [Effect(factor, level, mean, np.array(b)) for factor, level, mean, b in kept]
    z = remove_effects(matrix(people), factors, effects)
    frame = vectors(people["eid"].to_list(), z, run.encoder, run["organ"])
    lacking = embeddings.join(people, on="eid", how="anti")["eid"]
    return Stored(
        frame.with_columns(adjustment=pl.lit(",".join(factors) or "none")),
        [Exclusion(eid, run["organ"], "adjusted_embeddings", "missing adjustment factor") for eid in lacking],
    )


def clusters(run: StageRun, adjusted_embeddings: pl.DataFrame) -> Stored:
    """Communities of people whose organs look alike: by default Leiden on the cosine neighbour graph (section 4)."""
    from edp_assets.figures.phenotypes import umap_clusters
    from edp_assets.figures.render import to_markdown
    from edp_assets.science.phenotypes.clusters import find_clusters

    found = find_clusters(matrix(adjusted_embeddings), **_clustering_choices(run, algorithm=True))
    frame = adjusted_embeddings.select("encoder", "organ", "eid").with_columns(
        cluster=pl.Series(found.labels), umap_1=pl.Series(found.umap[:, 0]), umap_2=pl.Series(found.umap[:, 1])
    )
    figure = umap_clusters(found.umap, found.labels, f"{run['organ']}: clusters")
    counts: dict[str, Any] = {"clusters": int(found.labels.max()) + 1}
    if np.isfinite(found.mean_rand_index):
        counts["mean_adjusted_rand_index_over_seeds"] = found.mean_rand_index
    counts |= {"umap": dg.MetadataValue.md(to_markdown(figure))}
    return Stored(frame, metadata=counts)


def cluster_alternatives(run: StageRun, adjusted_embeddings: pl.DataFrame) -> Stored:
    """The same people by Leiden, k-means and agglomerative, into as many clusters (the paper's comparison)."""
    from edp_assets.science.phenotypes.clusters import all_partitions

    found = all_partitions(matrix(adjusted_embeddings), **_clustering_choices(run))
    people = adjusted_embeddings.select("encoder", "organ", "eid")
    frames = [
        people.with_columns(
            algorithm=pl.lit(one.algorithm),
            cluster=pl.Series(one.labels),
            mean_rand_index=pl.lit(one.mean_rand_index).fill_nan(None),
        )
        for one in found
    ]
    return Stored(pl.concat(frames), metadata={"clusters": int(found[0].labels.max()) + 1})


def _clustering_choices(run: StageRun, *, algorithm: bool = False) -> dict[str, Any]:
    names = (
        "n_clusters",
        "n_neighbors",
        "resolution",
        "seed",
        "stability_seeds",
        *(["algorithm"] if algorithm else []),
    )
    return {name: getattr(run.workspace.settings.clustering, name) for name in names}


TRAINED: dict[str, tuple[str, ...]] = {
    "mae": ("organ.patch", "organ.resolution", "organ.channels", "mae"),
    "video_mae": ("organ.patch_video", "organ.resolution_video", "organ.channels", "video_mae"),
}
"""The encoders that are trained here, and the settings that they depend on."""

UNTRAINED = "untrained"
"""The control among the encoders: it goes on to genes as they do, and is drawn and compared nowhere else."""


def encoder_stages(name: str) -> EncoderStages:
    """Define the stages of one encoder, from crops to clusters."""
    options: dict[str, Any] = {"group": "encoders", "dimensions": ("organ",)}
    weights: dict[str, Any] = {
        "table": "encoder",
        "inputs": {"masked_crops": imaging.masked_crops},
        "streamed": ("masked_crops",),
        "kinds": {"torch"},
        "checkpoint": True,
        "pool": POOL,
        "code_version": "2",
    }
    if name in TRAINED:
        kept: dict[str, Any] = {"settings": TRAINED[name], "kept_despite": ("masked_crops",)}
        encoder = stage(f"{name}/encoder", **options, **weights, **kept)(trained_encoder)
    elif name == UNTRAINED:
        encoder = stage(f"{name}/encoder", **options, **weights, settings=(*TRAINED["mae"], UNTRAINED))(
            untrained_encoder
        )
    else:
        used = ("organ.resolution", "organ.channels", name)
        encoder = stage(f"{name}/encoder", **options, **weights, settings=used, files=(f"{name}_weights",))(
            imagenet_encoder
        )
    pooled_as = "mae" if name == UNTRAINED else name
    embedded = stage(
        f"{name}/embeddings",
        **options,
        table="embeddings",
        inputs={"encoder": encoder, "masked_crops": imaging.masked_crops},
        streamed=("masked_crops",),
        settings=(f"{pooled_as}.pooling", f"{pooled_as}.pooling_over_items"),
        code_version="2",
        kinds={"torch", "parquet"},
        pool=POOL,
    )(embeddings)
    adjusting: dict[str, Any] = {"embeddings": embedded, "factor_values": cohort.factor_values}
    factors = stage(
        f"{name}/adjustment_factors",
        **options,
        table="adjustment_factors",
        inputs=adjusting,
        settings=("organ.adjust_for",),
    )(adjustment_factors)
    adjusted = stage(
        f"{name}/adjusted_embeddings",
        **options,
        table="adjusted_embeddings",
        inputs={**adjusting, "adjustment_factors": factors},
        settings=("organ.adjust_for",),
        code_version="2",
    )(adjusted_embeddings)
    clustered = stage(
        f"{name}/clusters",
        **options,
        table="clusters",
        inputs={"adjusted_embeddings": adjusted},
        settings=("clustering",),
        kinds={"scanpy", "parquet"},
    )(clusters)
    if name != UNTRAINED:
        stage(
            f"{name}/cluster_alternatives",
            **options,
            table="cluster_alternatives",
            inputs={"adjusted_embeddings": adjusted},
            settings=("clustering",),
            kinds={"scanpy", "scikitlearn"},
        )(cluster_alternatives)
    return EncoderStages(encoder, embedded, adjusted, clustered)


ENCODERS = {name: encoder_stages(name) for name in get_args(EncoderName)}
"""The stages of every encoder, the untrained control's too."""

LEARNED = {name: stages for name, stages in ENCODERS.items() if name != UNTRAINED}
"""The stages of the encoders that have learned something."""
