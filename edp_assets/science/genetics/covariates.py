"""Covariates of an association as an orthonormal basis, and taking them out of phenotypes.

Which columns are covariates is the cohort's business; here are only numbers without gaps.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

COLLINEAR = 1e-7
"""Singular value of unit-length columns, relative to the largest, under which a direction is collinear (as R's lm)."""


def indicator_columns(values: Sequence[Any] | NDArray[Any]) -> NDArray[np.float64]:
    """Return 0/1 columns (n_participants, n_levels - 1) of a categorical covariate, less its most common level."""
    levels, codes, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    others = np.delete(np.arange(len(levels)), counts.argmax())
    return (codes[:, None] == others[None, :]).astype(np.float64)


def covariate_basis(columns: Sequence[NDArray[Any]], n_participants: int | None = None) -> NDArray[np.float64]:
    """Return an orthonormal basis of the intercept and the covariates.

    Args:
        columns: covariates, each (n_participants,) or (n_participants, k), without the intercept.
        n_participants: needed only where `columns` is empty.

    Returns:
        Q (n_participants, n_covariates): Q'Q = I, the first column the intercept. Constant and collinear directions are
        dropped, and their number logged: n_covariates is the rank, which the tests' degrees of freedom need.

    Raises:
        ValueError: missing or infinite values, unequal lengths, or as many covariates as participants.
    """
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    arrays = [array[:, None] if array.ndim == 1 else array for array in arrays]
    lengths = {len(array) for array in arrays} | ({n_participants} if n_participants is not None else set())
    if len(lengths) != 1:
        raise ValueError(f"covariates must all have one value a participant; found columns of {sorted(lengths)} values")
    n = lengths.pop()
    for i, array in enumerate(arrays):
        if not np.isfinite(array).all():
            bad = int(np.count_nonzero(~np.isfinite(array).all(axis=1)))
            raise ValueError(
                f"covariate {i}: {bad} of {n} participants have no finite value; leave these participants out first"
            )
    X = np.concatenate([np.empty((n, 0)), *arrays], axis=1)
    centred = X - X.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    # A constant column of large values does not centre to exactly 0.
    varies = length > 1e-12 * np.sqrt(n) * np.abs(X).max(axis=0, initial=0.0)
    U, singular, _ = np.linalg.svd(centred[:, varies] / length[varies], full_matrices=False)
    U = U[:, singular > COLLINEAR * singular.max(initial=0.0)]
    Q = np.concatenate([np.full((n, 1), 1 / np.sqrt(n)), U], axis=1)
    dropped = X.shape[1] + 1 - Q.shape[1]
    if dropped:
        logger.info("dropped %d constant or collinear of %d covariate columns", dropped, X.shape[1])
    if Q.shape[1] >= n - 1:
        raise ValueError(f"{Q.shape[1]} covariates with the intercept leave nothing to test in {n} participants")
    return Q


def residualise(Y: NDArray[np.floating[Any]], Q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take the covariates out of Y (n_participants,) or (n_participants, k): Y - QQ'Y, in float64.

    Twice, so that what is left is orthogonal to Q to rounding even where Q explains nearly all of Y.
    """
    residual = np.asarray(Y, dtype=np.float64)
    for _ in range(2):
        residual = residual - Q @ (Q.T @ residual)
    return residual
