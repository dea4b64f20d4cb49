"""Saddlepoint approximation of a score's tails under a logistic null model (Kuonen 1999; Dey et al. 2017, SPAtest).

The score test is in `logistic.py`. The approximation is exact in the cumulants of the carriers of
the minor allele; the others, whose adjusted genotypes are near 0, enter by mean and variance, as SAIGE's fast version
has it.

Scores of few carriers are discrete, and no test of them has its nominal error rate at every threshold. The
approximation is made for continuous scores, without a lattice correction: of expected cases among carriers from 0.05 to
10 its error rate is nominal when averaged over thresholds, and up to 5 and 1.8 times so at the least lucky one. Mid-p
and the exact tail stay below nominal (on average 0.4 to 0.9 and 0.2 to 0.6 of it).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from edp_assets.science.genetics.null_model import NullModel

_ELEMENTS_AT_ONCE = 2_000_000  # variants x carriers in one batch; bounds memory at some 100 MB
_CARRIER_DOSAGE = 0.1  # dosage of the minor allele above which a participant is a carrier
_MANY_CARRIERS = 0.5  # share of carriers above which everyone is treated exactly


def log_two_sided_p(
    G: NDArray[np.floating[Any]],
    centred: NDArray[np.floating[Any]],
    on_basis: NDArray[np.float64],
    score: NDArray[np.float64],
    variance: NDArray[np.float64],
    null: NullModel,
) -> NDArray[np.float64]:
    """Return ln p of P(|S| >= |score|) for each variant, NaN where no saddlepoint was found.

    Args:
        G: (n_variants, n_participants) dosages, NaN where missing.
        centred: (n_variants, n_participants) the same, mean-imputed and centred.
        on_basis: (n_variants, n_covariates) weighted genotypes on the null model's basis.
        score: (n_variants,) observed scores.
        variance: (n_variants,) their variances under the null model.
        null: the null model.
    """
    n_variants = len(G)
    mean = np.nanmean(G, axis=1, keepdims=True)
    minor = np.where(mean > 1, 2 - G, G)
    carrier = minor > _CARRIER_DOSAGE  # a missing call compares False
    carrier[carrier.mean(axis=1) > _MANY_CARRIERS] = True
    width = carrier.sum(axis=1)
    result = np.full(n_variants, np.nan)
    order = np.argsort(width, kind="stable")  # alike widths together: the padding stays small
    start = 0
    while start < n_variants:
        stop = start + 1
        while stop < n_variants and (stop + 1 - start) * width[order[stop]] <= _ELEMENTS_AT_ONCE:
            stop += 1
        batch = order[start:stop]
        A, P, normal_variance = _pad(centred[batch], on_basis[batch], carrier[batch], variance[batch], null)
        result[batch] = _two_tails(A, P, normal_variance, np.abs(score[batch]), np.sign(score[batch]))
        start = stop
    return result


def _pad(
    centred: NDArray[np.floating[Any]],
    on_basis: NDArray[np.float64],
    carrier: NDArray[np.bool_],
    variance: NDArray[np.float64],
    null: NullModel,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return adjusted genotypes and case probabilities of the carriers, padded with 0, and the others' variance."""
    n_variants, width = len(carrier), int(carrier.sum(axis=1).max())
    A, P, others = np.zeros((n_variants, width)), np.zeros((n_variants, width)), np.zeros(n_variants)
    for i in range(n_variants):
        chosen = np.flatnonzero(carrier[i])
        k, weight = len(chosen), null.weight[chosen]
        # G less its weighted regression on the covariates; S stays, as y - p is orthogonal to covariates.
        adjusted = centred[i, chosen] - (null.basis[chosen] @ on_basis[i]) / np.maximum(weight, 1e-150)
        A[i, :k], P[i, :k] = adjusted, np.minimum(null.probability[chosen], 1 - 1e-15)  # below 1: its log is taken
        if k < len(null.weight):
            others[i] = max(variance[i] - np.square(adjusted * weight).sum(), 0.0)
    return A, P, others


def _two_tails(
    A: NDArray[np.float64],
    P: NDArray[np.float64],
    normal_variance: NDArray[np.float64],
    size: NDArray[np.float64],
    sign: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return ln of the sum of both tails beyond `size`; NaN where the observed tail has no saddlepoint."""
    observed = _log_upper_tail(A * sign[:, None], P, normal_variance, size)
    mirrored = _log_upper_tail(A * -sign[:, None], P, normal_variance, size)
    # The mirror image of the score can lie beyond all that S can be: that tail is then empty.
    mirrored = np.where(np.isnan(mirrored), -np.inf, mirrored)
    return np.minimum(np.logaddexp(observed, mirrored), 0.0)


def _log_upper_tail(
    A: NDArray[np.float64], P: NDArray[np.float64], normal_variance: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ln P(S >= target), target > 0, by the formula of Barndorff-Nielsen (its r*); NaN without a saddlepoint."""
    t, found = _saddlepoint(A, P, normal_variance, target)
    x = A * t[:, None]
    # log(1 - p + p exp(x)) less p x, without overflow for either sign of x.
    k0 = np.logaddexp(0.0, x + special.logit(np.maximum(P, 1e-300))) + np.log1p(-P) - P * x
    k0 = k0.sum(axis=1) + normal_variance * t * t / 2
    k2 = _slopes(A, P, normal_variance, t)[1]
    result = np.full(len(t), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        w = np.sqrt(2 * (t * target - k0))
        v = t * np.sqrt(k2)
        root = w + np.log(v / w) / w
    found &= np.isfinite(root)
    result[found] = special.log_ndtr(-root[found])
    return result


def _slopes(
    A: NDArray[np.float64], P: NDArray[np.float64], normal_variance: NDArray[np.float64], t: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return K' and K'' of S = sum a (y - p) at t, (n_variants,) each."""
    with np.errstate(over="ignore"):  # exp(-x) = infinity is the limit tilted = 0
        tilted = P / (P + (1 - P) * np.exp(A * -t[:, None]))
    k1 = np.einsum("vc,vc->v", A, tilted - P) + normal_variance * t
    AT = A * tilted
    k2 = np.einsum("vc,vc->v", AT, A - AT) + normal_variance
    return k1, k2


def _saddlepoint(
    A: NDArray[np.float64], P: NDArray[np.float64], normal_variance: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Solve K'(t) = target for t > 0 by Newton's method kept inside a bracket; K' is increasing."""
    largest = np.where(normal_variance > 0, np.inf, (np.maximum(A, 0) - A * P).sum(axis=1))
    low, high = np.zeros(len(target)), np.full(len(target), np.inf)
    variance = _slopes(A, P, normal_variance, low)[1]
    t = target / variance
    done = target >= largest * (1 - 1e-9)
    found = ~done
    for _ in range(100):
        active = np.flatnonzero(~done)
        if not len(active):
            break
        now = t[active]
        k1, k2 = _slopes(A[active], P[active], normal_variance[active], now)
        miss = k1 - target[active]
        low[active] = np.where(miss < 0, now, low[active])
        high[active] = np.where(miss > 0, now, high[active])
        done[active] = np.abs(miss) < 1e-7 * target[active]
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = now - miss / k2
        inside = (newton > low[active]) & (newton < high[active]) & (newton < 4 * now)
        middle = np.where(np.isfinite(high[active]), (low[active] + high[active]) / 2, 2 * now)
        t[active] = np.where(done[active], now, np.where(inside, newton, middle))
    found &= done
    return t, found
