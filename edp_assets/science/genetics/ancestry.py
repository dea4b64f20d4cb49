"""Genotype principal components: the leading eigenvectors of people's genetic relationship, by randomised passes.

Which variants they are of is `ancestry_variants.py`, who is related `kinship.py`.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edp_assets.science.genetics.hard_calls import HardCalls

log = logging.getLogger(__name__)

OVERSAMPLING = 20
"""Directions followed beyond those asked for: they make the passes converge."""

MAX_PASSES = 30
TOLERANCE = 1e-4
"""A relative change of every eigenvalue from one pass to the next that ends the passes."""


@dataclass(frozen=True)
class PrincipalComponents:
    """Genotype PCs.

    Attributes:
        scores: (n_participants, n_components), of unit length over those they are of; the entry of largest size among
            these is positive in each.
        eigenvalues: (n_components,) of the genetic relationship matrix XX'/M, descending (plink2's .eigenval).
        passes: how often the genotypes were read.
        converged: whether the eigenvalues stood still within TOLERANCE; where the last components are noise, whose
            eigenvalues lie close together, they may not.
    """

    scores: NDArray[np.float64]
    eigenvalues: NDArray[np.float64]
    passes: int
    converged: bool


def principal_components(
    calls: HardCalls, n_components: int, *, seed: int = 0, among: NDArray[np.bool_] | None = None
) -> PrincipalComponents:
    """Compute genotype PCs of some people and project the others on them.

    Genotypes are standardised as g -> (g - 2p) / sqrt(2p(1-p)), p among the people the PCs are of, a missing call as
    the mean (plink2 --pca; Price et al. 2006). The eigenvectors of XX'/M are found by subspace iteration from a random
    start (Halko et al. 2011), with Ritz values at each pass. Those left out of `among` are projected: x'V/lambda, which
    shrinks them towards 0 where variants are few. Memory: a block of genotypes and 3 x (n_components + OVERSAMPLING)
    numbers a participant.

    Args:
        calls: genotypes of M variants.
        n_components: how many.
        seed: of the random start; the same seed gives the same numbers on the same machine.
        among: (n_participants,) True for those the PCs are of; None: all.

    Raises:
        ValueError: fewer people or variants than components.
    """
    n = calls.n_participants
    among = np.ones(n, bool) if among is None else among
    fewest = min(int(among.sum()) - 1, calls.n_variants)
    if n_components > fewest:
        raise ValueError(
            f"{n_components} principal components need more people and at least as many variants; found "
            f"{int(among.sum())} unrelated people and {calls.n_variants} variants. Ask for fewer ([ancestry] pcs)."
        )
    log.info("%d genotype PCs of %d people over %d variants", n_components, among.sum(), calls.n_variants)
    meaning = [_standardised(calls.codes(variants)[:, among]) for variants in calls.blocks()]
    varying = sum(int(np.any(values != 0, axis=1).sum()) for values in meaning)
    width = min(n_components + OVERSAMPLING, fewest)
    Q = _orthonormal(np.random.default_rng(seed).standard_normal((n, width)), among)
    before, passes, converged, told = np.zeros(n_components), 0, False, time.monotonic()
    while not converged and passes < MAX_PASSES:
        Y = np.zeros((n, width))
        small = Q.astype(np.float32)
        for variants, values in zip(calls.blocks(), meaning, strict=True):
            X = calls.decode(variants, values)
            Y += X.T @ (X @ small)
        Y /= max(varying, 1)
        passes += 1
        theta, U = np.linalg.eigh(Q.T @ Y)  # rows of Q are 0 outside `among`
        theta, U = theta[::-1], U[:, ::-1]
        largest = theta[:n_components]
        converged = bool(np.all(np.abs(largest - before) <= TOLERANCE * np.abs(largest)))
        before = largest
        Y = Y @ U
        if time.monotonic() - told > 60:
            told = time.monotonic()
            log.info("genotype PCs: pass %d of at most %d", passes, MAX_PASSES)
        Q = _orthonormal(Y, among)
    scores = Y[:, :n_components] / np.linalg.norm(Y[among, :n_components], axis=0)
    top = np.abs(scores * among[:, None]).argmax(axis=0)
    scores *= np.sign(scores[top, np.arange(n_components)])
    return PrincipalComponents(scores, before, passes, converged)


def _standardised(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what 0, 1, 2 copies and a missing call become, (n_variants, 4); all 0 where a variant does not vary."""
    counts = np.stack([np.count_nonzero(codes == call, axis=1) for call in (0, 1, 2)], axis=1)
    called = counts.sum(axis=1)
    p = (counts[:, 1] + 2 * counts[:, 2]) / np.maximum(2 * called, 1)
    spread = np.sqrt(2 * p * (1 - p))
    values = (np.arange(3) - 2 * p[:, None]) / np.where(spread > 0, spread, np.inf)[:, None]
    return np.concatenate([values, np.zeros((len(p), 1))], axis=1).astype(np.float32)


def _orthonormal(Y: NDArray[np.float64], among: NDArray[np.bool_]) -> NDArray[np.float64]:
    Q = np.zeros_like(Y)
    Q[among] = np.linalg.qr(Y[among])[0]
    return Q
