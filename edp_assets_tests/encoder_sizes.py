"""The paper's Table 6 on the demo: ViT-S, B and L (MAE) of one organ, trained on a GPU, their associations counted.

    python -m edp_assets_tests.encoder_sizes export HOME FOLDER        # crops of a finished EDP_HOME as a pack
    python -m edp_assets_tests.encoder_sizes train FOLDER OUT          # on the GPU: torch, timm, numpy, pydantic alone
    python -m edp_assets_tests.encoder_sizes table HOME FOLDER OUT     # on a CPU: phenotypes, GWAS, genes of each size

FOLDER holds the slices, the recipe and, in `people.json`, whose they are, which stays behind: OUT's embeddings are rows
in the pack's order. Beside each trained encoder stands one of the same shape with weights as drawn.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

PACK, PEOPLE, REPORT = "items.pack", "people.json", "sizes.json"
SIZES = ("S", "B", "L")


def export(home: Path, folder: Path, organ: str, scans: int) -> None:
    """Write the pack of some scans of a finished home, chosen at random, with the recipe of its organ."""
    import polars as pl

    from edp_assets.assets.encoder_weights import fitted, pixel_size
    from edp_assets.science.encoders.packs import write_pack
    from edp_assets.science.encoders.train import Recipe
    from edp_assets.settings import EncoderSettings
    from edp_assets.storage.home import Home
    from edp_assets.storage.lake import cell_of
    from edp_assets.storage.upstream import Partition
    from edp_assets.storage.workspace import Workspace

    workspace = Workspace(Home(home))
    crops = Partition(workspace.lake, ("masked_crops",), cell_of({"organ": organ}))
    eids = crops.columns("eid")["eid"]
    chosen = eids.sample(min(scans, eids.len()), seed=0).sort()
    settings, pixel_mm = workspace.settings.organs[organ], pixel_size(crops)
    folder.mkdir(parents=True, exist_ok=True)

    def voxels() -> Iterator[np.ndarray]:
        for frame in crops.rows_of(chosen):
            for _, crop in fitted(frame.filter(pl.col("eid").is_in(chosen.implode())), settings.resolution, pixel_mm):
                yield crop

    pack = write_pack(folder / PACK, voxels(), settings.resolution, f"{crops.version} {pixel_mm} {scans}")
    Recipe(settings, EncoderSettings()).write(folder)
    in_order = eids.filter(eids.is_in(chosen.implode())).to_list()
    (folder / PEOPLE).write_text(json.dumps({"organ": organ, "eids": in_order}))
    print(f"{len(pack.index)} scans, {pack.slices} slices, {pack.path.stat().st_size / 1e6:.1f} MB: {pack.path}")


def train_sizes(folder: Path, out: Path, sizes: tuple[str, ...], changed: dict[str, Any]) -> None:
    """Train an encoder of each size on the pack, embed its scans by it and by an untrained one, and write both."""
    from edp_assets.science.encoders.checkpoints import untrained
    from edp_assets.science.encoders.packs import open_pack
    from edp_assets.science.encoders.team import best_device
    from edp_assets.science.encoders.train import CHECKPOINT, Recipe
    from edp_assets.science.encoders.training import train

    given = Recipe.read(folder)
    out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"device": device_name(), "sizes": {}}
    for size in sizes:
        recipe = Recipe(given.organ, given.encoder.model_copy(update={**changed, "size": size}), given.kind)
        config = recipe.config()
        pack = open_pack(folder / PACK)
        checkpoint, began = out / f"{size}-{CHECKPOINT}", time.monotonic()
        trained = train(config, recipe.encoder, pack.items(config.item_shape), checkpoint, logging.info)
        checkpoint.unlink()
        models = {"trained": trained.model(), "untrained": untrained(config, recipe.encoder.seed)}
        for name, model in models.items():
            np.save(
                out / f"{size}-{name}.npy", embedded(model.to(best_device()), pack, recipe.encoder.embed_batch_size)
            )
        report["sizes"][size] = {
            "parameters_of_encoder": encoder_parameters(models["untrained"]),
            "items": len(pack.items(config.item_shape)),
            "recipe": recipe.encoder.model_dump(mode="json"),
            "loss_of_epochs": trained.losses,
            "items_per_second": trained.images_per_second,
            "seconds": time.monotonic() - began,
        }
        (out / REPORT).write_text(json.dumps(report, indent=2))
        print(f"{size}: loss {trained.losses[0]:.4f} to {trained.losses[-1]:.4f}, {time.monotonic() - began:.0f} s")


def embedded(model: Any, pack: Any, batch_size: int) -> np.ndarray:
    """Return the mean [cls] of every scan of a pack, (n_scans, width)."""
    from edp_assets.science.encoders.embedding import embed_scans

    items = pack.items(model.config.item_shape)
    ends = np.cumsum(pack.index[:, 1])
    scans = (
        (str(k), items.read(np.arange(end - n, end)))
        for k, (n, end) in enumerate(zip(pack.index[:, 1], ends, strict=True))
    )
    return np.stack([z for _, z in embed_scans(model, scans, batch_size)])


def encoder_parameters(model: Any) -> int:
    """Return the weights that an embedding depends on: all but the decoder's."""
    return sum(p.numel() for name, p in model.named_parameters() if "decoder" not in name and "mask_token" not in name)


def print_table(home: Path, folder: Path, out: Path) -> None:
    """Take the embeddings for those of the asset, whose function counts what the phenotypes of each size hit."""
    import polars as pl

    from edp_assets.assets.encoder_sizes import sizes
    from edp_assets.assets.stage import REGISTRY, StageRun
    from edp_assets.storage.home import Home
    from edp_assets.storage.lake import cell_of
    from edp_assets.storage.upstream import Partition, Partitions
    from edp_assets.storage.workspace import Workspace

    workspace = Workspace(Home(home))
    people, frames = json.loads((folder / PEOPLE).read_text()), []
    organ, eids = people["organ"], people["eids"]
    for size in json.loads((out / REPORT).read_text())["sizes"]:
        for weights in ("trained", "untrained"):
            z = np.load(out / f"{size}-{weights}.npy")
            frames.append(
                pl.DataFrame(
                    {"size": size, "weights": weights, "organ": organ, "eid": eids, "z": pl.Series(z).arr.to_list()}
                )
            )
    spec = REGISTRY["evidence", "sizes"].spec
    inputs: dict[str, Any] = {"size_embeddings": pl.concat(frames)}
    for name, asset in spec.inputs.items():
        if name == "icd10_cases":
            inputs[name] = Partitions(workspace.lake, asset, workspace.lake.cells(asset))
        elif name != "size_embeddings":
            partition = Partition(workspace.lake, asset, ())
            inputs[name] = partition if name == "variant_to_gene" else workspace.lake.read(asset, ())
    made = sizes(StageRun(cell_of({"organ": organ}), spec, workspace), **inputs)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=200):
        print(made.frames)


def device_name() -> str:
    """Return what it is trained on."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def main() -> None:
    """Do the step asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("export")
    step.add_argument("home", type=Path)
    step.add_argument("folder", type=Path)
    step.add_argument("--organ", default="liver")
    step.add_argument("--scans", type=int, default=1200)
    step = steps.add_parser("train")
    step.add_argument("folder", type=Path)
    step.add_argument("out", type=Path)
    step.add_argument("--sizes", nargs="+", default=list(SIZES))
    step.add_argument("--epochs", type=int, default=100)
    step.add_argument("--warmup-epochs", type=float, default=5)
    step.add_argument(
        "--learning-rate", type=float, default=6e-4, help="at a batch of 256: fewer steps than the paper's"
    )
    step = steps.add_parser("table")
    step.add_argument("home", type=Path)
    step.add_argument("folder", type=Path)
    step.add_argument("out", type=Path)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if given.step == "export":
        export(given.home, given.folder, given.organ, given.scans)
    elif given.step == "train":
        names = ("epochs", "warmup_epochs", "learning_rate")
        changed = {name: getattr(given, name) for name in names}
        train_sizes(given.folder, given.out, tuple(given.sizes), {**changed, "checkpoint_seconds": 1e6})
    else:
        print_table(given.home, given.folder, given.out)


if __name__ == "__main__":
    main()
