"""Training one masked autoencoder on slices, with checkpoints that a killed run resumes from; embedding is elsewhere.

The state at a step depends on (weights, optimiser, step) alone: the data order is drawn from (seed, epoch), masks
from (seed, step). A resumed run therefore repeats the uninterrupted one, bit for bit on a CPU with the same number of
threads; on a GPU up to the order in which its kernels add.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edp_assets.science.encoders.checkpoints import (
    TrainedEncoder,
    TrainingState,
    read_training_state,
    write_training_state,
)
from edp_assets.science.encoders.mae import MaeConfig, MaskedAutoencoder
from edp_assets.settings import EncoderSettings

DIVERGED_LOSS = 100.0
"""Normalised pixels lie in -1..3, so predicting any constant among them loses at most 16: more is divergence."""

LOG_SECONDS = 5.0
_ORDER, _MASKS = 0, 1


class TrainingError(ValueError):
    """Training diverged under this recipe."""


def train_mae(
    config: MaeConfig,
    recipe: EncoderSettings,
    slices: NDArray[np.uint8],
    checkpoint: Path,
    log: Callable[[str], None],
) -> TrainedEncoder:
    """Train a masked autoencoder (He et al. 2022, appendix A.1), from the checkpoint if it belongs to this very run.

    Every epoch passes over all slices once, in batches of nearly equal size, at most `recipe.batch_size`.

    Args:
        config: shape of the encoder.
        recipe: epochs, rates, seeds.
        slices: uint8 (n_slices, n_channels, resolution, resolution); may be a memory map.
        checkpoint: the file that a killed run resumes from; left in place, whole, at the end.
        log: takes a line of progress about every 5 seconds.

    Raises:
        TrainingError: the loss or its gradient is not finite, or the loss is beyond any that data explain.
        ValueError: slices of another shape than the config's.
    """
    _require_slices(slices, config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = MaskedAutoencoder(config, recipe.seed).to(device).train()
    optimiser = torch.optim.AdamW(_parameter_groups(model, recipe.weight_decay), betas=(0.9, 0.95), fused=True)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=use_bfloat16(recipe.precision, device))
    fingerprint = run_fingerprint(config, recipe, slices)
    start = _resume(checkpoint, fingerprint, model, optimiser, log)

    losses, epoch_loss, last_loss = list(start.losses), start.epoch_loss, math.nan
    per_epoch = steps_per_epoch(len(slices), recipe.batch_size)
    total = per_epoch * recipe.epochs
    began = logged = saved = time.monotonic()
    seen, step = 0, start.step
    for rows in _batches(len(slices), recipe, start.step):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, per_epoch, recipe)
        with autocast:
            loss = model.forward_loss(torch.from_numpy(slices[rows]).to(device), _mask_generator(recipe.seed, step))
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
        last_loss = _require_sound(step, loss.item(), norm.item(), last_loss, recipe)
        optimiser.step()

        step, seen = step + 1, seen + len(rows)
        epoch_loss += last_loss * len(rows)
        if step % per_epoch == 0:
            losses.append(epoch_loss / len(slices))
            epoch_loss = 0.0
        now = time.monotonic()
        if now - saved >= recipe.checkpoint_seconds or step == total:
            state = TrainingState(_tensors(model, optimiser), step, losses, epoch_loss)
            write_training_state(checkpoint, state, fingerprint)
            saved = time.monotonic()
            log(f"checkpoint at step {step} of {total}")
        if now - logged >= LOG_SECONDS or step == total:
            logged, rate = now, seen / (now - began)
            left = (total - step) * len(slices) / per_epoch / rate
            epoch = f"epoch {(step - 1) // per_epoch + 1} of {recipe.epochs}, step {step} of {total}"
            log(f"{epoch}, loss {last_loss:.4f}, {rate:.0f} images/s, {left:.0f} s left")
    elapsed = time.monotonic() - began
    weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    return TrainedEncoder(config, weights, losses, seen / elapsed if seen else 0.0, start.step)


def steps_per_epoch(n_slices: int, batch_size: int) -> int:
    """Return how many batches of at most `batch_size` hold all slices."""
    return -(-n_slices // batch_size)


def learning_rate(step: int, per_epoch: int, recipe: EncoderSettings) -> float:
    """Return the rate of a step, counted from 0: linear warm-up, then half a cosine down to 0 (He et al.)."""
    peak = recipe.learning_rate * recipe.batch_size / 256
    warmup, total = recipe.warmup_epochs * per_epoch, recipe.epochs * per_epoch
    if step + 1 < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * max(0.0, step + 1 - warmup) / max(1.0, total + 1 - warmup)))


def use_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether to multiply in bfloat16: `auto` does where the device does so natively; emulation is 100 times slower."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def run_fingerprint(config: MaeConfig, recipe: EncoderSettings, slices: NDArray[np.uint8]) -> str:
    """Return a hash of all that decides the trained weights: config, recipe and slices."""
    settings = recipe.model_dump(mode="json", exclude={"checkpoint_seconds", "embed_batch_size"})
    text = json.dumps([config.to_dict(), settings, slices.shape], sort_keys=True)
    digest = hashlib.sha256(text.encode())
    for first in range(0, len(slices), 1024):
        digest.update(np.ascontiguousarray(slices[first : first + 1024]).data)
    return digest.hexdigest()


def _batches(n_slices: int, recipe: EncoderSettings, first_step: int) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of every batch from a step on; rows are sorted within a batch, which a memory map likes."""
    per_epoch = steps_per_epoch(n_slices, recipe.batch_size)
    for epoch in range(first_step // per_epoch, recipe.epochs):
        order = np.random.default_rng([recipe.seed, _ORDER, epoch]).permutation(n_slices)
        batches = np.array_split(order, per_epoch)
        skip = max(0, first_step - epoch * per_epoch)
        yield from (np.sort(rows) for rows in batches[skip:])


def _mask_generator(seed: int, step: int) -> torch.Generator:
    state = np.random.SeedSequence([seed, _MASKS, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def _require_slices(slices: NDArray[np.uint8], config: MaeConfig) -> None:
    wanted = (config.channels, config.resolution, config.resolution)
    if slices.dtype != np.uint8 or slices.shape[1:] != wanted or not len(slices):
        raise ValueError(f"wanted uint8 slices (n, *{wanted}) with n above 0, found {slices.dtype} {slices.shape}")


def _parameter_groups(model: MaskedAutoencoder, weight_decay: float) -> list[dict[str, object]]:
    """Split the parameters: weights decay; biases, norms and tokens do not."""
    decayed: list[torch.Tensor] = []
    others: list[torch.Tensor] = []
    for name, parameter in model.named_parameters():
        (others if parameter.ndim < 2 or name.endswith("_token") else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _require_sound(step: int, loss: float, norm: float, last_loss: float, recipe: EncoderSettings) -> float:
    """Return the loss, or stop before the step that would spoil the weights."""
    if math.isfinite(loss) and math.isfinite(norm) and loss <= DIVERGED_LOSS:
        return loss
    raise TrainingError(
        f"training diverged at step {step}: wanted a finite loss of at most {DIVERGED_LOSS:g}, found loss {loss:g} and "
        f"gradient norm {norm:g} (loss a step before: {last_loss:g}); lower learning_rate (now "
        f"{recipe.learning_rate:g}), lengthen warmup_epochs (now {recipe.warmup_epochs:g}), or set precision to float32"
    )


def _tensors(model: MaskedAutoencoder, optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return weights and moments by name; AdamW's own step count is the run's."""
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        moments = optimiser.state[parameter]
        tensors[f"model.{name}"] = parameter
        tensors[f"exp_avg.{name}"] = moments["exp_avg"]
        tensors[f"exp_avg_sq.{name}"] = moments["exp_avg_sq"]
    return tensors


def _resume(
    checkpoint: Path,
    fingerprint: str,
    model: MaskedAutoencoder,
    optimiser: torch.optim.Optimizer,
    log: Callable[[str], None],
) -> TrainingState:
    """Load weights and moments in place if the checkpoint belongs to this run, and return where to go on."""
    fresh = TrainingState({}, 0, [], 0.0)
    if not checkpoint.exists():
        return fresh
    try:
        state = read_training_state(checkpoint, fingerprint)
    except ValueError as error:
        log(f"checkpoint ignored, training starts afresh: {error}")
        return fresh
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state.tensors[f"model.{name}"])
            optimiser.state[parameter] = {
                "step": torch.tensor(float(state.step), device=parameter.device),
                "exp_avg": state.tensors[f"exp_avg.{name}"].to(parameter.device),
                "exp_avg_sq": state.tensors[f"exp_avg_sq.{name}"].to(parameter.device),
            }
    log(f"resumed at step {state.step}")
    return state
