"""Training from a folder, with torch, timm, numpy and pydantic alone: for torchrun, and for a machine without the rest.

    python -m edp_assets.science.encoders.train FOLDER
    torchrun --standalone --nproc-per-node 8 -m edp_assets.science.encoders.train FOLDER

FOLDER holds `recipe.json` ({"kind", "organ", "encoder"}: the settings' sections) and the pack `items.pack`, as the
encoder assets leave them; the run writes `training.safetensors`, from which a killed one resumes and which the asset
takes up when it finds it finished, and `trained.safetensors`. It ends with images a second and the share of
the device's measured matmul peak. `--synthetic N` makes a folder of N random slices in place of real ones.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edp_assets.science.encoders.checkpoints import TrainedEncoder, build, encoder_classes, save_encoder
from edp_assets.science.encoders.packs import open_pack, write_pack
from edp_assets.science.encoders.team import best_device, rank_and_size
from edp_assets.science.encoders.training import train, use_bfloat16
from edp_assets.settings import ORGANS, EncoderSettings, OrganSettings, VideoMaeSettings

log = logging.getLogger(__name__)

PACK, RECIPE, CHECKPOINT, TRAINED = "items.pack", "recipe.json", "training.safetensors", "trained.safetensors"
FAILED = "edp_assets training failed: "
BIOBANK_SLICES, BIOBANK_EPOCHS = 10_000_000, 30
"""The paper's runs (appendix A.1)."""


@dataclass(frozen=True)
class Recipe:
    """What `recipe.json` says."""

    organ: OrganSettings
    encoder: EncoderSettings
    kind: str = "mae"

    def config(self) -> Any:
        """Return the config of the encoder that this describes."""
        return encoder_classes(self.kind)[0].from_settings(self.organ, self.encoder)

    def write(self, folder: Path) -> None:
        """Write `recipe.json` into a folder."""
        sections = {"organ": self.organ.model_dump(mode="json"), "encoder": self.encoder.model_dump(mode="json")}
        (folder / RECIPE).write_text(json.dumps({"kind": self.kind, **sections}, indent=2))

    @classmethod
    def read(cls, folder: Path) -> Recipe:
        """Read a folder's `recipe.json`; raises ValueError where it is absent or wrong."""
        file = folder / RECIPE
        if not file.is_file():
            raise ValueError(f"{file}: wanted the recipe of a run, found no file; or give --synthetic N")
        try:
            content = json.loads(file.read_text())
            section = {"mae": EncoderSettings, "video_mae": VideoMaeSettings}[content["kind"]]
            return cls(OrganSettings(**content["organ"]), section(**content["encoder"]), content["kind"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file}: wanted kind (mae or video_mae), organ and encoder, found {error!r}") from None


def main() -> None:
    """Train the folder's encoder and report how fast the device did it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--synthetic", type=int, metavar="N", help="train on N random slices for one epoch")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if given.synthetic:
        if rank_and_size()[1] > 1:
            raise SystemExit(
                "--synthetic writes the folder's pack: run it once without torchrun, then with, without it"
            )
        prepare_synthetic(given.folder, given.synthetic)
    try:
        trained, report = train_folder(given.folder)
    except ValueError as error:
        raise SystemExit(f"{FAILED}{error}") from error
    if trained is not None:
        print(json.dumps(report, indent=2))


def train_folder(folder: Path) -> tuple[TrainedEncoder | None, dict[str, float]]:
    """Train on a folder's pack by its recipe; the first process of a team returns the encoder, and the speed report."""
    recipe = Recipe.read(folder)
    config = recipe.config()
    items = open_pack(folder / PACK).items(config.item_shape)
    trained = train(config, recipe.encoder, items, folder / CHECKPOINT, log.info)
    if rank_and_size()[0]:
        return None, {}
    save_encoder(folder / TRAINED, trained)
    return trained, speed_report(recipe, trained)


def prepare_synthetic(folder: Path, n_slices: int) -> None:
    """Write a pack of random slices, and where there is no recipe the paper's for a liver, cut to one epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / RECIPE).exists():
        Recipe(ORGANS["liver"], EncoderSettings(epochs=1, warmup_epochs=0.5)).write(folder)
    recipe = Recipe.read(folder)
    config = recipe.config()
    resolution = config.item_shape[-1]
    rng = np.random.default_rng(0)

    def crops() -> Iterator[NDArray[np.uint8]]:
        left, shape = n_slices, (resolution * 5 // 6, resolution * 3 // 4)
        while left:
            n = min(left, 64)
            yield rng.integers(0, 256, (config.item_shape[0], n, *shape), dtype=np.uint8)
            left -= n

    write_pack(folder / PACK, crops(), resolution, f"synthetic {n_slices}")


def speed_report(recipe: Recipe, trained: TrainedEncoder) -> dict[str, float]:
    """Return how fast training was, data loading included, what share of the device that is, and what it comes to.

    Items/s are of all devices, the matmul peak of one. A run that had nothing left to do has no speed: zeros.
    """
    config = recipe.config()
    device = best_device()
    dtype = torch.bfloat16 if use_bfloat16(recipe.encoder.precision, device) else torch.float32
    flops, peak = flops_an_item(config), matmul_peak(device, dtype)
    rate, (_, processes) = trained.images_per_second, rank_and_size()
    slices_an_item = config.item_shape[1] if len(config.item_shape) == 4 else 1
    items = BIOBANK_SLICES * BIOBANK_EPOCHS / slices_an_item
    report = {
        "items_per_second": rate,
        "gigaflops_an_item": flops / 1e9,
        f"matmul_peak_teraflops_{str(dtype).removeprefix('torch.')}": peak / 1e12,
        "devices": processes,
        "share_of_peak": rate * flops / (peak * processes),
        "hours_for_10_million_slices_30_epochs": items / rate / 3600 if rate else 0.0,
    }
    return {name: float(f"{value:.4g}") for name, value in report.items()}


def flops_an_item(config: Any) -> float:
    """Return the multiplications and additions of matrix products of a training step, an item, forward and backward.

    Counted by torch on a batch of two; attention as plain products, since not all its fused kernels are counted.
    """
    model = build(config).train()
    items = torch.randint(0, 256, (2, *config.item_shape), dtype=torch.uint8)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.forward_loss(items, torch.Generator().manual_seed(0)).backward()
    return counter.get_total_flops() / len(items)


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Return the most floating-point operations a second that a large square matrix product reaches, best of five."""
    n = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6):  # the first warms up
        started = time.perf_counter()
        c = a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        del c
        best = min(best, time.perf_counter() - started)
    return 2 * n**3 / best


if __name__ == "__main__":
    main()
