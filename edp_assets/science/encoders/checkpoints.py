"""Encoder and training-state files: safetensors with JSON in the header, never pickle; written whole or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from edp_assets.science.encoders.mae import MaeConfig, MaskedAutoencoder

ENCODER_FORMAT = "edp_assets.mae/1"
TRAINING_FORMAT = "edp_assets.mae-training/1"
_RESERVED = ("format", "config", "losses")


@dataclass(frozen=True)
class TrainedEncoder:
    """A trained masked autoencoder and how it went.

    Attributes:
        config: its shape.
        state: its weights by name, on the CPU.
        losses: mean loss of each epoch.
        images_per_second: slices trained on a second, of the run that finished; 0 where nothing was left to do.
        resumed_from_step: the step that this run took up from a checkpoint; 0 for a fresh start.
    """

    config: MaeConfig
    state: dict[str, Tensor]
    losses: list[float]
    images_per_second: float
    resumed_from_step: int

    def model(self) -> MaskedAutoencoder:
        """Return the encoder with these weights, ready to embed."""
        return _with_weights(self.config, self.state)


@dataclass(frozen=True)
class TrainingState:
    """What a training run needs to go on: tensors (weights and AdamW's moments) after `step` steps.

    Attributes:
        tensors: `model.<name>`, `exp_avg.<name>`, `exp_avg_sq.<name>`.
        step: steps done.
        losses: mean loss of each finished epoch.
        epoch_loss: sum of the losses of the slices seen in the unfinished epoch.
    """

    tensors: dict[str, Tensor]
    step: int
    losses: list[float]
    epoch_loss: float


def untrained(config: MaeConfig, seed: int = 0) -> MaskedAutoencoder:
    """Return an encoder of the same shape with random weights: the control that training must beat."""
    return MaskedAutoencoder(config, seed).eval()


def save_encoder(path: Path, trained: TrainedEncoder, metadata: dict[str, str] | None = None) -> None:
    """Write an encoder, its config, losses and any metadata (organ, seed, ...) into one file."""
    metadata = metadata or {}
    clash = sorted(set(metadata) & set(_RESERVED))
    if clash:
        raise ValueError(
            f"encoder metadata may not be called {', '.join(clash)}: the file keeps its own under that name"
        )
    header = {
        "format": ENCODER_FORMAT,
        "config": json.dumps(trained.config.to_dict()),
        "losses": json.dumps(trained.losses),
    }
    _write(path, trained.state, {**metadata, **header})


def load_encoder(path: Path) -> MaskedAutoencoder:
    """Read an encoder that `save_encoder` wrote, on the CPU, ready to embed; raises ValueError for any other file."""
    tensors, header = _read(path, ENCODER_FORMAT)
    return _with_weights(MaeConfig.from_dict(json.loads(header["config"])), tensors)


def read_encoder_metadata(path: Path) -> dict[str, str]:
    """Read the header alone: the metadata given to `save_encoder`, and format, config and losses (JSON)."""
    return _read_header(path, ENCODER_FORMAT)


def write_training_state(path: Path, state: TrainingState, fingerprint: str) -> None:
    """Write a training checkpoint; the fingerprint names the config, recipe and slices it belongs to."""
    progress = {"step": state.step, "losses": state.losses, "epoch_loss": state.epoch_loss}
    header = {"format": TRAINING_FORMAT, "fingerprint": fingerprint, "progress": json.dumps(progress)}
    _write(path, state.tensors, header)


def read_training_state(path: Path, fingerprint: str) -> TrainingState:
    """Read a training checkpoint; raises ValueError where it is broken or belongs to another run."""
    if _read_header(path, TRAINING_FORMAT)["fingerprint"] != fingerprint:
        raise ValueError(f"{path}: it was made under another config, recipe or set of slices")
    tensors, header = _read(path, TRAINING_FORMAT)
    return TrainingState(tensors, **json.loads(header["progress"]))


def _with_weights(config: MaeConfig, state: dict[str, Tensor]) -> MaskedAutoencoder:
    model = MaskedAutoencoder(config)
    model.load_state_dict(state)
    return model.eval()


def _write(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write to a temporary neighbour, flush it to the disk, then rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, temporary, metadata=header)
    _flush(temporary)
    temporary.replace(path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_header(path: Path, wanted: str) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path}: wanted a file of format {wanted}, found '{error}'; train the encoder again"
        ) from error
    if header.get("format") != wanted:
        raise ValueError(f"{path}: wanted format {wanted}, found {header.get('format')}; train the encoder again")
    return header


def _read(path: Path, wanted: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    header = _read_header(path, wanted)
    with safe_open(path, framework="pt") as file:
        tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return tensors, header
