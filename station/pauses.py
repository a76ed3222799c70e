"""How long what failed is left alone before it is tried again: longer each time, without ever giving up."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

SHORTEST: Final = timedelta(minutes=10)
LONGEST: Final = timedelta(hours=24)
_MOST_DOUBLED = 10  # times; beyond the longest pause numbers would only grow


def pause_after(failures: int) -> timedelta:
    """The pause after so many failures: doubled with each after the first, up to a day."""
    doubled = min(max(failures - 1, 0), _MOST_DOUBLED)
    return min(SHORTEST * (1 << doubled), LONGEST)


def is_over(until: datetime | None, now: datetime) -> bool:
    """Whether a pause has ended; also if it lies farther ahead than any: the clock was set back."""
    return until is not None and not now < until <= now + LONGEST
