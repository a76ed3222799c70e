"""Plots as geometry in px of an SVG: axes with round numbers, and the learning curves of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from trainer.results import Results, start_words
from trainer.task import Outcome


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


@dataclass(frozen=True, slots=True)
class Curve:
    """One training: held-out score over epochs. `kind` numbers its loss, which gives colour and dashes."""

    kind: int
    points: str
    best: tuple[float, float]
    title: str


@dataclass(frozen=True, slots=True)
class Panel:
    """The curves of one backbone with one start."""

    title: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """Small multiples on common axes."""

    frame: Frame
    panels: tuple[Panel, ...]


def curves(results: Results) -> Curves:
    """A panel per backbone and start, a thin line per fold and seed."""
    longest = max((len(outcome.curve) for outcome in results.outcomes), default=1)
    frame = framed((232, 150), (30, 8, 8, 22), (1, max(longest, 2) + 0.3), (_floor(results.outcomes), 1), whole=True)
    networks = dict.fromkeys((one.start, one.backbone) for one in results.networks)
    panels = tuple(
        Panel(f"{backbone}, {start_words(start)}", _curves_of(results, start, backbone, frame))
        for start, backbone in networks
    )
    return Curves(frame, panels)


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
    """All with as many decimals as the one with the most."""
    decimals = max(len(f"{value:g}".partition(".")[2]) for value in values)
    return tuple(Tick(place(value), f"{value:.{decimals}f}") for value in values)


def _floor(outcomes: Iterable[Outcome]) -> float:
    """Where the common y axis begins: the first epochs may lie below, else all later ones would lie on one another."""
    middles = [median(epoch.score for epoch in outcome.curve) for outcome in outcomes if outcome.curve]
    return min(0.9, math.floor(10 * min(middles, default=0)) / 10)


def _curves_of(results: Results, start: str, backbone: str, frame: Frame) -> tuple[Curve, ...]:
    return tuple(
        _curve(outcome, frame, results.losses.index(outcome.task.loss))
        for outcome in results.outcomes
        if (outcome.task.start, outcome.task.backbone) == (start, backbone) and outcome.curve
    )


def _curve(outcome: Outcome, frame: Frame, kind: int) -> Curve:
    points = {epoch.epoch: (frame.x(epoch.epoch), frame.y(epoch.score)) for epoch in outcome.curve}
    task = outcome.task
    return Curve(
        kind=kind,
        points=" ".join(f"{x},{y}" for x, y in points.values()),
        best=points.get(outcome.best_epoch, next(iter(points.values()))),
        title=f"{task.loss}, fold {task.fold}, seed {task.seed}: best epoch {outcome.best_epoch}",
    )
