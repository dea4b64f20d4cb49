"""Few-shot phenotypes (paper, section 4.4): a small share of a code's positive labels kept, the images all there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def keep_labels(eids: Sequence[str], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose which positives keep their label: a random `fraction`, rounded, of them, and one at the least.

    Each person's draw depends on the seed and the person alone: the same people are kept whatever their order, for
    every organ and encoder, and one case more or less changes at most the last one chosen.

    Args:
        eids: the positives, each once.
        fraction: share kept, above 0 and at most 1 (paper: 0.02).
        seed: another one keeps others.

    Returns:
        (n_positives,) True where the label is kept.

    Raises:
        ValueError: `fraction` is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction of labels kept: wanted above 0 and at most 1, found {fraction}")
    kept = np.zeros(len(eids), dtype=bool)
    draws = [hashlib.blake2b(f"{seed} {eid}".encode(), digest_size=8).digest() for eid in eids]
    order = sorted(range(len(eids)), key=draws.__getitem__)
    kept[order[: max(1, round(fraction * len(eids)))]] = True
    return kept
