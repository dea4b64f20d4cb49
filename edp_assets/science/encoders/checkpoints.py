"""Encoder and training-state files: safetensors with JSON in the header, never pickle; written whole or not at all."""

from __future__ import annotations

import importlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from edp_assets.science.encoders.interface import EncoderConfig
from edp_assets.seal import BLANK, KEY, SealError, check_body, check_head, seal

ENCODER_FORMAT = "edp_assets.encoder/2"
FIRST_FORMAT = "edp_assets.mae/1"
"""Files of before there were other kinds; they hold a masked autoencoder."""
TRAINING_FORMAT = "edp_assets.training/2"
KINDS = {
    "mae": ("edp_assets.science.encoders.mae", "MaeConfig", "MaskedAutoencoder"),
    "video_mae": ("edp_assets.science.encoders.video_mae", "VideoMaeConfig", "VideoMaskedAutoencoder"),
    "imagenet": ("edp_assets.science.encoders.imagenet", "ImagenetConfig", "ImagenetEncoder"),
}
"""Module, config and model of each kind; imported where a file or a run of that kind is met."""
_RESERVED = ("format", "kind", "config", "losses", "pixel_mm", KEY)


@dataclass(frozen=True)
class TrainedEncoder:
    """An encoder's weights, and how training went.

    Attributes:
        config: its shape, of any kind.
        state: its weights by name, on the CPU.
        losses: mean loss of each epoch; empty where nothing was trained.
        images_per_second: items trained on a second, of the run that finished; 0 where nothing was left to do.
        resumed_from_step: the step that this run took up from a checkpoint; 0 for a fresh start.
        pixel_mm: pixel size of the slices it was trained on; None: whatever the scans have.
    """

    config: EncoderConfig
    state: dict[str, Tensor]
    losses: list[float]
    images_per_second: float = 0.0
    resumed_from_step: int = 0
    pixel_mm: float | None = None

    def model(self) -> Any:
        """Return the encoder with these weights, ready to embed."""
        return _with_weights(self.config, self.state)


@dataclass(frozen=True)
class TrainingState:
    """What a training run needs to go on: tensors (weights and AdamW's moments) after `step` steps.

    Attributes:
        tensors: `model.<name>`, `exp_avg.<name>`, `exp_avg_sq.<name>`.
        step: steps done.
        losses: mean loss of each finished epoch.
        epoch_loss: sum of the losses of the items seen in the unfinished epoch.
    """

    tensors: dict[str, Tensor]
    step: int
    losses: list[float]
    epoch_loss: float


def encoder_classes(kind: str) -> tuple[Any, Any]:
    """Return the config's and the model's class of a kind; raises ValueError for a kind that is none."""
    if kind not in KINDS:
        raise ValueError(f"wanted an encoder of kind {', '.join(KINDS)}, found {kind!r}")
    module, config, model = KINDS[kind]
    found = importlib.import_module(module)
    return getattr(found, config), getattr(found, model)


def build(config: EncoderConfig, seed: int = 0) -> Any:
    """Return the model of a config, weights drawn from the seed, on the CPU, in training mode."""
    return encoder_classes(config.kind)[1](config, seed)


def untrained(config: EncoderConfig, seed: int = 0) -> Any:
    """Return an encoder of the same shape with random weights: the control that training must beat."""
    return build(config, seed).eval()


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
        "kind": trained.config.kind,
        "config": json.dumps(trained.config.to_dict()),
        "losses": json.dumps(trained.losses),
        "pixel_mm": json.dumps(trained.pixel_mm),
    }
    _write(path, trained.state, {**metadata, **header})


def load_encoder(path: Path) -> Any:
    """Read an encoder that `save_encoder` wrote, on the CPU, ready to embed; raises ValueError for any other file."""
    tensors, header = _read(path, (ENCODER_FORMAT, FIRST_FORMAT))
    return _with_weights(_config_of(header), tensors)


def read_trained(path: Path) -> TrainedEncoder:
    """Read an encoder that `save_encoder` wrote as it was handed over; its speed and resumption are not kept."""
    tensors, header = _read(path, (ENCODER_FORMAT, FIRST_FORMAT))
    pixel_mm = json.loads(header.get("pixel_mm", "null"))
    return TrainedEncoder(_config_of(header), tensors, json.loads(header["losses"]), pixel_mm=pixel_mm)


def read_encoder_config(path: Path) -> Any:
    """Read the config alone: what an encoder's items look like, without its weights."""
    return _config_of(_read_header(path, (ENCODER_FORMAT, FIRST_FORMAT)))


def read_pixel_mm(path: Path) -> float | None:
    """Read the pixel size that scans are brought to before this encoder sees them; None: left as they are."""
    pixel: float | None = json.loads(_read_header(path, (ENCODER_FORMAT, FIRST_FORMAT)).get("pixel_mm", "null"))
    return pixel


def read_encoder_metadata(path: Path) -> dict[str, str]:
    """Read the header alone: the metadata given to `save_encoder`, and format, kind, config and losses (JSON)."""
    return _read_header(path, (ENCODER_FORMAT, FIRST_FORMAT))


def write_training_state(path: Path, state: TrainingState, fingerprint: str) -> None:
    """Write a training checkpoint; the fingerprint names the config, recipe and slices it belongs to."""
    progress = {"step": state.step, "losses": state.losses, "epoch_loss": state.epoch_loss}
    header = {"format": TRAINING_FORMAT, "fingerprint": fingerprint, "progress": json.dumps(progress)}
    _write(path, state.tensors, header)


def read_training_state(path: Path, fingerprint: str) -> TrainingState:
    """Read a training checkpoint; raises ValueError where it is broken or belongs to another run."""
    if _read_header(path, (TRAINING_FORMAT,))["fingerprint"] != fingerprint:
        raise ValueError(f"{path}: it was made under another config, recipe or set of slices")
    tensors, header = _read(path, (TRAINING_FORMAT,))
    return TrainingState(tensors, **json.loads(header["progress"]))


def _config_of(header: dict[str, str]) -> Any:
    return encoder_classes(header.get("kind", "mae"))[0].from_dict(json.loads(header["config"]))


def _with_weights(config: EncoderConfig, state: dict[str, Tensor]) -> Any:
    model = build(config)
    model.load_state_dict(state)
    return model.eval()


def _write(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write to a temporary neighbour, seal it, flush it to the disk, then rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(whole, temporary, metadata={**header, KEY: BLANK})
        seal(temporary, 0, header_end(temporary))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush(path.parent)


def header_end(path: Path) -> int:
    """Return where a safetensors file's header ends, bytes; raises SealError where there is none."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        end = file.seek(0, os.SEEK_END)
    if not 0 < length <= end - 8:
        raise SealError("it does not begin as a safetensors file does")
    return 8 + length


def check_encoder(path: Path) -> None:
    """Read all of a file and raise SealError where it is not as it was written; files of before seals pass."""
    end = header_end(path)
    with path.open("rb") as file:
        head = file.read(end)
        wanted = check_head(head)
        if wanted is not None:
            check_body(file, 0, end, wanted)
            return
    try:
        json.loads(head[8:])
    except ValueError as error:
        raise SealError(f"its header cannot be read: {error}") from None


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_header(path: Path, wanted: tuple[str, ...]) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path}: wanted a file of format {wanted[0]}, found '{error}'; train the encoder again"
        ) from error
    if header.get("format") not in wanted:
        raise ValueError(f"{path}: wanted format {wanted[0]}, found {header.get('format')}; train the encoder again")
    return header


def _read(path: Path, wanted: tuple[str, ...]) -> tuple[dict[str, Tensor], dict[str, str]]:
    header = _read_header(path, wanted)
    try:
        check_encoder(path)
    except SealError as error:
        raise ValueError(f"{path} is damaged: {error}; delete it, it is made again") from None
    with safe_open(path, framework="pt") as file:
        tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return tensors, header
