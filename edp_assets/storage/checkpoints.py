"""Trained encoders as safetensors files (no pickle), one a partition, with their provenance in the header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from edp_assets.storage.lake import Cell, LakeError, Provenance, cell_path

if TYPE_CHECKING:
    from edp_assets.science.encoders.checkpoints import TrainedEncoder

HEADER_LIMIT = 100_000_000


@dataclass
class StoredEncoder:
    """What an encoder asset hands over to be stored."""

    trained: TrainedEncoder
    metadata: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """Encoder files under one root: `checkpoints/mae/encoder/organ=liver/encoder.safetensors`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, asset: tuple[str, ...], cell: Cell) -> Path:
        """Return the file of one trained encoder."""
        return cell_path(self.root.joinpath(*asset), cell) / "encoder.safetensors"

    def training_path(self, asset: tuple[str, ...], cell: Cell) -> Path:
        """Return the file that training in progress is resumed from."""
        return self.path(asset, cell).with_name("training.safetensors")

    def folder(self, asset: tuple[str, ...], cell: Cell) -> Path:
        """Return the partition's folder, made if it is not there: what is half done lies in it."""
        folder = self.path(asset, cell).parent
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def cells(self, asset: tuple[str, ...]) -> list[Cell]:
        """Return the stored partitions of an asset, sorted."""
        folder = self.root.joinpath(*asset)
        found = []
        for file in folder.glob("**/encoder.safetensors"):
            parts = [part.split("=", 1) for part in file.parent.relative_to(folder).parts]
            found.append(tuple((name, unquote(key)) for name, key in parts))
        return sorted(found)

    def write(self, asset: tuple[str, ...], cell: Cell, trained: TrainedEncoder, inputs: str) -> Provenance:
        """Store a trained encoder atomically."""
        from edp_assets.science.encoders.checkpoints import save_encoder

        path = self.path(asset, cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(json.dumps([trained.config.to_dict(), trained.pixel_mm], sort_keys=True).encode())
        for name, tensor in sorted(trained.state.items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        provenance = Provenance.of(inputs, digest.hexdigest(), len(trained.state))
        save_encoder(path, trained, {"edp": provenance.to_json()})
        return provenance

    def provenance(self, asset: tuple[str, ...], cell: Cell) -> Provenance | None:
        """Return a stored encoder's provenance; None where it is absent or damaged."""
        try:
            metadata = read_header(self.path(asset, cell)).get("__metadata__", {})
        except (FileNotFoundError, ValueError):
            return None
        return Provenance.from_json(metadata["edp"]) if "edp" in metadata else None


def read_header(path: Path) -> dict[str, Any]:
    """Read a safetensors header without importing torch; raises ValueError where the file is none."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 0 < size < HEADER_LIMIT:
            raise ValueError(f"{path} is not a safetensors file")
        header: dict[str, Any] = json.loads(file.read(size))
    return header


class CheckpointPartitions(Mapping[Cell, Path]):
    """The trained encoders upstream of an asset, as paths."""

    def __init__(self, checkpoints: Checkpoints, asset: tuple[str, ...], cells: Iterable[Cell]) -> None:
        self.checkpoints, self.asset = checkpoints, asset
        self._cells = sorted(cells)

    def __getitem__(self, cell: Cell) -> Path:
        path = self.checkpoints.path(self.asset, cell)
        if not path.exists():
            raise LakeError(f"{path} is not there: materialise {'/'.join(self.asset)} {dict(cell)} first")
        return path

    def __iter__(self) -> Iterator[Cell]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)
