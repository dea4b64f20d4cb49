"""From crops to embeddings: train an organ's masked autoencoder, embed every scan, adjust, cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl

from edp_assets.assets import cohort, imaging
from edp_assets.assets.stage import StageRun, stage
from edp_assets.storage.checkpoints import StoredEncoder
from edp_assets.storage.lake import Exclusion, Partition, Stored
from edp_assets.storage.schemas import empty

log = logging.getLogger(__name__)

ENCODER = "mae"
CROPS_A_BATCH = 64
EMBEDDINGS_A_FRAME = 2048


@stage(
    "mae/encoder",
    group="encoders",
    dimensions=("organ",),
    table="encoder",
    inputs={"masked_crops": imaging.masked_crops},
    streamed=("masked_crops",),
    settings=("organ.patch", "organ.resolution", "organ.channels", "mae"),
    kinds={"torch"},
    checkpoint=True,
)
def encoder(run: StageRun, masked_crops: Partition) -> StoredEncoder:
    """The organ's masked autoencoder, trained on all axial slices of all crops; training resumes after a kill."""
    from edp_assets.figures.imaging import training_loss
    from edp_assets.figures.render import to_markdown
    from edp_assets.science.encoders.mae import MaeConfig
    from edp_assets.science.encoders.training import train_mae

    settings, organ = run.workspace.settings, run["organ"]
    shape = settings.organs[organ]
    checkpoint = run.workspace.checkpoints.training_path(run.spec.asset, run.cell)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    file = checkpoint.with_name("slices.npy")
    try:
        slices = _write_slices(masked_crops, len(shape.channels), shape.resolution, file)
        config = MaeConfig.from_settings(shape, settings.mae)
        trained = train_mae(config, settings.mae, slices, checkpoint, lambda line: log.info("%s: %s", organ, line))
    finally:
        file.unlink(missing_ok=True)
    figure = training_loss(trained.losses, f"{organ}: training loss")
    return StoredEncoder(
        trained,
        {
            "slices": len(slices),
            "final_loss": float(trained.losses[-1]),
            "images_per_second": round(trained.images_per_second, 1),
            "resumed_from_step": trained.resumed_from_step,
            "loss": dg.MetadataValue.md(to_markdown(figure)),
        },
    )


def _write_slices(crops: Partition, channels: int, resolution: int, file: Path) -> np.ndarray:
    """Lay all slices out as one memory-mapped array, so that training reads any of them and memory stays flat."""
    from edp_assets.science.imaging.slices import axial_slices

    n_slices = int(crops.columns("shape")["shape"].list.get(1).sum())
    if n_slices == 0:
        raise ValueError(f"{crops.cell}: no usable scan to train an encoder on; see the table `excluded` for why")
    slices = np.lib.format.open_memmap(
        file, mode="w+", dtype=np.uint8, shape=(n_slices, channels, resolution, resolution)
    )
    start = 0
    for _, voxels in _crops(crops):
        cut = axial_slices(voxels, resolution)
        slices[start : start + len(cut)] = cut
        start += len(cut)
    return slices


def _crops(crops: Partition) -> Iterator[tuple[str, np.ndarray]]:
    for frame in crops.batches(CROPS_A_BATCH):
        for eid, shape, voxels in frame.select("eid", "shape", "voxels").iter_rows():
            yield eid, np.frombuffer(voxels, np.uint8).reshape(shape)


@stage(
    "mae/embeddings",
    group="encoders",
    dimensions=("organ",),
    table="embeddings",
    inputs={"encoder": encoder, "masked_crops": imaging.masked_crops},
    streamed=("masked_crops",),
    kinds={"torch", "parquet"},
)
def embeddings(run: StageRun, encoder: Path, masked_crops: Partition) -> Stored:
    """One vector a scan: the [cls] token after the penultimate block, mean over the scan's slices."""
    from edp_assets.science.encoders.checkpoints import load_encoder
    from edp_assets.science.encoders.embedding import embed_scans
    from edp_assets.science.imaging.slices import axial_slices

    settings = run.workspace.settings
    resolution, organ = settings.organs[run["organ"]].resolution, run["organ"]
    model = load_encoder(encoder)
    stored = Stored(())

    def frames() -> Iterator[pl.DataFrame]:
        scans = ((eid, axial_slices(voxels, resolution)) for eid, voxels in _crops(masked_crops))
        eids: list[str] = []
        rows: list[np.ndarray] = []
        total = 0
        for eid, z in embed_scans(model, scans, settings.mae.embed_batch_size):
            eids.append(eid)
            rows.append(z)
            total += 1
            if len(eids) == EMBEDDINGS_A_FRAME:
                yield vectors(eids, np.stack(rows), ENCODER, organ)
                log.info("%s: %d scans embedded", organ, total)
                eids, rows = [], []
        yield vectors(eids, np.stack(rows), ENCODER, organ) if eids else empty("embeddings")
        stored.metadata.update(scans=total)

    stored.frames = frames()
    return stored


def vectors(eids: list[str], z: np.ndarray, encoder: str, organ: str) -> pl.DataFrame:
    """Return a frame of embeddings from the ids and the matrix (n_participants, n_dims)."""
    return pl.DataFrame({"encoder": encoder, "organ": organ, "eid": eids, "z": pl.Series(z.astype(np.float32))})


def matrix(frame: pl.DataFrame, column: str = "z") -> np.ndarray:
    """Return a list column of equal lengths as float64 (n_participants, n_dims)."""
    flat = frame[column].explode(empty_as_null=False).to_numpy().astype(np.float64)
    return flat.reshape(frame.height, -1) if frame.height else np.empty((0, 0))


@stage(
    "mae/adjusted_embeddings",
    group="encoders",
    dimensions=("organ",),
    table="adjusted_embeddings",
    inputs={"embeddings": embeddings, "participants": cohort.participants},
    settings=("organ.adjust_for",),
)
def adjusted_embeddings(run: StageRun, embeddings: pl.DataFrame, participants: pl.DataFrame) -> Stored:
    """Embeddings less what the organ's `adjust_for` factors explain (paper, section 4.3); all phenotypes read these."""
    from edp_assets.science.phenotypes.adjustment import adjust_embeddings, embedding_factors

    names = run.workspace.settings.organs[run["organ"]].adjust_for
    measured = [name for name in names if not name.startswith("embedding_pc")]
    joined = embeddings.join(participants.select("eid", *measured), on="eid", how="left", maintain_order="left")
    complete = joined.drop_nulls(measured) if measured else joined
    lacking = joined.join(complete.select("eid"), on="eid", how="anti")["eid"]
    factors = {name: complete[name].to_numpy() for name in measured}
    z = matrix(complete)
    adjusted = adjust_embeddings(z, factors | embedding_factors(z, [n for n in names if n not in measured]))
    frame = vectors(complete["eid"].to_list(), adjusted.z, ENCODER, run["organ"])
    return Stored(
        frame.with_columns(adjustment=pl.lit(",".join(names) or "none")),
        [Exclusion(eid, run["organ"], "adjusted_embeddings", "missing adjustment factor") for eid in lacking],
        {"variance_explained": dg.MetadataValue.json(adjusted.variance_explained)} if names else {},
    )


@stage(
    "mae/clusters",
    group="encoders",
    dimensions=("organ",),
    table="clusters",
    inputs={"adjusted_embeddings": adjusted_embeddings},
    settings=("clustering",),
    kinds={"scanpy", "parquet"},
)
def clusters(run: StageRun, adjusted_embeddings: pl.DataFrame) -> Stored:
    """Communities of people whose organs look alike: Leiden on the cosine neighbour graph (paper, section 4)."""
    from edp_assets.figures.phenotypes import umap_clusters
    from edp_assets.figures.render import to_markdown
    from edp_assets.science.phenotypes.clustering import leiden_clusters

    chosen = run.workspace.settings.clustering
    found = leiden_clusters(
        matrix(adjusted_embeddings),
        n_neighbors=chosen.n_neighbors,
        resolution=chosen.resolution,
        seed=chosen.seed,
    )
    frame = adjusted_embeddings.select("encoder", "organ", "eid").with_columns(
        cluster=pl.Series(found.labels), umap_1=pl.Series(found.umap[:, 0]), umap_2=pl.Series(found.umap[:, 1])
    )
    figure = umap_clusters(found.umap, found.labels, f"{run['organ']}: clusters")
    counts = {"clusters": int(found.labels.max()) + 1, "umap": dg.MetadataValue.md(to_markdown(figure))}
    return Stored(frame, metadata=counts)
