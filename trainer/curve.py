"""The learning curve of one training as a picture (SVG): score, loss and learning rate over its epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from trainer.axes import Frame, framed

_WIDTH, _HEAD, _GAP = 640, 34, 14  # px
_MARGINS = (56, 22, 16, 22)  # left, top, right, bottom of each plot, for its title and its ticks, px


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure over epochs, `down` px below the picture's top; `best` is its point at the best epoch."""

    title: str
    down: int
    frame: Frame
    points: tuple[tuple[float, float], ...]
    best: tuple[float, float] | None


def curve(title: str, history: Sequence[Mapping[str, float]], best_epoch: int) -> str:
    """The picture's text. `history`: rows of history.csv, one at least; `best_epoch` from 1, 0 where none was."""
    best = f", best {history[best_epoch - 1]['score']:.4f} in epoch {best_epoch}" if best_epoch else ""
    score, loss, rate = ([row[key] for row in history] for key in ("score", "loss", "learning_rate"))
    panels: list[Panel] = []
    down = _HEAD
    for words, values, up, height in (
        (f"score on held-out pictures{best}", score, (_floor(score), 1.0), 200),
        ("loss, mean of the epoch", loss, (0.0, _ceiling(loss)), 160),
        ("learning rate at the end of the epoch", rate, (0.0, _ceiling(rate)), 110),
    ):
        panels.append(_panel(words, values, up, best_epoch, height, down))
        down += height + _GAP
    return _template().render(title=title, width=_WIDTH, height=down, panels=panels)


def _panel(
    title: str, values: Sequence[float], up: tuple[float, float], best_epoch: int, height: int, down: int
) -> Panel:
    frame = framed((_WIDTH, height), _MARGINS, (1, max(len(values), 2)), up, whole=True)
    points = tuple((frame.x(epoch), frame.y(value)) for epoch, value in enumerate(values, start=1))
    return Panel(title, down, frame, points, points[best_epoch - 1] if best_epoch else None)


def _floor(scores: Sequence[float]) -> float:
    return min(0.9, math.floor(10 * min(scores)) / 10)


def _ceiling(values: Sequence[float]) -> float:
    """A little air above the largest; some height where all are 0, as the last rate of one cosine epoch nearly is."""
    return 1.05 * max(values) or 1.0


def _template() -> Template:
    pages = Environment(
        loader=PackageLoader("trainer", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return pages.get_template("curve.svg.jinja")
