"""Genotype principal components: the leading eigenvectors of people's genetic relationship, by randomised passes.

Which variants they are of is `ancestry_variants.py`, who is related `kinship.py`.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edp_assets.science.genetics.hard_calls import HardCalls

log = logging.getLogger(__name__)

OVERSAMPLING = 20
"""Directions followed beyond those asked for: they make the iterations converge."""

ITERATIONS = 12
"""Most iterations, of one pass each; a few passes more begin and end them."""

TOLERANCE = 0.01
"""Largest length of XX'v/M - lambda v, relative to lambda, of a converged component."""


@dataclass(frozen=True)
class PrincipalComponents:
    """Genotype PCs.

    Attributes:
        scores: (n_participants, n_components), of unit length over those they are of; the entry of largest size among
            these is positive in each.
        eigenvalues: (n_components,) of the genetic relationship matrix XX'/M, descending (plink2's .eigenval).
        passes: how often the genotypes were read.
        converged: whether every component is an eigenvector within TOLERANCE; the last ones may not be where they are
            noise, whose eigenvalues lie close together.
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
    the mean (plink2 --pca; Price et al. 2006). The eigenvectors of XX'/M are found from a random start by LOBPCG
    (Knyazev 2001; scipy's), whose every iteration is one pass over the genotypes. Those left out of `among` are
    projected by the variants' loadings, which shrinks them towards 0 where variants are few. Memory: a block of
    genotypes and about 10 x (n_components + OVERSAMPLING) numbers a participant.

    Args:
        calls: genotypes of M variants.
        n_components: how many.
        seed: of the random start; the same seed gives the same numbers on the same machine.
        among: (n_participants,) True for those the PCs are of; None: all.

    Raises:
        ValueError: fewer people or variants than components.
    """
    from scipy.sparse.linalg import LinearOperator, lobpcg

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
    passes = 0

    def relationship(Q: NDArray[np.float64]) -> NDArray[np.float64]:
        """Multiply by XX'/M: one pass over the genotypes."""
        nonlocal passes
        small, Y = np.asarray(Q, np.float32).reshape(n, -1), np.zeros((n, Q.size // n))
        for variants, values in zip(calls.blocks(), meaning, strict=True):
            X = calls.decode(variants, values)
            Y += X.T @ (X @ small)
        passes += 1
        return Y / max(varying, 1)

    def among_them(Q: NDArray[np.float64]) -> NDArray[np.float64]:
        return relationship(Q) * among[:, None]

    start = np.random.default_rng(seed).standard_normal((n, width)) * among[:, None]
    operator = LinearOperator((n, n), matvec=among_them, matmat=among_them, dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how well it has converged is told below
        theta, V = lobpcg(operator, np.linalg.qr(start)[0], largest=True, maxiter=ITERATIONS)
    largest = np.argsort(-theta)[:n_components]
    theta, V = theta[largest], np.asarray(V, np.float64)[:, largest]
    Y = relationship(V)  # what projects the others
    residual = np.linalg.norm((Y - V * theta)[among], axis=0) / theta
    log.info("genotype PCs: %d passes, eigenvalues %s", passes, " ".join(f"{value:.4g}" for value in theta))
    scores = Y[:, :n_components] / np.linalg.norm(Y[among, :n_components], axis=0)
    top = np.abs(scores * among[:, None]).argmax(axis=0)
    scores *= np.sign(scores[top, np.arange(n_components)])
    return PrincipalComponents(scores, theta, passes, bool(residual.max() <= TOLERANCE))


def _standardised(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what 0, 1, 2 copies and a missing call become, (n_variants, 4); all 0 where a variant does not vary."""
    counts = np.stack([np.count_nonzero(codes == call, axis=1) for call in (0, 1, 2)], axis=1)
    called = counts.sum(axis=1)
    p = (counts[:, 1] + 2 * counts[:, 2]) / np.maximum(2 * called, 1)
    spread = np.sqrt(2 * p * (1 - p))
    values = (np.arange(3) - 2 * p[:, None]) / np.where(spread > 0, spread, np.inf)[:, None]
    return np.concatenate([values, np.zeros((len(p), 1))], axis=1).astype(np.float32)
