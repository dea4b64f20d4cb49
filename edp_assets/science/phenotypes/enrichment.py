"""Many enrichment tests at once: corrections for their number. The test itself is in `clustering`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def corrected(neg_log_10_p: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Bonferroni's p and Benjamini and Hochberg's q-value (1995) of all tests of a family, as -log10.

    In logs, where p-values of strong enrichment do not underflow (scipy.stats.false_discovery_control takes p itself).

    Args:
        neg_log_10_p: (n_tests,), without NaN.

    Returns:
        Two arrays (n_tests,), at least 0.

    Raises:
        ValueError: a p-value is missing.
    """
    p = np.asarray(neg_log_10_p, dtype=np.float64)
    if np.isnan(p).any():
        raise ValueError(f"{int(np.isnan(p).sum())} of {p.size} p-values are missing: leave these tests out first")
    if not p.size:
        return p, p
    bonferroni = np.maximum(p - np.log10(p.size), 0)
    order = np.argsort(-p, kind="stable")
    scaled = p[order] - np.log10(p.size / np.arange(1, p.size + 1))
    q_value = np.empty_like(p)
    # The q-value of a test is the smallest of those of the tests that are no more significant.
    q_value[order] = np.maximum(np.maximum.accumulate(scaled[::-1])[::-1], 0)
    return bonferroni, q_value
