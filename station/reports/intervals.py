"""How sure a share or a mean is."""

from __future__ import annotations

import math
from dataclasses import dataclass

_Z = 1.959964  # two-sided, 95 %
_OUTSIDE = 0.0027  # of the points while nothing has changed: what lies beyond 3 sigma of a normal distribution
_ROUNDING = 1e-9  # values that differ by no more are equal


@dataclass(frozen=True, slots=True)
class Share:
    """`part` of `of`, with the 95 % interval of the share behind it, 0..1; no share of nothing."""

    part: int
    of: int
    share: float | None
    low: float | None
    high: float | None


def share(part: int, of: int) -> Share:
    """A share with its Wilson score interval, which also holds near 0 and 1.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927) 209-212.
    """
    if not of:
        return Share(part, of, None, None, None)
    p, z2 = part / of, _Z**2
    middle = (p + z2 / (2 * of)) / (1 + z2 / of)
    reach = _Z / (1 + z2 / of) * math.sqrt(p * (1 - p) / of + z2 / (4 * of**2))
    return Share(part, of, p, max(0.0, middle - reach), min(1.0, middle + reach))


def limits(mean: float, sd: float, known: int, count: int) -> tuple[float, float] | None:
    """Between these the mean of `count` values should lie while nothing has changed since `known` values were taken.

    mean +- t sd sqrt(1 / count + 1 / known), t of Student's distribution with known - 1 degrees of freedom, outside of
    which are 0.27 %: Shewhart's 3 sigma, for a mean and a deviation that are estimates themselves. None where the
    deviation is not known, or nothing deviated. The interval for a future mean of G. J. Hahn, Factors for calculating
    two-sided prediction intervals for samples from a normal distribution, JASA 64 (1969) 878-888.
    """
    from scipy.special import stdtrit  # of all SciPy

    if known < 2 or sd <= _ROUNDING * max(1.0, abs(mean)):
        return None
    reach = float(stdtrit(known - 1, 1 - _OUTSIDE / 2)) * sd * math.sqrt(1 / count + 1 / known)
    return mean - reach, mean + reach
