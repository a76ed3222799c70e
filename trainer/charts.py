"""The learning curves of the page, as geometry in px of an SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from trainer.axes import Frame, framed
from trainer.results import Results, start_words
from trainer.task import Outcome


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
