"""A plot's rectangle with round numbers along its edges, in px of an SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_TIME_STEPS = tuple(timedelta(hours=hours) for hours in (1, 2, 3, 4, 6, 12, 24, 48, 120, 240, 720, 2160, 8760))


@dataclass(frozen=True, slots=True)
class Axes:
    """Where a plot lies in its drawing, and what its edges stand for."""

    width: int
    height: int
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    left: int = 52
    top: int = 10
    margin_right: int = 22
    margin_bottom: int = 24

    @property
    def right(self) -> int:
        return self.width - self.margin_right

    @property
    def bottom(self) -> int:
        return self.height - self.margin_bottom

    def x(self, value: float) -> float:
        low, high = self.x_range
        return round(self.left + (value - low) / (high - low) * (self.right - self.left), 1)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return round(self.bottom - (value - low) / (high - low) * (self.bottom - self.top), 1)


def widened(values: Iterable[float], *, from_zero: bool = False) -> tuple[float, float]:
    """A range that holds all values with some room; never empty."""
    held = [*values, *([0.0] if from_zero else [])]
    low, high = min(held), max(held)
    room = 0.08 * (high - low) or 0.5 * (abs(high) or 1.0)
    return (low if from_zero and low >= 0 else low - room), high + room


def ticks(low: float, high: float, most: int = 6) -> list[tuple[float, str]]:
    """At most `most` round numbers from low to high with their words, in steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [(index * step, f"{index * step:,.{decimals}f}") for index in range(first, last + 1)]


def time_ticks(start: datetime, end: datetime, most: int = 9) -> list[tuple[datetime, str]]:
    """Round hours or days of the zone of `start`, with their words."""
    step = next((one for one in _TIME_STEPS if (end - start) / one <= most - 1), _TIME_STEPS[-1])
    words: Callable[[datetime], str] = (
        (lambda at: f"{at:%H:%M}") if step < timedelta(days=1) else lambda at: f"{at:%m-%d}"
    )
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    # Steps are counted on the wall clock, so that they stay round where it is changed.
    walls = (midnight + index * step for index in range(int((end - midnight) / step) + 2))
    inside = (wall for wall in walls if start.timestamp() <= wall.timestamp() <= end.timestamp())
    return [(wall, words(wall)) for wall in inside if _was_there(wall)]


def _was_there(wall: datetime) -> bool:
    """Whether the clock showed it: set forward, it leaves an hour out."""
    return wall.astimezone(UTC).astimezone(wall.tzinfo).replace(fold=0, tzinfo=None) == wall.replace(tzinfo=None)
