"""Whole-genome ridge predictions that leave one chromosome out, of many columns at once and linear in each.

Offsets of the projection GWAS: the variance that other chromosomes explain is taken out of a phenotype before a
chromosome's variants are tested. With the penalty fixed beforehand the prediction P_c y is linear in y, so that of a
basis W it serves every score y = Wk: y - P_c y = (W - P_c W) k, exactly, at no cost a score. (regenie's predictions
are not linear: it chooses penalties by the phenotype.) How scores become tests is `projection.py`; regenie's own
predictions are read by `loco.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

_PEOPLE_AT_ONCE = 2048

_LEAST_OF_COVARIATES = 1e-6
"""Singular value of the covariates of a fold's training people under which a direction is absent among them."""


class LocoRidge:
    """Out-of-fold ridge regression of columns on genotypes, fitted once for all chromosomes.

    People are dealt into folds at random, and nobody's prediction knows their own values: coefficients are of the
    people of the other folds, covariates taken out among those alone. Fitted in sample, a prediction would hold a part
    of everybody's own noise and of the tested variant's effect on them, and what is left would be too small by it: BLUP
    residuals lose power so (Yang et al. 2014, Nat Genet 46:100, on what candidate markers do to it; regenie predicts
    out of fold for the same reason, Mbatchou et al. 2021).

    One fit on all variants serves every chromosome: P_c is the sum over the variants of the other chromosomes with the
    coefficients of that joint fit, as regenie leaves a chromosome's predictors out of one fit (BOLT-LMM and GCTA fit
    anew). The chromosome's own variants have no term in P_c; in the fit they stand beside the others, so that its
    effects in the training people are no noise to the others' coefficients.

    The penalty is that of the BLUP of `heritability` spread evenly over the variants: lambda = M (1 - h2) / h2 for
    M standardised variants (Hoerl and Kennard; regenie's level-0 grid is of this form).
    """

    def __init__(
        self,
        calls: NDArray[np.int8],
        chromosome: Sequence[str],
        W: NDArray[np.floating[Any]],
        Q: NDArray[np.float64],
        *,
        folds: int = 5,
        heritability: float = 0.2,
        seed: int = 0,
    ) -> None:
        """Fit.

        Memory: the calls (a byte each), 4 M^2 bytes, 4 K (2 n + folds M) bytes, 16 n K where covariates are taken out,
        and blocks of 2048 people. Time: n (folds - 1) M^2 + folds M^3 / 3 floating-point operations, logged beforehand.
        Measured for M = 10,000 variants, n = 45,714 people and K = 769 columns on two cores: 1.6 GiB, 191 s, and 1.5 s
        for each chromosome's offset.

        Args:
            calls: (n_participants, n_variants) copies of an allele, below 0 where missing (counted as the mean). People
                are the rows, unlike elsewhere: blocks of people are what is read.
            chromosome: (n_variants,) of each variant.
            W: (n_participants, n_columns) less covariates, from `projection.whitened_basis`.
            Q: (n_participants, n_covariates) from `covariate_basis`.
            folds: groups of people.
            heritability: share of a column's variance that all variants together are taken to explain, of (0, 1).
            seed: of the folds.

        Raises:
            ValueError: shapes that do not fit, too few people or folds, no variants, or one that does not vary.
        """
        n, self.n_variants = calls.shape
        self.chromosome = np.asarray(chromosome)
        if not n == len(W) == len(Q):
            raise ValueError(f"calls are of {n} participants, W of {len(W)}, Q of {len(Q)}: wanted the same, in order")
        if len(self.chromosome) != self.n_variants or not self.n_variants:
            raise ValueError(
                f"calls are of {self.n_variants} variants, chromosome of {len(self.chromosome)}: wanted the same, not 0"
            )
        if not 2 <= folds <= n // (Q.shape[1] + 1):
            raise ValueError(
                f"{folds} folds of {n} participants with {Q.shape[1]} covariates: wanted 2 or more, each of more "
                "people than covariates"
            )
        if not 0 < heritability < 1:
            raise ValueError(f"heritability is a share of variance: wanted between 0 and 1, found {heritability}")
        self.penalty = self.n_variants * (1 - heritability) / heritability
        self._calls, self._Q = calls, np.asarray(Q, np.float32)
        self._standardise(Q)
        self.fold = np.random.default_rng(seed).permutation(n) % folds
        operations = n * (folds - 1) * self.n_variants**2 + folds * self.n_variants**3 / 3
        log.info(
            "LOCO: ridge regression of %d columns on %d variants of %d people, %d folds: %.1e operations",
            W.shape[1], self.n_variants, n, folds, operations,
        )  # fmt: skip
        self._coefficients = [self._fit(W, Q, fold) for fold in range(folds)]
        self._whole = np.empty(W.shape, np.float32)
        for people, coefficients in self._out_of_fold():
            self._whole[people] = self._genotypes(people) @ coefficients

    def prediction(self, chromosome: str) -> NDArray[np.float32]:
        """Return P_c W (n_participants, n_columns): of the variants of all chromosomes but this.

        A chromosome that has none among the variants, as X, is predicted by all of them.
        """
        found, own = self._whole.copy(), np.flatnonzero(self.chromosome == chromosome)
        if len(own):
            for people, coefficients in self._out_of_fold():
                found[people] -= self._genotypes(people, own) @ coefficients[own]
        return found

    def offset(self, W: NDArray[np.floating[Any]], chromosome: str) -> NDArray[np.float32]:
        """Return W - P_c W less covariates, (n_participants, n_columns): what the chromosome's variants are tested on.

        Args:
            W: (n_participants, n_columns) as fitted.
            chromosome: whose variants are tested.
        """
        predicted = self.prediction(chromosome)
        predicted -= self._Q @ (self._Q.T @ predicted)  # W has no covariates left
        return np.subtract(W, predicted, out=predicted, casting="same_kind")

    def _standardise(self, Q: NDArray[np.float64]) -> None:
        """Find the variants' means and scales, and their products with the covariates."""
        called, total, squares = (np.zeros(self.n_variants) for _ in range(3))
        blocks = list(_blocks(np.arange(len(Q))))
        for people in blocks:
            copies = self._calls[people].astype(np.float32)
            called += (copies >= 0).sum(axis=0)
            np.maximum(copies, 0, out=copies)
            total += copies.sum(axis=0)
            squares += np.square(copies).sum(axis=0)
        variance = (squares - np.square(total) / np.maximum(called, 1)) / len(Q)
        if not np.all(variance > 1e-9):
            bad = int(np.count_nonzero(~(variance > 1e-9)))
            raise ValueError(f"{bad} of {self.n_variants} variants do not vary: leave them out first")
        self._mean = (total / called).astype(np.float32)
        self._scale = (1 / np.sqrt(variance)).astype(np.float32)
        self._loadings = np.zeros((Q.shape[1], self.n_variants), np.float32)
        # In a name of its own: `_genotypes` subtracts what has been found.
        loadings = np.zeros(self._loadings.shape)
        for people in blocks:
            loadings += Q[people].T @ self._genotypes(people)
        self._loadings = loadings.astype(np.float32)

    def _genotypes(self, people: NDArray[np.int64], variants: Any = slice(None)) -> NDArray[np.float32]:
        """Return standardised genotypes less covariates, (n_people, n_variants)."""
        calls = self._calls[people][:, variants]
        X = calls.astype(np.float32)
        X -= self._mean[variants]
        X *= self._scale[variants]
        X[calls < 0] = 0
        X -= self._Q[people] @ self._loadings[:, variants]
        return X

    def _fit(self, W: NDArray[np.floating[Any]], Q: NDArray[np.float64], fold: int) -> NDArray[np.float32]:
        """Return the coefficients (n_variants, n_columns) of the people outside the fold.

        float32 is enough: the penalty keeps the matrix's condition at (largest eigenvalue) / lambda, of some hundreds.
        """
        from scipy.linalg import cho_factor, cho_solve
        from scipy.linalg.blas import ssyrk

        training = np.flatnonzero(self.fold != fold)
        # Covariates are taken out among the training people: what a person's own value left in the others' residuals
        # is linear in the covariates and goes with them.
        U, singular, _ = np.linalg.svd(Q[training], full_matrices=False)
        U = U[:, singular > _LEAST_OF_COVARIATES]
        left = np.asarray(W[training], np.float64)
        left -= U @ (U.T @ left)
        left, U = left.astype(np.float32), U.astype(np.float32)
        A = np.zeros((self.n_variants, self.n_variants), np.float32, order="F")
        XW = np.zeros((self.n_variants, W.shape[1]), np.float32)
        XU = np.zeros((self.n_variants, U.shape[1]), np.float32)
        for places in _blocks(np.arange(len(training))):
            X = self._genotypes(training[places])
            A = ssyrk(1.0, X.T, 1.0, A, lower=1, overwrite_c=1)
            XW += X.T @ left[places]
            XU += X.T @ U[places]
        A = ssyrk(-1.0, np.asfortranarray(XU), 1.0, A, lower=1, overwrite_c=1)
        A[np.diag_indices(self.n_variants)] += np.float32(self.penalty)
        factor = cho_factor(A, lower=True, overwrite_a=True, check_finite=False)
        return np.asarray(cho_solve(factor, XW, overwrite_b=True, check_finite=False), np.float32)

    def _out_of_fold(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield people by blocks, with the coefficients that do not know them."""
        for fold, coefficients in enumerate(self._coefficients):
            for people in _blocks(np.flatnonzero(self.fold == fold)):
                yield people, coefficients


def _blocks(people: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(people), _PEOPLE_AT_ONCE):
        yield people[start : start + _PEOPLE_AT_ONCE]
