"""Where an encoder's weights come from: trained here, ImageNet's, or as drawn; and crops as an encoder sees them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
import polars as pl

from edp_assets.assets.album import scan_picture
from edp_assets.assets.stage import StageRun
from edp_assets.storage.checkpoints import StoredEncoder
from edp_assets.storage.upstream import Partition

if TYPE_CHECKING:
    from edp_assets.science.encoders.checkpoints import TrainedEncoder
    from edp_assets.science.encoders.packs import PackItems
    from edp_assets.science.encoders.train import Recipe

log = logging.getLogger(__name__)

CROPS_A_BATCH = 64
SHOWN = 8


def trained_encoder(run: StageRun, masked_crops: Partition) -> StoredEncoder:
    """The organ's self-supervised encoder, trained on all slices of all crops; training resumes after a kill."""
    from edp_assets.figures.imaging import reconstructions, training_loss
    from edp_assets.figures.render import to_markdown
    from edp_assets.science.encoders.quality import show_reconstructions
    from edp_assets.science.encoders.train import Recipe

    settings, organ = run.workspace.settings, run["organ"]
    recipe = Recipe(settings.organs[organ], getattr(settings, run.encoder), run.encoder)
    pixel_mm, folder = pixel_size(masked_crops), run.workspace.checkpoints.folder(run.spec.asset, run.cell)
    trained, items = train_on_crops(folder, recipe, masked_crops, pixel_mm, organ)
    shown = show_reconstructions(trained.model(), items, SHOWN, recipe.encoder.seed)
    return StoredEncoder(
        replace(trained, pixel_mm=pixel_mm),
        {
            "items": len(items),
            "pixel_mm": pixel_mm,
            "final_loss": float(trained.losses[-1]),
            "items_per_second": round(trained.images_per_second, 1),
            "resumed_from_step": trained.resumed_from_step,
            "loss": dg.MetadataValue.md(to_markdown(training_loss(trained.losses, f"{organ}: training loss"))),
            "reconstructions": scan_picture(
                run, "reconstructions", reconstructions(*shown, f"{organ}: hidden patches")
            ),
        },
    )


def train_on_crops(
    folder: Path, recipe: Recipe, crops: Partition, pixel_mm: float, called: str
) -> tuple[TrainedEncoder, PackItems]:
    """Train by a recipe on all crops of an organ, resuming after a kill what lies in the folder.

    Returns:
        The encoder, and the items it was trained on.
    """
    from edp_assets.science.encoders import launch
    from edp_assets.science.encoders.packs import ensure_pack
    from edp_assets.science.encoders.train import PACK

    config = recipe.config()
    resolution = config.item_shape[-1]
    pack = ensure_pack(
        folder / PACK,
        lambda: (voxels for _, voxels in fitted_crops(crops.batches(CROPS_A_BATCH), resolution, pixel_mm)),
        resolution,
        f"{crops.version} {pixel_mm}",
    )
    recipe.write(folder)
    items = pack.items(config.item_shape)
    trained = launch.train_here_or_launch(folder, recipe, items, lambda line: log.info("%s: %s", called, line))
    # A run that is killed or fails keeps its pack for the next; one that ends leaves no 100 GB behind.
    pack.path.unlink()
    return trained, items


def imagenet_encoder(run: StageRun, masked_crops: Partition) -> StoredEncoder:
    """The baseline: a vision transformer trained on ImageNet's categories, its channels adapted to the organ's."""
    from edp_assets.science.encoders.checkpoints import TrainedEncoder
    from edp_assets.science.encoders.imagenet import ImagenetConfig, load_imagenet

    settings = run.workspace.settings
    config = ImagenetConfig.from_settings(settings.organs[run["organ"]], settings.imagenet)
    model = load_imagenet(config, run.workspace.cohort.imagenet_weights)
    pixel_mm = pixel_size(masked_crops)
    trained = TrainedEncoder(config, dict(model.state_dict()), [], pixel_mm=pixel_mm)
    return StoredEncoder(trained, {"model": config.model, "pixel_mm": pixel_mm})


def untrained_encoder(run: StageRun, masked_crops: Partition) -> StoredEncoder:
    """The control: an encoder of the MAE's shape with its weights as drawn, which every table holds EDPs against."""
    from edp_assets.science.encoders.checkpoints import TrainedEncoder, untrained
    from edp_assets.science.encoders.mae import MaeConfig

    settings = run.workspace.settings
    config = MaeConfig.from_settings(settings.organs[run["organ"]], settings.mae)
    pixel_mm = pixel_size(masked_crops)
    weights = dict(untrained(config, settings.untrained.seed).state_dict())
    return StoredEncoder(TrainedEncoder(config, weights, [], pixel_mm=pixel_mm), {"pixel_mm": pixel_mm})


def pixel_size(crops: Partition) -> float:
    """Return the pixel size that the scans of an organ are brought to, mm."""
    from edp_assets.science.imaging.slices import common_pixel

    spacing = np.array(crops.columns("spacing_mm")["spacing_mm"].to_list())
    if not len(spacing):
        raise ValueError(f"{crops.cell}: no usable scan to train an encoder on; see the table `excluded` for why")
    return common_pixel(spacing)


def fitted_crops(
    crops: Iterable[pl.DataFrame], resolution: int, pixel_mm: float | None
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield eid and voxels (n_channels, n_slices, n_rows, n_columns) of each crop at an encoder's pixel size."""
    for frame in crops:
        yield from fitted(frame, resolution, pixel_mm)


def fitted(crops: pl.DataFrame, resolution: int, pixel_mm: float | None) -> Iterator[tuple[str, np.ndarray]]:
    """Yield eid and voxels, at an encoder's pixel size, of each crop of a frame."""
    from edp_assets.science.imaging.slices import fit, pixel_scale

    for eid, shape, voxels, spacing in crops.select("eid", "shape", "voxels", "spacing_mm").iter_rows():
        scale = (1.0, 1.0) if pixel_mm is None else pixel_scale(spacing, pixel_mm)
        yield eid, fit(np.frombuffer(voxels, np.uint8).reshape(shape), resolution, scale)
