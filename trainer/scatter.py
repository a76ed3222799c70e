"""Accuracy against latency, as geometry in px of an SVG: networks, their Pareto front, and where names find room."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from trainer.axes import Frame, framed
from trainer.ranking import Standing, pareto
from trainer.results import Results

Point: TypeAlias = tuple[float, float]
Box: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom

_LETTER, _LINE = 6.4, 13.0  # width of a letter and height of a line of the page's labels, px


@dataclass(frozen=True, slots=True)
class Dot:
    """One network; `low` and `high` end its bar of one standard deviation."""

    kind: int
    x: float
    y: float
    low: float
    high: float
    is_front: bool
    title: str


@dataclass(frozen=True, slots=True)
class Label:
    """The name of a backbone beside its dots."""

    x: float
    y: float
    anchor: str
    text: str
    is_front: bool


@dataclass(frozen=True, slots=True)
class Scatter:
    """Score against latency, for the ranked networks of one start."""

    frame: Frame
    dots: tuple[Dot, ...]
    labels: tuple[Label, ...]
    front: tuple[Point, ...]  # corners of a line, from left to right
    near: float | None  # y of one standard error below the best, if there is one
    unmeasured: tuple[str, ...]


def scatter(results: Results, start: str) -> Scatter | None:
    """None where no ranked network of that start has a latency."""
    ranked = results.rankings.get(start, [])
    timed = [one for one in ranked if one.milliseconds is not None]
    if not timed:
        return None
    frame = framed((680, 330), (56, 12, 44, 40), (0, max(map(_latency, timed)) * 1.12), _spread(timed))
    front = pareto(timed)
    dots = tuple(_dot(one, frame, results.losses.index(one.loss), one in front) for one in timed)
    near = _near(ranked[0], frame)
    stairs = _staircase([dots[timed.index(one)] for one in front], frame)
    return Scatter(
        frame=frame,
        dots=dots,
        labels=_labels(timed, dots, stairs, near, frame),
        front=stairs,
        near=near,
        unmeasured=tuple(one.name for one in ranked if one.milliseconds is None),
    )


def _spread(timed: Sequence[Standing]) -> tuple[float, float]:
    """The scores with their deviations, and a little air."""
    low = min(one.score.mean - (one.score.deviation or 0) for one in timed)
    high = max(one.score.mean + (one.score.deviation or 0) for one in timed)
    air = max(0.08 * (high - low), 0.001)
    return low - air, high + air


def _latency(one: Standing) -> float:
    return one.milliseconds or 0.0


def _dot(one: Standing, frame: Frame, kind: int, is_front: bool) -> Dot:
    """Losses of one backbone stand side by side: they have one latency."""
    mean, deviation = one.score.mean, one.score.deviation or 0.0
    return Dot(
        kind=kind,
        x=frame.x(_latency(one)) + 5 * kind,
        y=frame.y(mean),
        low=frame.y(mean - deviation),
        high=frame.y(mean + deviation),
        is_front=is_front,
        title=f"{one.name}: score {mean:.4f}, {_latency(one):.1f} ms",
    )


def _staircase(front: Sequence[Dot], frame: Frame) -> tuple[Point, ...]:
    """Along the front: the best that can be had within each latency."""
    corners: list[Point] = []
    for dot in front:
        corners += [(dot.x, corners[-1][1]), (dot.x, dot.y)] if corners else [(dot.x, dot.y)]
    return (*corners, (frame.right, corners[-1][1]))


def _near(best: Standing, frame: Frame) -> float | None:
    """One standard error below the best, if that lies in the plot: the best itself may have no latency."""
    error, (low, high) = best.score.standard_error, frame.y_range
    return frame.y(best.score.mean - error) if error is not None and low < best.score.mean - error < high else None


def _labels(
    timed: Sequence[Standing],
    dots: Sequence[Dot],
    stairs: Sequence[Point],
    near: float | None,
    frame: Frame,
) -> tuple[Label, ...]:
    """Each backbone once, beside its best dot, where no dot, no line and no other label is in the way."""
    taken: list[Box] = [(d.x - 5, min(d.high, d.y - 5), d.x + 5, max(d.low, d.y + 5)) for d in dots]
    taken += [(x, min(y, below) - 1, right, max(y, below) + 1) for (x, y), (right, below) in pairwise(stairs)]
    if near is not None:
        taken.append((frame.left, near - 1, frame.right, near + 1))
    placed: dict[str, Label] = {}
    for one, dot in sorted(zip(timed, dots, strict=True), key=lambda pair: pair[1].y):
        if one.backbone in placed:
            continue
        choices = [_beside(dot, one.backbone, *place) for place in _PLACES]
        label, box = next((c for c in choices if _is_free(c[1], taken, frame)), choices[0])
        taken.append(box)
        placed[one.backbone] = label
    return tuple(placed.values())


# Where a label may stand: px right of and below the dot, and which end of the text lies there.
_PLACES = (
    (9, 4, "start"),
    (-9, 4, "end"),
    (9, -8, "start"),
    (-9, -8, "end"),
    (9, 17, "start"),
    (-9, 17, "end"),
    (9, -20, "start"),
    (-9, -20, "end"),
    (9, 30, "start"),
    (-9, 30, "end"),
)


def _beside(dot: Dot, text: str, right: float, below: float, anchor: str) -> tuple[Label, Box]:
    x, y, width = dot.x + right, dot.y + below, len(text) * _LETTER
    left = x if anchor == "start" else x - width
    return Label(x, y, anchor, text, dot.is_front), (left, y - _LINE + 3, left + width, y + 3)


def _is_free(box: Box, taken: Iterable[Box], frame: Frame) -> bool:
    left, top, right, bottom = box
    inside = left >= frame.left and right <= frame.width and top >= frame.top and bottom <= frame.bottom
    return inside and not any(left < r and l < right and top < b and t < bottom for l, t, r, b in taken)  # noqa: E741
