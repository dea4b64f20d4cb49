"""The error of a phenotype that cannot be made, and the checks that every phenotype shares; no statistics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class PhenotypeError(ValueError):
    """A phenotype that cannot be computed; the message is a short reason, fit for the `reason` column of a table."""


def checked_embeddings(z: NDArray) -> NDArray[np.float64]:
    """Return embeddings (n_participants, n_dims) as float64.

    Raises:
        PhenotypeError: `z` is not two-dimensional, is empty or holds a NaN or infinity.
    """
    z = np.asarray(z, dtype=np.float64)
    if z.ndim != 2 or 0 in z.shape:
        raise PhenotypeError(f"embeddings must be (n_participants, n_dims), found shape {z.shape}")
    bad = int((~np.isfinite(z).all(axis=1)).sum())
    if bad:
        raise PhenotypeError(f"embeddings of {bad} of {len(z)} participants hold NaN or infinity: leave these out")
    return z


def checked_mask(mask: NDArray[np.bool_], n_participants: int, name: str = "cases") -> NDArray[np.bool_]:
    """Return a boolean mask (n_participants,).

    Raises:
        PhenotypeError: the mask is not boolean or not one value a participant.
    """
    mask = np.asarray(mask)
    if mask.dtype != np.bool_ or mask.shape != (n_participants,):
        raise PhenotypeError(
            f"{name} must be boolean, one a participant ({n_participants}), found {mask.dtype} of shape {mask.shape}"
        )
    return mask


def unit_rows(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return embeddings (n_participants, n_dims) scaled to length one, which cosine similarity is of.

    Raises:
        PhenotypeError: an embedding has norm zero.
    """
    norms = np.linalg.norm(z, axis=1, keepdims=True)
    zero = int((norms == 0).sum())
    if zero:
        raise PhenotypeError(f"{zero} embeddings have norm zero: cosine similarity is not defined")
    return z / norms
