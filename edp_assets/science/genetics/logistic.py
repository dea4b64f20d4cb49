"""Association of a binary phenotype: score test under a logistic null model, with saddlepoint p-values for the tails.

The null model is in `null_model.py`, the approximation in `saddlepoint.py`, effects of associated variants in
`firth.py`; quantitative phenotypes in `regression.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edp_assets.science.genetics.firth import firth_log_odds_ratios
from edp_assets.science.genetics.null_model import NullModel, SeparationError, fit_null_model
from edp_assets.science.genetics.regression import COLLINEAR_WITH_COVARIATES, Association
from edp_assets.science.genetics.saddlepoint import log_two_sided_p
from edp_assets.science.genetics.tails import LN_10, neg_log_10_p_from_z, z_from_neg_log_10_p
from edp_assets.science.genetics.variant_qc import VariantStats, centre

__all__ = ["BinaryAssociation", "NullModel", "SeparationError", "associate_binary", "fit_null_model"]

logger = logging.getLogger(__name__)

TAILS_AT_ONCE = 64  # variants whose saddlepoint p-values and effects are sought at a time: bounds their copies

SPA_ABOVE = 2.0
"""|z| of the score test above which its p-value is the saddlepoint one (SAIGE's Cutoff)."""

FIRTH_BELOW = 0.01
"""p-value below which beta is Firth's estimate (SAIGE's pCutoffforFirth)."""


@dataclass(frozen=True)
class BinaryAssociation:
    """What `associate_binary` finds in a block.

    Attributes:
        association: beta is a log odds ratio a copy of the effect allele: Firth's estimate where the p-value is below
            `FIRTH_BELOW`, else the score test's one step from 0, which is right for small effects alone (of 2% cases
            and an odds ratio of 2 it is 1.4 times too large). standard_error agrees with the p-value, |beta| / z(p), as
            SAIGE and regenie report it.
        stats: the variants' counts.
        saddlepoint: (n_variants,) True where the p-value is the saddlepoint approximation's.
        firth: (n_variants,) True where beta is Firth's estimate.
    """

    association: Association
    stats: VariantStats
    saddlepoint: NDArray[np.bool_]
    firth: NDArray[np.bool_]


def associate_binary(
    G: NDArray[np.floating[Any]], null: NullModel, *, spa_above: float = SPA_ABOVE
) -> BinaryAssociation:
    """Test each variant of a block against a binary phenotype (SAIGE step 2 and regenie --spa, without random effects).

    The score is S = G'(y - p), its variance that of G less the covariates under the null model. Where |z| is above
    `spa_above`, the p-value is the saddlepoint approximation's, which stays calibrated for few cases and rare variants.

    Args:
        G: (n_variants, n_participants) dosages, NaN where missing (mean-imputed).
        null: from `fit_null_model`, of the same participants in the same order.
        spa_above: |z| above which the saddlepoint approximation is used; infinity for never.
    """
    if G.shape[1] != len(null.residual):
        raise ValueError(f"G has {G.shape[1]} participants and the null model {len(null.residual)}: wanted the same")
    centred, stats = centre(G)
    residual_score = np.asarray(centred @ null.residual.astype(G.dtype), np.float64)
    weighted = centred * null.weight.astype(G.dtype)
    on_basis = np.asarray(weighted @ null.basis.astype(G.dtype), np.float64)
    total = np.square(weighted).sum(axis=1, dtype=np.float64)
    association, saddlepoint, firth = score_test(
        residual_score,
        on_basis,
        np.where(stats.constant, 0.0, total),
        null,
        lambda chosen: (G[chosen], centred[chosen]),
        spa_above=spa_above,
    )
    return BinaryAssociation(association, stats, saddlepoint, firth)


Rows = tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]


def score_test(
    residual_score: NDArray[np.float64],
    on_basis: NDArray[np.float64],
    total: NDArray[np.float64],
    null: NullModel,
    genotypes: Callable[[NDArray[np.int64]], Rows],
    *,
    spa_above: float = SPA_ABOVE,
) -> tuple[Association, NDArray[np.bool_], NDArray[np.bool_]]:
    """Turn inner products of centred genotypes with a null model into statistics, as `associate_binary`.

    Args:
        residual_score: (n_variants,) products with the null model's residual.
        on_basis: (n_variants, n_covariates) products of weight x genotypes with its basis.
        total: (n_variants,) sums of squares of weight x genotypes, 0 where not to be tested.
        null: the null model.
        genotypes: given places of variants, returns their dosages (NaN where missing) and the same centred,
            (n_chosen, n_participants) each: asked only for the tails and for effects.
        spa_above: as in `associate_binary`.

    Returns:
        The statistics, where the p-value is the saddlepoint approximation's, and where beta is Firth's estimate,
        (n_variants,) each.
    """
    # The fit takes its covariates' degrees of freedom from the variance p(1 - p), as in a linear model: it matters
    # where people are few for the covariates (lambda GC 1.25 of 100 people with 17) and vanishes in a biobank.
    n, n_covariates = len(null.residual), null.basis.shape[1]
    shrinkage = np.sqrt((n - n_covariates) / n)
    score = residual_score * shrinkage
    variance = total - np.square(on_basis).sum(axis=1)
    variance[(variance < COLLINEAR_WITH_COVARIATES * total) | (variance <= 0)] = np.nan
    z = score / np.sqrt(variance)
    neg_log_10_p = neg_log_10_p_from_z(z)
    saddlepoint = np.abs(z) > spa_above
    beta, firth = residual_score / variance, np.zeros(len(z), dtype=bool)
    enough = -np.log10(FIRTH_BELOW)
    places = np.flatnonzero(saddlepoint | (neg_log_10_p > enough))
    for start in range(0, len(places), TAILS_AT_ONCE):
        chosen = places[start : start + TAILS_AT_ONCE]
        G, centred = genotypes(chosen)
        tail = np.flatnonzero(saddlepoint[chosen])
        if len(tail):
            at = chosen[tail]
            log_p = log_two_sided_p(G[tail], centred[tail], on_basis[at], score[at], variance[at], null)
            solved = np.isfinite(log_p)
            neg_log_10_p[at[solved]] = -log_p[solved] / LN_10
            saddlepoint[at[~solved]] = False
            if not solved.all():
                logger.info("%d variants keep the normal p-value: no saddlepoint found", np.count_nonzero(~solved))
        hit = np.flatnonzero(neg_log_10_p[chosen] > enough)
        if len(hit):
            at = chosen[hit]
            estimate = firth_log_odds_ratios(centred[hit], on_basis[at], null)
            firth[at] = np.isfinite(estimate)
            beta[at] = np.where(firth[at], estimate, beta[at])
            if not firth[at].all():
                logger.info("%d variants keep the score test's beta: Firth's did not converge", (~firth[at]).sum())
    # |beta| / z(p); where z(p) is 0 (p = 1) both are 0 and the score's own error stands.
    quantile = z_from_neg_log_10_p(neg_log_10_p)
    with np.errstate(divide="ignore", invalid="ignore"):
        standard_error = np.where(saddlepoint | firth, np.abs(beta) / quantile, 1 / (shrinkage * np.sqrt(variance)))
    return Association(beta, standard_error, neg_log_10_p), saddlepoint, firth
