"""The projection GWAS: one pass over the genotypes an organ, then every linear score of its embeddings for free.

A score that is linear in the basis columns Z, y = Zw, has G'y = (G'Z)w. So G'W, with W an orthonormal basis of Z less
covariates, and the genotypes' residual sums of squares give the association of every such score exactly, at a cost in
dimensions and not in participants. It needs one set of participants an organ and mean-imputed genotypes. The same
statistics from the participants themselves are in `regression.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from edp_assets.science.genetics.regression import (
    Association,
    linear_statistics,
    phenotype_residuals,
    sums_of_squares_left,
)
from edp_assets.science.genetics.variant_qc import VariantStats, centre, variant_stats

SMALLEST_SINGULAR_VALUE = 1e-11
"""Singular value of the columns at unit length, relative to the largest, under which a direction is dropped.

Rounding makes singular values of about n_dims x 2e-16, 1e-13 for hundreds of columns: what is kept stands above it.
Embeddings in float32 have none under 1e-8 but exact duplicates. (Eigenvalues of Z'Z would lose half of the digits, and
with them directions under 1e-6, where [z, z/|z|] of collinear embeddings has some.) A score that does live in a dropped
direction shows as `outside` in `score_coordinates` and is refused, never answered wrongly.
"""

LARGEST_OUTSIDE = 1e-6
"""Share of a score's variance outside the basis above which its projected association is not exact: refuse it."""

_SCORES_AT_ONCE = 64  # of everybody: what is worked on stays near the processor
_VARIANTS_AT_ONCE = 16384  # bounds the float64 copies in `associate`


@dataclass(frozen=True)
class ProjectedBlock:
    """What a block of variants leaves of the participants.

    Attributes:
        gz: (n_variants, n_components) float32, genotypes times the basis.
        gg: (n_variants,) sums of squares of the genotypes less covariates; 0 where a variant cannot be tested.
        stats: the variants' counts over these participants.
    """

    gz: NDArray[np.float32]
    gg: NDArray[np.float64]
    stats: VariantStats

    @property
    def effect_allele_frequency(self) -> NDArray[np.float64]:
        """Frequency of the effect allele, (n_variants,)."""
        return self.stats.effect_allele_frequency

    @property
    def missing(self) -> NDArray[np.float64]:
        """Share of participants without a call, (n_variants,)."""
        return self.stats.missing

    @property
    def n(self) -> int:
        """Participants in the association, mean-imputed ones included: what `associate` takes."""
        return self.stats.n_participants


def whitened_basis(Z: NDArray[np.floating[Any]], Q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an orthonormal basis of the columns of Z less covariates.

    By a QR decomposition of [Q, Z] in float64, so that W is orthonormal and orthogonal to Q to about 1e-15 whatever the
    condition number of Z, then a singular value decomposition of its small triangle. Columns count at unit length, so
    that a volume in ml beside embeddings near 1 decides nothing.

    Args:
        Z: (n_participants, n_dims) columns that scores are linear in.
        Q: (n_participants, n_covariates) from `covariate_basis`.

    Returns:
        W (n_participants, n_components): W'W = I, W'Q = 0.

    Raises:
        ValueError: missing values, unequal participants, or nothing left beside the covariates.
    """
    Z = np.asarray(Z, np.float64)
    if len(Z) != len(Q):
        raise ValueError(f"Z has {len(Z)} participants and Q {len(Q)}: wanted the same, in one order")
    if not np.isfinite(Z).all():
        bad = int(np.count_nonzero(~np.isfinite(Z).all(axis=1)))
        raise ValueError(f"{bad} of {len(Z)} participants have no finite embedding; leave them out first")
    # The part of the triangle that belongs to Z alone, less Q: its columns have the lengths of Z's residuals.
    k = Q.shape[1]
    both = np.empty((len(Z), k + Z.shape[1]), order="F")  # decomposed in place: it is as large as all embeddings
    both[:, :k], both[:, k:] = Q, Z
    orthonormal, triangle = linalg.qr(both, overwrite_a=True, mode="economic", check_finite=False)
    triangle = triangle[k:, k:]
    length = np.linalg.norm(triangle, axis=0)
    varies = length > 1e-12 * np.linalg.norm(Z, axis=0)
    if not varies.any():
        raise ValueError(f"all {Z.shape[1]} columns of Z are constant or explained by the covariates")
    U, singular, _ = np.linalg.svd(triangle[:, varies] / length[varies], full_matrices=False)
    return np.asarray(orthonormal[:, k:] @ U[:, singular > SMALLEST_SINGULAR_VALUE * singular[0]])


class Projector:
    """Projects blocks of genotypes on a basis, in float32: one matrix product a block."""

    def __init__(self, W: NDArray[np.floating[Any]], Q: NDArray[np.floating[Any]]) -> None:
        """Prepare the columns.

        Args:
            W: (n_participants, n_components) from `whitened_basis`.
            Q: (n_participants, n_covariates) from `covariate_basis`, the intercept first.
        """
        if len(W) != len(Q):
            raise ValueError(f"W has {len(W)} participants and Q {len(Q)}: wanted the same, in one order")
        self._n_components = W.shape[1]
        # W is orthogonal to Q, so the covariates need taking out of the sums of squares alone.
        self._columns = np.concatenate([W, Q[:, 1:]], axis=1, dtype=np.float32, casting="same_kind")
        # What rounding to float32 leaves of the columns' own means would count uncentred genotypes.
        self._sums = self._columns.sum(axis=0, dtype=np.float64)
        self._room = np.empty((0, len(W)), np.float32)

    def project(self, calls: NDArray[Any], stats: VariantStats | None = None) -> ProjectedBlock:
        """Project a block.

        Args:
            calls: (n_variants, n_participants) dosages, NaN where missing, or int8 hard calls, below 0 where missing;
                mean-imputed.
            stats: its counts, where they are known.
        """
        if calls.shape[1] != len(self._columns):
            raise ValueError(
                f"the block has {calls.shape[1]} participants, W {len(self._columns)}: wanted the same, in one order"
            )
        stats = variant_stats(calls) if stats is None else stats
        mean = np.nan_to_num(2 * stats.effect_allele_frequency)
        if calls.dtype == np.int8:
            g, total = self._from_calls(calls, stats, mean)
            shift = mean  # still uncentred
        else:
            g = centre(np.asarray(calls, np.float32))[0]
            # Summed in float64: what float32 sums lose here shows in every p-value.
            total = np.square(g).sum(axis=1, dtype=np.float64)
            shift = np.zeros(len(calls))
        products = g @ self._columns
        products -= (shift[:, None] * self._sums).astype(np.float32)
        gq = products[:, self._n_components :]
        return ProjectedBlock(products[:, : self._n_components], sums_of_squares_left(total, gq, stats.constant), stats)

    def _from_calls(
        self, calls: NDArray[np.int8], stats: VariantStats, mean: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return mean-imputed genotypes, and the exact sums of squares of what they are centred."""
        if len(self._room) < len(calls):
            self._room = np.empty(calls.shape, np.float32)  # kept: fresh memory costs more than filling it
        g = self._room[: len(calls)]
        np.copyto(g, calls)
        for i in np.flatnonzero(stats.missing > 0):
            g[i, calls[i] < 0] = mean[i]
        n_called = stats.called
        alleles = np.rint(mean * n_called)
        # Calls are 0, 1 and 2, so that the sum of their squares is that of the calls and twice the number of twos.
        twos = np.array([np.count_nonzero(row == 2) for row in calls], dtype=np.float64)
        return g, alleles + 2 * twos - mean * alleles


def project_block(G: NDArray[Any], W: NDArray[np.floating[Any]], Q: NDArray[np.floating[Any]]) -> ProjectedBlock:
    """Project one block; arguments as those of `Projector`, which is quicker for many."""
    return Projector(W, Q).project(G)


def score_coordinates(
    y: NDArray[np.floating[Any]], W: NDArray[np.floating[Any]], Q: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the coordinates of scores in the basis, and how much of them lies outside it.

    Args:
        y: (n_participants,) or (n_participants, n_phenotypes) scores, without gaps.
        W: (n_participants, n_components) from `whitened_basis`.
        Q: (n_participants, n_covariates) from `covariate_basis`.

    Returns:
        c (n_components,) or (n_components, n_phenotypes); yy, the sums of squares of the scores less covariates; and
        `outside`, the share of that which is not in the basis: refuse a score above `LARGEST_OUTSIDE`. The last two are
        scalars (0-d arrays) or (n_phenotypes,).
    """
    Y, basis = np.asarray(y), np.asarray(W, np.float64).T
    Y = Y[:, None] if Y.ndim == 1 else Y
    c, yy = np.empty((len(basis), Y.shape[1])), np.empty(Y.shape[1])
    for start in range(0, Y.shape[1], _SCORES_AT_ONCE):
        part = slice(start, start + _SCORES_AT_ONCE)
        residual, yy[part] = phenotype_residuals(Y[:, part], Q)
        # In float64: what float32 sums lose can pass for a share outside the basis.
        c[:, part] = basis @ (residual / np.sqrt(yy[part]))
    outside = np.maximum(1 - np.square(c).sum(axis=0), 0.0)
    c *= np.sqrt(yy)
    return (c[:, 0], yy[0], outside[0]) if np.ndim(y) == 1 else (c, yy, outside)


def associate(
    gz: NDArray[np.floating[Any]],
    gg: NDArray[np.float64],
    c: NDArray[np.float64],
    yy: NDArray[np.float64] | float,
    n: int,
    n_covariates: int,
) -> Association:
    """Return the linear regression of scores on every projected variant: beta = gz c / gg, t-test as plink2 --glm.

    Args:
        gz: (n_variants, n_components).
        gg: (n_variants,).
        c: (n_components,) or (n_components, n_phenotypes) from `score_coordinates`.
        yy: from `score_coordinates`.
        n: participants.
        n_covariates: columns of Q, the intercept among them; df = n - n_covariates - 1.

    Returns:
        Statistics (n_variants,), or (n_phenotypes, n_variants) where c has two dimensions.
    """
    coordinates = np.asarray(c, np.float64)
    single = coordinates.ndim == 1
    coordinates = coordinates[:, None] if single else coordinates
    if gz.shape != (len(gg), len(coordinates)):
        raise ValueError(f"gz is {gz.shape}: wanted ({len(gg)}, {len(coordinates)}), variants in gg by components in c")
    gy = np.empty((coordinates.shape[1], len(gg)))
    for start in range(0, len(gg), _VARIANTS_AT_ONCE):
        part = slice(start, start + _VARIANTS_AT_ONCE)
        gy[:, part] = (np.asarray(gz[part], np.float64) @ coordinates).T
    found = linear_statistics(gy, gg, np.atleast_1d(np.asarray(yy, np.float64)), n - n_covariates - 1)
    if single:
        return Association(found.beta[0], found.standard_error[0], found.neg_log_10_p_value[0])
    return found
