"""Trained encoders as safetensors files (no pickle), one a partition, with their provenance in the header.

Training in progress lies on this machine, whichever store the encoders are in.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edp_assets.seal import SealError, check_body, check_head
from edp_assets.storage.cells import ASIDE, Location, MissingError, fetch, said, set_aside, stored_files
from edp_assets.storage.disk import full_disk_told
from edp_assets.storage.lake import Cell, DamagedError, LakeError, Provenance, cell_path

if TYPE_CHECKING:
    from edp_assets.science.encoders.checkpoints import TrainedEncoder

log = logging.getLogger(__name__)

FILE = "encoder.safetensors"
HEADER_LIMIT = 100_000_000


@dataclass
class StoredEncoder:
    """What an encoder asset hands over to be stored."""

    trained: TrainedEncoder
    metadata: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """Encoder files under one root: `checkpoints/mae/encoder/organ=liver/encoder.safetensors`."""

    def __init__(self, root: Location, local: Path | None = None) -> None:
        """Open the checkpoints.

        Args:
            root: their folder, or their prefix in an object store.
            local: the folder of what is on this machine alone, which a root in an object store needs.
        """
        self.root = root
        folder = root if isinstance(root, Path) else local
        if folder is None:
            raise LakeError(f"{root} is no folder: checkpoints there need a local folder to train in")
        self.local: Path = folder

    def path(self, asset: tuple[str, ...], cell: Cell) -> Location:
        """Return where one trained encoder is stored."""
        return cell_path(self.root.joinpath(*asset), cell) / FILE

    def training_path(self, asset: tuple[str, ...], cell: Cell) -> Path:
        """Return the file that training in progress is resumed from."""
        return self._local_path(asset, cell).with_name("training.safetensors")

    def folder(self, asset: tuple[str, ...], cell: Cell) -> Path:
        """Return the partition's local folder, made if it is not there: what is half done lies in it."""
        folder = self._local_path(asset, cell).parent
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def cells(self, asset: tuple[str, ...]) -> list[Cell]:
        """Return the stored partitions of an asset, sorted."""
        return list(stored_files(self.root.joinpath(*asset), FILE))

    def set_aside(self, asset: tuple[str, ...]) -> list[Cell]:
        """Return the cells that are not stored because their file was damaged and set aside."""
        there = stored_files(self.root.joinpath(*asset), f"{FILE}{ASIDE}")
        return [cell for cell in there if not self.path(asset, cell).exists()]

    def write(self, asset: tuple[str, ...], cell: Cell, trained: TrainedEncoder, inputs: str) -> Provenance:
        """Store a trained encoder atomically."""
        from edp_assets.science.encoders.checkpoints import save_encoder

        path, local = self.path(asset, cell), self._local_path(asset, cell)
        digest = hashlib.sha256(json.dumps([trained.config.to_dict(), trained.pixel_mm], sort_keys=True).encode())
        for name, tensor in sorted(trained.state.items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        provenance = Provenance.of(inputs, digest.hexdigest(), len(trained.state))
        with full_disk_told(local):
            save_encoder(local, trained, {"edp": provenance.to_json()})
            if not isinstance(path, Path):  # the local file stays, so that this machine need not fetch it
                path.fs.put_file(str(local), path.path)
        return provenance

    def provenance(self, asset: tuple[str, ...], cell: Cell) -> Provenance | None:
        """Return a stored encoder's provenance; None where it is absent or damaged (it is then set aside)."""
        path = self.path(asset, cell)
        try:
            return _provenance(path)
        except FileNotFoundError:
            return None
        except ValueError as error:
            log.warning("%s", self._damaged(asset, cell, str(error)))
            return None

    def file(self, asset: tuple[str, ...], cell: Cell) -> Path:
        """Return a trained encoder as a local file, read to its end and found undamaged.

        Raises:
            LakeError: it is absent.
            DamagedError: it is damaged; it has been set aside.
        """
        path, local = self.path(asset, cell), self._local_path(asset, cell)
        try:
            if not isinstance(path, Path) and (not local.exists() or damage(local) or not _same(path, local)):
                with full_disk_told(local):
                    fetch(path, local)
            why = damage(local)
        except FileNotFoundError:
            if path.with_name(path.name + ASIDE).exists():
                raise DamagedError(asset, cell, path, "found when it was read") from None
            raise MissingError(f"{path} is not there: materialise {said(asset, cell)} first") from None
        except ValueError as error:
            raise self._damaged(asset, cell, str(error)) from None
        if why is not None:
            raise self._damaged(asset, cell, why)
        return local

    def _local_path(self, asset: tuple[str, ...], cell: Cell) -> Path:
        return cell_path(self.local.joinpath(*asset), cell) / FILE

    def _damaged(self, asset: tuple[str, ...], cell: Cell, why: str) -> DamagedError:
        path = self.path(asset, cell)
        set_aside(path)
        return DamagedError(asset, cell, path, why)


def damage(path: Location) -> str | None:
    """Read all of an encoder's file and say what is wrong with it; None where it is as it was written."""
    try:
        head = _head(path)
        wanted = check_head(head)
        if wanted is not None:
            with path.open("rb") as file:
                check_body(file, 0, len(head), wanted)
        json.loads(head[8:])
    except ValueError as error:
        return str(error)
    return None


def read_header(path: Location) -> dict[str, Any]:
    """Read a safetensors header without importing torch; raises ValueError where the file is none, or damaged."""
    head = _head(path)
    check_head(head)
    header: dict[str, Any] = json.loads(head[8:])
    return header


def _head(path: Location) -> bytes:
    with path.open("rb") as file:
        first: bytes = file.read(8)
        size = int.from_bytes(first, "little")
        if not 0 < size < HEADER_LIMIT:
            raise SealError(f"{path} does not begin as a safetensors file does")
        head: bytes = first + file.read(size)
    if len(head) < 8 + size:
        raise SealError(f"{path} ends within its header")
    return head


def _provenance(path: Location) -> Provenance | None:
    metadata = read_header(path).get("__metadata__", {})
    return Provenance.from_json(metadata["edp"]) if "edp" in metadata else None


def _same(one: Location, other: Location) -> bool:
    """Return whether two files hold the same encoder: their headers say so, which hold its checksum."""
    return _head(one) == _head(other)


class CheckpointPartitions(Mapping[Cell, Path]):
    """The trained encoders upstream of an asset, as local files."""

    def __init__(self, checkpoints: Checkpoints, asset: tuple[str, ...], cells: Iterable[Cell]) -> None:
        self.checkpoints, self.asset = checkpoints, asset
        self._cells = sorted(cells)

    def __getitem__(self, cell: Cell) -> Path:
        return self.checkpoints.file(self.asset, cell)

    def __iter__(self) -> Iterator[Cell]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)
