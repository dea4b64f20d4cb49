"""MAE training on the CPU against Hugging Face transformers' ViTMAEForPreTraining, and what bfloat16 costs in loss.

`python -m edp_assets_tests.benchmarks.mae_training` runs this one alone. Both train in a process of their own, as
their users would, and take turns, so that a busy machine slows both.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edp_assets_tests.benchmarks.result import Result

BATCH, STEPS, ROUNDS = 32, 2, 4
"""Images a step, steps a turn, turns of each."""

SHAPE = {"channels": 2, "resolution": 144, "patch": 8, "width": 384, "depth": 12, "heads": 6}
DECODER = {"decoder_width": 192, "decoder_depth": 4, "decoder_heads": 6}
CURVE_STEPS = 200
SCANS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "hippocampus_mr"


def run() -> list[Result]:
    """Images a second of both, the share of the machine's bfloat16 peak, and both loss curves on real slices."""
    if importlib.util.find_spec("transformers") is None:
        print("transformers is not installed: MAE training is not compared (pip install transformers)")
        return []
    workers = {name: _Worker(name) for name in ("ours", "peer", "peer, memory kept")}
    rates: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(ROUNDS):
        for name, worker in workers.items():
            rates[name].append(BATCH * STEPS / worker.ask("train"))
    peak, operations = max(workers["ours"].ask("peak") for _ in range(3)), workers["ours"].ask("operations")
    for worker in workers.values():
        worker.close()
    ours, theirs, kept = (float(np.median(rates[name])) for name in workers)
    share = ours * operations / BATCH / peak
    note = (
        f"ViT-S/8, 144 x 144 x 2, decoder 192 x 4, batch {BATCH}, bfloat16, median of {ROUNDS} turns; "
        f"{share:.0%} of the measured {peak / 1e9:.0f} GFLOP/s; peer with our allocator setting {kept:.1f}; "
        f"{_curves()}"
    )
    return [Result("mae_training", ours, "images/s", "transformers ViTMAE", theirs, ours / theirs, note)]


class _Worker:
    """A process that trains when asked to, and answers with a number."""

    def __init__(self, name: str) -> None:
        command = [sys.executable, "-m", __name__ if __name__ != "__main__" else __spec__.name, name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ask("train")  # the first turn, which also waits for the process to be ready, is not counted

    def ask(self, question: str) -> float:
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the benchmark's worker ended with {self.process.wait()}")
        return float(json.loads(answer))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def serve(name: str) -> None:
    """Answer questions on stdin: `train` (seconds of a turn), `peak` (FLOP/s), `operations` (FLOP of a step)."""
    import torch

    from edp_assets.science.encoders.memory import keep_freed_memory

    if name != "peer":
        keep_freed_memory()
    images = torch.randint(0, 256, (BATCH, 2, 144, 144), dtype=torch.uint8)
    model = _ours() if name == "ours" else _theirs()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1.5e-4, betas=(0.9, 0.95), fused=True)
    step = 0

    def loss() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            if name == "ours":
                return model.forward_loss(images, torch.Generator().manual_seed(step))
            return model(pixel_values=images.float() / 255).loss

    def train() -> None:
        nonlocal step
        for _ in range(STEPS):
            optimiser.zero_grad()
            loss().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            step += 1

    for question in sys.stdin:
        if question.strip() == "train":
            started = time.perf_counter()
            train()
            answer = time.perf_counter() - started
        else:
            answer = gemm_peak() if question.strip() == "peak" else 3 * matmul_operations(loss)
        print(json.dumps(answer), flush=True)


def gemm_peak() -> float:
    """Return the most FLOP/s that large square bfloat16 products reach here: the best of 10 at each of 3 sizes."""
    import torch

    best = 0.0
    for n in (1024, 2048, 4096):
        a, b = torch.randn(2, n, n).bfloat16().unbind(0)
        for _ in range(10):
            started = time.perf_counter()
            a @ b
            best = max(best, 2 * n**3 / (time.perf_counter() - started))
    return best


def matmul_operations(forward: Callable[[], object]) -> float:
    """Count the FLOP of a forward pass's matrix products, as torch dispatches them; backward makes twice as many."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        forward()
    return float(counter.get_total_flops())


def _ours():
    from edp_assets.science.encoders.mae import MaeConfig, MaskedAutoencoder

    return MaskedAutoencoder(MaeConfig(**SHAPE, **DECODER, mask_ratio=0.75, normalise_pixels=False)).train()


def _theirs():
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config = ViTMAEConfig(
        num_channels=SHAPE["channels"],
        image_size=SHAPE["resolution"],
        patch_size=SHAPE["patch"],
        hidden_size=SHAPE["width"],
        num_hidden_layers=SHAPE["depth"],
        num_attention_heads=SHAPE["heads"],
        intermediate_size=4 * SHAPE["width"],
        decoder_hidden_size=DECODER["decoder_width"],
        decoder_num_hidden_layers=DECODER["decoder_depth"],
        decoder_num_attention_heads=DECODER["decoder_heads"],
        decoder_intermediate_size=4 * DECODER["decoder_width"],
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        mask_ratio=0.75,
    )
    return ViTMAEForPreTraining(config).train()


def straightforward_loss(model, images, generator):
    """He et al.'s model written out with the same weights: every token in its place, every patch predicted, float32."""
    import torch

    config = model.config
    patches = (model.patchify(images).float() / 255 - 0.25) / 0.25
    shuffle = model.shuffled_patches(len(images), generator)
    keep = config.visible_patches
    visible, restore = shuffle[:, :keep], shuffle.argsort(dim=1)

    def pick(x, at):
        return torch.gather(x, 1, at.unsqueeze(-1).expand(-1, -1, x.shape[2]))

    tokens = pick(model.embed_patches(patches) + model.encoder_positions[:, 1:], visible)
    x = torch.cat([model.cls_token.expand(len(images), -1, -1), tokens], dim=1)
    for block in model.blocks:
        x = block(x)
    x = model.decoder_embed(model.norm(x))
    hidden = model.mask_token.expand(len(x), config.patches - keep, -1)
    x = torch.cat([x[:, :1], pick(torch.cat([x[:, 1:], hidden], dim=1), restore)], dim=1) + model.decoder_positions
    for block in model.decoder_blocks:
        x = block(x)
    error = (model.decoder_pred(model.decoder_norm(x))[:, 1:] - patches).square().mean(dim=-1)
    return error[restore >= keep].mean()


def loss_curve(slices: np.ndarray, fast: bool, steps: int, seed: int = 0) -> np.ndarray:
    """Return the loss of each step of a small MAE on real slices, straightforward in float32 or as it is trained."""
    import torch

    from edp_assets.science.encoders.mae import MaeConfig, MaskedAutoencoder

    config = MaeConfig(slices.shape[1], slices.shape[2], 6, 96, 4, 3, 48, 2, 3, 0.75, False)
    model = MaskedAutoencoder(config, seed=0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95))
    order, losses = np.random.default_rng(0), []
    for step in range(steps):
        batch = torch.from_numpy(slices[order.integers(0, len(slices), 32)])
        generator = torch.Generator().manual_seed(seed * steps + step)
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            loss = model.forward_loss(batch, generator) if fast else straightforward_loss(model, batch, generator)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return np.array(losses)


def hippocampus_slices(resolution: int = 48) -> np.ndarray:
    """Return real masked slices, uint8 (n, 1, resolution, resolution), centred."""
    import nibabel

    slices = []
    for file in sorted((SCANS / "images").glob("*.nii.gz")):
        image = np.asarray(nibabel.load(file).dataobj, np.float32)
        inside = np.asarray(nibabel.load(SCANS / "labels" / file.name).dataobj) > 0
        scaled = np.clip(image / np.percentile(image[inside], 99.5) * 255, 0, 255) * inside
        box = tuple(slice(at.min(), at.max() + 1) for at in np.nonzero(inside))
        crop = scaled[box].astype(np.uint8).transpose(2, 1, 0)[:, :resolution, :resolution]
        padded = np.zeros((len(crop), 1, resolution, resolution), np.uint8)
        top, left = ((resolution - n) // 2 for n in crop.shape[1:])
        padded[:, 0, top : top + crop.shape[1], left : left + crop.shape[2]] = crop
        slices.append(padded)
    return np.concatenate(slices)


def _curves() -> str:
    if not SCANS.exists():
        return "loss curves not compared: shared/data/hippocampus_mr is absent"
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a model gains nothing from more
    slices = hippocampus_slices()
    plain = loss_curve(slices, fast=False, steps=CURVE_STEPS)
    fast = loss_curve(slices, fast=True, steps=CURVE_STEPS)
    other = loss_curve(slices, fast=False, steps=CURVE_STEPS, seed=1)
    torch.set_num_threads(threads)
    last = slice(-CURVE_STEPS // 6, None)
    return (
        f"loss on real slices, last {CURVE_STEPS // 6} of {CURVE_STEPS} steps: {fast[last].mean():.4f}, "
        f"straightforward float32 {plain[last].mean():.4f}, with other masks {other[last].mean():.4f}; mean difference "
        f"of the curves {np.abs(fast - plain).mean():.4f}, of other masks {np.abs(other - plain).mean():.4f}"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(sys.argv[1])
    else:
        for result in run():
            print(f"{result.name}: {result.figure:.1f} {result.unit}, {result.peer} {result.peer_figure:.1f}")
            print(f"  ratio {result.ratio:.2f}; {result.note}")
