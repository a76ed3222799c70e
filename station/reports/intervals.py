"""How sure a share or a mean is."""

from __future__ import annotations

import math
from dataclasses import dataclass

_Z = 1.959964  # two-sided, 95 %
SIGMAS = 3.0  # of a control chart


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


def limits(mean: float, sd: float, count: int) -> tuple[float, float]:
    """Between these the mean of `count` values should lie while nothing has changed: mean +- 3 sd / sqrt(count).

    Shewhart's control chart for averages with subgroups of unequal size: D. C. Montgomery, Introduction to Statistical
    Quality Control, chapter 6; NIST/SEMATECH e-Handbook of Statistical Methods, 6.3.2.
    """
    reach = SIGMAS * sd / math.sqrt(count)
    return mean - reach, mean + reach
