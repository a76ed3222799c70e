"""Axes with round numbers, as geometry in px of an SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

_MOST_DECIMALS = 4


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Frame:
    """A plot's rectangle in its drawing, with what its edges stand for."""

    width: int
    height: int
    left: int
    top: int
    right: int
    bottom: int
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_ticks: tuple[Tick, ...] = ()
    y_ticks: tuple[Tick, ...] = ()

    def x(self, value: float) -> float:
        low, high = self.x_range
        return round(self.left + (value - low) / (high - low) * (self.right - self.left), 1)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return round(self.bottom - (value - low) / (high - low) * (self.bottom - self.top), 1)


def framed(
    size: tuple[int, int],
    margins: tuple[int, int, int, int],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    *,
    whole: bool = False,
) -> Frame:
    """A plot of that size with ticks at round numbers.

    `margins`: left, top, right, bottom; `whole`: no ticks between the whole numbers of x.
    """
    (width, height), (left, top, right, bottom) = size, margins
    bare = Frame(width, height, left, top, width - right, height - bottom, x_range, y_range)
    across = [value for value in ticks(*x_range) if not whole or value == int(value)]
    return replace(bare, x_ticks=_marks(across, bare.x), y_ticks=_marks(ticks(*y_range), bare.y))


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most `most` round numbers from low to high, in steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def _marks(values: Sequence[float], place: Callable[[float], float]) -> tuple[Tick, ...]:
    """All with as many decimals as the one with the most; very small ones with exponents."""
    decimals = max(len(f"{value:.10f}".rstrip("0").partition(".")[2]) for value in values)
    form = f".{decimals}f" if decimals <= _MOST_DECIMALS else "g"
    return tuple(Tick(place(value), f"{value:{form}}") for value in values)
