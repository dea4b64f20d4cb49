"""A label's prevalence against what it was: how large a jump is, and how far beyond the noise of counting."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Jump:
    """A change of a number of cases.

    Attributes:
        ratio: prevalence now over before, or before over now where it fell; at least 1.
        sigma: the change in standard errors of the two counts.
    """

    ratio: float
    sigma: float

    def beyond(self, max_ratio: float, min_sigma: float) -> bool:
        """Return whether it is larger than allowed and than chance makes."""
        return self.ratio > max_ratio and self.sigma > min_sigma


def prevalence_jump(before: int, people_before: int, now: int, people_now: int) -> Jump:
    """Compare cases of so many people with cases of so many people.

    Both counts are taken as Poisson's and independent: for the same people that overstates the noise, so that few cases
    are not made much of. Half a case stands for none in the ratio.
    """
    scale = people_now / people_before if people_before else 1.0
    expected = before * scale
    change = abs(now - expected)
    error = math.sqrt(max(now + expected * scale, 1.0))
    ratio = max(now, 0.5) / max(expected, 0.5)
    return Jump(max(ratio, 1 / ratio), change / error)
