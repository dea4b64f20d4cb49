"""Training an encoder of any kind on items, with checkpoints that a killed run resumes from; embedding is elsewhere.

The state at a step depends on (weights, optimiser, step) alone: the data order is drawn from (seed, epoch), masks
from (seed, step). A resumed run therefore repeats the uninterrupted one, bit for bit on a CPU with the same number of
threads; on a GPU, or with another number of processes, up to the order in which numbers are added.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edp_assets.science.encoders.checkpoints import (
    TrainedEncoder,
    TrainingState,
    build,
    read_training_state,
    write_training_state,
)
from edp_assets.science.encoders.interface import EncoderConfig
from edp_assets.science.encoders.memory import keep_freed_memory
from edp_assets.science.encoders.packs import Items, ahead
from edp_assets.science.encoders.team import Team, join_team
from edp_assets.settings import EncoderSettings

DIVERGED_LOSS = 100.0
"""Normalised pixels lie in -1..3, so predicting any constant among them loses at most 16: more is divergence."""

LOG_SECONDS = 5.0
_ORDER, _MASKS = 0, 1


class TrainingError(ValueError):
    """Training diverged under this recipe."""


def train(
    config: EncoderConfig,
    recipe: EncoderSettings,
    items: Items,
    checkpoint: Path,
    log: Callable[[str], None],
) -> TrainedEncoder:
    """Train an encoder of any kind that has a loss, from the checkpoint if it belongs to this very run.

    Every epoch passes over all items once, in batches of nearly equal size, at most `recipe.batch_size` (He et al.
    2022; appendix A.1). Under `torchrun` every process calls this with the same arguments and takes its share of each
    batch; the losses are those of one process, to rounding.

    Args:
        config: shape of the encoder.
        recipe: epochs, rates, seeds.
        items: slices or subvolumes, of the config's item shape.
        checkpoint: the file that a killed run resumes from; left in place, whole, at the end.
        log: takes a line of progress about every 5 seconds, in the first process only.

    Raises:
        TrainingError: the loss or its gradient is not finite, or the loss is beyond any that data explain.
        ValueError: items of another shape than the config's, or fewer than processes.
    """
    _require_items(items, config)
    with join_team() as team:
        return _train(config, recipe, items, checkpoint, log if team.rank == 0 else _silent, team)


def _train(
    config: EncoderConfig,
    recipe: EncoderSettings,
    items: Items,
    checkpoint: Path,
    log: Callable[[str], None],
    team: Team,
) -> TrainedEncoder:
    if team.device.type == "cpu":
        keep_freed_memory()
    model = build(config, recipe.seed).to(team.device).train()
    optimiser = torch.optim.AdamW(_parameter_groups(model, recipe.weight_decay), betas=(0.9, 0.95), fused=True)
    autocast = torch.autocast(team.device.type, torch.bfloat16, enabled=use_bfloat16(recipe.precision, team.device))
    fingerprint = run_fingerprint(config, recipe, items)
    start = _resume(checkpoint, fingerprint, model, optimiser, log)
    loss_of = _shared(model, team)

    losses, epoch_loss, last_loss = list(start.losses), start.epoch_loss, math.nan
    per_epoch = steps_per_epoch(len(items), recipe.batch_size)
    if len(items) // per_epoch < team.size:
        raise ValueError(f"wanted an item a process in every batch, found {len(items)} items, {team.size} processes")
    total = per_epoch * recipe.epochs
    began = logged = saved = time.monotonic()
    seen, step = 0, start.step
    for rows, batch in ahead(_batches(items, recipe, start.step, team)):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, per_epoch, recipe)
        mine, before = team.share(rows)
        with autocast:
            # The mean over the whole batch, of which this process holds a part; gradients are averaged over processes.
            loss = loss_of(batch.to(team.device, non_blocking=True), _mask_generator(model, recipe.seed, step, before))
            loss = loss * (len(mine) / len(rows))
        optimiser.zero_grad()
        (loss * team.size).backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
        last_loss = _require_sound(step, team.total(loss), norm.item(), last_loss, recipe)
        optimiser.step()

        step, seen = step + 1, seen + len(rows)
        epoch_loss += last_loss * len(rows)
        if step % per_epoch == 0:
            losses.append(epoch_loss / len(items))
            epoch_loss = 0.0
        now = time.monotonic()
        if team.rank == 0 and (now - saved >= recipe.checkpoint_seconds or step == total):
            state = TrainingState(_tensors(model, optimiser), step, losses, epoch_loss)
            write_training_state(checkpoint, state, fingerprint)
            saved = time.monotonic()
            log(f"checkpoint at step {step} of {total}")
        if now - logged >= LOG_SECONDS or step == total:
            logged, rate = now, seen / (now - began)
            left = (total - step) * len(items) / per_epoch / rate
            epoch = f"epoch {(step - 1) // per_epoch + 1} of {recipe.epochs}, step {step} of {total}"
            log(f"{epoch}, loss {last_loss:.4f}, {rate:.0f} images/s, {left:.0f} s left")
        if step == start.step + 1 and step < total:
            began, seen = time.monotonic(), 0  # the first step also warms caches and kernels up
    elapsed = time.monotonic() - began
    team.wait()
    weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    return TrainedEncoder(config, weights, losses, seen / elapsed if seen else 0.0, start.step)


def steps_per_epoch(n_items: int, batch_size: int) -> int:
    """Return how many batches of at most `batch_size` hold all items."""
    return -(-n_items // batch_size)


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


def run_fingerprint(config: EncoderConfig, recipe: EncoderSettings, items: Items) -> str:
    """Return a hash of all that decides the trained weights: config, recipe and what the items say they are."""
    text = json.dumps(
        [config.kind, config.to_dict(), recipe.result_settings(), items.version, len(items)], sort_keys=True
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _shared(model: nn.Module, team: Team) -> nn.Module:
    """Return the model, called for its loss, such that a backward pass averages gradients over the processes."""
    if team.size == 1:
        return model
    devices = [team.device] if team.device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)


def _batches(
    items: Items, recipe: EncoderSettings, first_step: int, team: Team
) -> Iterator[tuple[NDArray[np.int64], torch.Tensor]]:
    """Yield the item numbers of every batch from a step on, sorted for the disk, and this process's part of it."""
    per_epoch = steps_per_epoch(len(items), recipe.batch_size)
    for epoch in range(first_step // per_epoch, recipe.epochs):
        order = np.random.default_rng([recipe.seed, _ORDER, epoch]).permutation(len(items))
        batches = np.array_split(order, per_epoch)
        skip = max(0, first_step - epoch * per_epoch)
        for rows in batches[skip:]:
            rows = np.sort(rows)
            batch = torch.from_numpy(items.read(team.share(rows)[0]))
            yield rows, batch.pin_memory() if team.device.type == "cuda" else batch


def _mask_generator(model: Any, seed: int, step: int, before: int) -> torch.Generator:
    """Return the batch's mask generator, moved past the items that other processes hold: masks follow the items."""
    state = np.random.SeedSequence([seed, _MASKS, step]).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(state[0]))
    if before:
        model.shuffled_patches(before, generator)
    return generator


def _silent(line: str) -> None:
    pass


def _require_items(items: Items, config: EncoderConfig) -> None:
    if items.item_shape != config.item_shape or not len(items):
        raise ValueError(
            f"wanted uint8 items (n, {', '.join(map(str, config.item_shape))}) with n above 0, found {len(items)} of "
            f"{items.item_shape}"
        )


def _parameter_groups(model: Any, weight_decay: float) -> list[dict[str, object]]:
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


def _tensors(model: Any, optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
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
    model: Any,
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
