"""Embedding scans with an encoder of any kind; what is then done with embeddings belongs to phenotypes.

Multiplied in float32. Phenotypes weigh all directions of an embedding, small ones too, and these bfloat16 blurs: on 100
hippocampus scans (MAE, width 128) single dimensions kept a correlation of 0.9998 or more, but the 40th principal
component 0.995 and the 90th 0.92. It would have been 1.4 times as fast at ViT-S on a CPU, and slower at width 128.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edp_assets.science.encoders.interface import Encoder
from edp_assets.science.encoders.packs import ahead
from edp_assets.science.encoders.pooling import ItemStatistics, Pooling

SCANS_A_PART = 64
CPU_FORWARD_BYTES = 1 << 18
"""Input of one forward pass on a CPU: 6 slices of 2 x 144 x 144. Larger ones fall out of the caches: half as fast."""
Scan = tuple[str, NDArray[np.uint8]]
Embedding = tuple[str, NDArray[np.float32]]
PAPER = Pooling()
"""[cls], the mean over items (appendix A.1)."""


def embed_scans(
    encoder: Encoder, scans: Iterable[Scan], batch_size: int, pooling: Pooling = PAPER
) -> Iterator[Embedding]:
    """Yield each scan's embedding, pooled over its items, in the order the scans come.

    Batches are filled across scans, so that scans of few slices do not leave the device idle; the result does not
    depend on them (on a CPU to the bit, where MKL is told to repeat its products: MKL_CBWR=COMPATIBLE). The next scans
    are drawn in the background; a batch and a few scans are held at a time.

    Args:
        encoder: on any device; its mode is set to evaluation.
        scans: name and uint8 items (n_items, *item_shape), any number of items each.
        batch_size: items a forward pass, at most; on a CPU fewer where that is faster.
        pooling: which statistics of tokens and items.

    Yields:
        The scan's name and its embedding (pooling.dimensions(width),).

    Raises:
        ValueError: a scan without items, or items of another shape than the encoder's.
    """
    if batch_size < 1:
        raise ValueError(f"wanted a batch size of at least 1, found {batch_size}")
    module = _as_module(encoder).eval()
    device = next(module.parameters()).device
    if device.type == "cpu":
        batch_size = min(batch_size, max(1, CPU_FORWARD_BYTES // math.prod(encoder.config.item_shape)))
    waiting: list[_Scan] = []
    batch: list[tuple[_Scan, NDArray[np.uint8]]] = []
    held = 0
    for name, items in ahead(scans):
        if not len(items):
            raise ValueError(f"wanted at least one item a scan, found scan {name} with none; exclude it first")
        scan = _Scan(name, len(items), ItemStatistics(pooling.items, len(pooling.tokens) * encoder.config.width))
        waiting.append(scan)
        first = 0
        while first < len(items):
            piece = items[first : first + batch_size - held]
            batch.append((scan, piece))
            first, held = first + len(piece), held + len(piece)
            if held == batch_size:
                _embed_batch(encoder, batch, device, pooling, batch_size)
                batch, held = [], 0
        while waiting and waiting[0].statistics.seen == waiting[0].n_items:
            yield waiting.pop(0).embedding()
    if batch:
        _embed_batch(encoder, batch, device, pooling, batch_size)
    for scan in waiting:
        yield scan.embedding()


def embed_resumably(
    encoder: Encoder,
    names: Sequence[str],
    scans_from: Callable[[int], Iterable[Scan]],
    batch_size: int,
    journal: Path,
    version: str,
    pooling: Pooling = PAPER,
) -> Iterator[Embedding]:
    """Embed scans as `embed_scans` does, and let a killed run go on where it stopped, to the same bits.

    Finished parts of 64 scans are appended to the journal. Batches end with a part, so that a part comes out the same
    whether or not the run before it was cut. The caller deletes the journal once the embeddings are stored.

    Args:
        encoder: as for `embed_scans`.
        names: of all scans, in order.
        scans_from: gives the scans from a number on, so that a resumed run need not read those before.
        batch_size: as for `embed_scans`.
        journal: the file of finished parts.
        version: names encoder and scans, such as their content hashes; a journal of another version or pooling is begun
            afresh.
        pooling: as for `embed_scans`.

    Raises:
        ValueError: also where scans come in another order than `names` says.
    """
    dimensions = pooling.dimensions(encoder.config.width)
    start = {"version": version, "scans": len(names), "pooling": str(pooling), "dimensions": dimensions}
    header = json.dumps(start).encode() + b"\n"
    done = _finished_rows(journal, header, dimensions)
    yield from zip(names, done, strict=False)
    scans, first = iter(scans_from(len(done))), len(done)
    with journal.open("r+b") as file:
        file.seek(len(header) + done.nbytes)
        file.truncate()
        while first < len(names):
            wanted = list(names[first : first + SCANS_A_PART])
            part = list(embed_scans(encoder, islice(scans, len(wanted)), batch_size, pooling))
            if [name for name, _ in part] != wanted:
                raise ValueError(f"wanted scans {wanted[0]} to {wanted[-1]} in the order of names, found others")
            file.write(np.stack([z for _, z in part]).tobytes())
            file.flush()
            os.fsync(file.fileno())
            yield from part
            first += len(part)


def _as_module(encoder: Encoder) -> nn.Module:
    if not isinstance(encoder, nn.Module):
        raise TypeError(f"wanted an encoder that is a torch module, found {type(encoder).__name__}")
    return encoder


def _finished_rows(journal: Path, header: bytes, dimensions: int) -> NDArray[np.float32]:
    """Return the embeddings of whole parts that the journal holds; begin it where it is absent or of another run."""
    content = journal.read_bytes() if journal.exists() else b""
    if not content.startswith(header):
        journal.parent.mkdir(parents=True, exist_ok=True)
        journal.write_bytes(header)
        return np.empty((0, dimensions), np.float32)
    rows = np.frombuffer(content, np.uint8, offset=len(header))
    total = json.loads(header)["scans"]
    n = min(total, len(rows) // (4 * dimensions))
    n = n if n == total else n - n % SCANS_A_PART
    return rows[: n * 4 * dimensions].view(np.float32).reshape(n, dimensions)


@dataclass(frozen=True)
class _Scan:
    """A scan on its way, with the statistics of the items seen so far."""

    name: str
    n_items: int
    statistics: ItemStatistics

    def embedding(self) -> Embedding:
        return self.name, self.statistics.pooled()


def _embed_batch(
    encoder: Encoder,
    batch: list[tuple[_Scan, NDArray[np.uint8]]],
    device: torch.device,
    pooling: Pooling,
    batch_size: int,
) -> None:
    """Embed the pieces of several scans in one forward pass and add them to their scans.

    A batch that is not full is filled with zeros: matrix products round by their shape, and a scan's embedding is to
    be the same whoever is embedded beside it.
    """
    pieces = np.concatenate([piece for _, piece in batch])
    items = torch.zeros((batch_size, *pieces.shape[1:]), dtype=torch.uint8, device=device)
    items[: len(pieces)] = torch.from_numpy(pieces).to(device)
    with torch.inference_mode():
        z = encoder.embed(items, pooling.tokens).cpu().numpy()
    first = 0
    for scan, piece in batch:
        scan.statistics.add(z[first : first + len(piece)])
        first += len(piece)
