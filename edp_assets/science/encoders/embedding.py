"""Embedding scans with a trained encoder; what is then done with embeddings belongs to phenotypes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from edp_assets.science.encoders.mae import MaskedAutoencoder


def embed_scans(
    encoder: MaskedAutoencoder, scans: Iterable[tuple[str, NDArray[np.uint8]]], batch_size: int
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield each scan's embedding, the mean over its slices (appendix A.1), in the order the scans come.

    Batches are filled across scans, so that scans of few slices do not leave the device idle; the result does not
    depend on them. A batch and a scan are held at a time. Multiplied in float32: phenotypes rest on small differences.

    Args:
        encoder: on any device; its mode is set to evaluation.
        scans: name and uint8 slices (n_slices, n_channels, resolution, resolution), any number of slices each.
        batch_size: slices a forward pass.

    Yields:
        The scan's name and its embedding (width,).

    Raises:
        ValueError: a scan without slices, or slices of another shape than the encoder's.
    """
    if batch_size < 1:
        raise ValueError(f"wanted a batch size of at least 1, found {batch_size}")
    encoder.eval()
    device = encoder.cls_token.device
    waiting: list[_Scan] = []
    batch: list[tuple[_Scan, NDArray[np.uint8]]] = []
    held = 0
    for name, slices in scans:
        if not len(slices):
            raise ValueError("wanted at least one slice a scan, found a scan with none; exclude it first")
        scan = _Scan(name, len(slices), np.zeros(encoder.config.width))
        waiting.append(scan)
        first = 0
        while first < len(slices):
            piece = slices[first : first + batch_size - held]
            batch.append((scan, piece))
            first, held = first + len(piece), held + len(piece)
            if held == batch_size:
                _embed_batch(encoder, batch, device)
                batch, held = [], 0
        while waiting and waiting[0].seen == waiting[0].n_slices:
            yield waiting.pop(0).mean()
    if batch:
        _embed_batch(encoder, batch, device)
    for scan in waiting:
        yield scan.mean()


class _Scan:
    """A scan on its way: the sum of its slices' embeddings so far, in float64."""

    def __init__(self, name: str, n_slices: int, total: NDArray[np.float64]) -> None:
        self.name, self.n_slices, self.total, self.seen = name, n_slices, total, 0

    def mean(self) -> tuple[str, NDArray[np.float32]]:
        return self.name, (self.total / self.n_slices).astype(np.float32)


def _embed_batch(
    encoder: MaskedAutoencoder, batch: list[tuple[_Scan, NDArray[np.uint8]]], device: torch.device
) -> None:
    """Embed the pieces of several scans in one forward pass and add them to their scans."""
    images = torch.from_numpy(np.concatenate([piece for _, piece in batch])).to(device)
    with torch.inference_mode():
        z = encoder.embed(images).double().cpu().numpy()
    first = 0
    for scan, piece in batch:
        scan.total += z[first : first + len(piece)].sum(axis=0)
        scan.seen += len(piece)
        first += len(piece)
