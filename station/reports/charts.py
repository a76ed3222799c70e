"""The page's charts as inline SVG, each with its text alternative. Shapes and dashes, not colours, carry meaning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from typing import Final

from markupsafe import Markup, escape

from station.printing import plural
from station.reports.axes import Axes, ticks, time_ticks, widened
from station.reports.figures import Control, Distribution, Dot, Point

WIDE, HALF = (940, 230), (460, 190)  # px

_PART: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


class Charts:
    """Draws the charts of one page; each gets numbers of its own for what refers to its title and description."""

    def __init__(self, period: str) -> None:
        self._part, self._numbers = _PART[period], count(1)
        self.period = period

    def dots(self, dots: Sequence[Dot]) -> Markup:
        """White cells of every picture over time, with the mean of each hour or day."""
        axes = _over_time([dot.at for dot in dots], [dot.wbc_count for dot in dots], WIDE, self._part, from_zero=True)
        marks = "".join(f"M{axes.x(dot.at.timestamp())},{axes.y(dot.wbc_count)}h0" for dot in dots)
        means = "".join(
            f"M{axes.x(start)},{axes.y(mean)}H{axes.x(end)}" for (start, end), mean in _means(dots, self._part)
        )
        most = max(dot.wbc_count for dot in dots)
        span = f"{dots[0].at:%m-%d %H:%M} to {dots[-1].at:%m-%d %H:%M}"
        words = f"{plural(len(dots), 'picture')} from {span}, none with more than {most} cells."
        drawn = (
            *_grid(axes, _zone_ticks(axes, dots[0].at)),
            f'<path class="dots" d="{marks}"/>',
            f'<path class="means" d="{means}"/>',
        )
        return self._svg(WIDE, "White cells per field over time", words, drawn)

    def distribution(self, one: Distribution) -> Markup:
        """The days as bars, the baseline as an outline; shares of all, so that both have the same area."""
        own = _shares(one.counts)
        usual = _shares(one.baseline_counts) if one.baseline_counts else ()
        y_range = (0.0, 1.12 * max(*own, *usual, 1e-9))
        axes = Axes(*HALF, (one.edges[0], one.edges[-1]), y_range, left=44)
        drawn = [*_grid(axes, _numbers_across(axes), percent=True), *_bars(axes, one.edges, own)]
        if usual:
            drawn.append(f'<path class="usual" d="{_outline(axes, one.edges, usual)}"/>')
        return self._svg(HALF, one.title, _distribution_words(one), drawn)

    def control(self, one: Control) -> Markup:
        """Means over time with their limits; a mean outside is a hollow diamond, one without limits a hollow circle."""
        held = [value for p in one.points for value in (p.mean, p.low, p.high) if value is not None]
        axes = _over_time([p.start for p in one.points], held, HALF, self._part, left=52)
        drawn = [*_grid(axes, _zone_ticks(axes, one.points[0].start, most=6))]
        if one.mean is not None:
            drawn += [
                *self._limits(axes, one),
                f'<path class="usual" d="M{axes.left},{axes.y(one.mean)}H{axes.right}"/>',
            ]
        drawn += self._means(axes, one)
        outside, compared = sum(point.outside for point in one.points), sum(point.compared for point in one.points)
        limits = f"{outside} of {compared} outside their limits." if compared else "No limits to compare with."
        return self._svg(HALF, f"{one.title}, mean by {self.period}", f"{len(one.points)} means; {limits}", drawn)

    def _limits(self, axes: Axes, one: Control) -> Iterator[str]:
        """The band between the limits, which narrows where there are more pictures."""
        for point in one.points:
            if point.low is not None and point.high is not None:
                left, right = (axes.x(at) for at in _span(point.start, self._part))
                top, bottom = axes.y(point.high), axes.y(point.low)
                yield f'<path class="band" d="M{left},{top}H{right}V{bottom}H{left}z"/>'
                yield f'<path class="limit" d="M{left},{top}H{right}M{left},{bottom}H{right}"/>'

    def _means(self, axes: Axes, one: Control) -> Iterator[str]:
        places = [(axes.x(sum(_span(p.start, self._part)) / 2), axes.y(p.mean), p) for p in one.points]
        yield f'<polyline class="course" points="{" ".join(f"{x},{y}" for x, y, _ in places)}"/>'
        for x, y, point in places:
            words = f"{point.start:%m-%d %H:%M}: {point.mean:.4g} over {point.images}"
            yield f"<g><title>{words}</title>{_mark(x, y, point)}</g>"

    def _svg(self, size: tuple[int, int], title: str, words: str, drawn: Iterable[str]) -> Markup:
        number = next(self._numbers)
        named = f'role="img" aria-labelledby="chart{number}-title chart{number}-desc"'
        told = (
            f'<title id="chart{number}-title">{escape(title)}</title>'
            f'<desc id="chart{number}-desc">{escape(words)}</desc>'
        )
        return Markup(f'<svg viewBox="0 0 {size[0]} {size[1]}" {named}>{told}{"".join(drawn)}</svg>')


def _mark(x: float, y: float, point: Point) -> str:
    if point.outside:
        return f'<path class="outside" d="M{x},{y - 6:.1f}l6,6l-6,6l-6,-6z"/>'
    return f'<circle class="{"inside" if point.compared else "alone"}" cx="{x}" cy="{y}" r="3.2"/>'


def _over_time(
    moments: Sequence[datetime],
    values: Iterable[float],
    size: tuple[int, int],
    part: timedelta,
    *,
    left: int = 44,
    from_zero: bool = False,
) -> Axes:
    """From the beginning of the first hour or day to the end of the last one; `moments` in order."""
    (first, _), (_, last) = _span(moments[0], part), _span(moments[-1], part)
    return Axes(*size, (first, last), widened(values, from_zero=from_zero), left=left)


def _span(moment: datetime, part: timedelta) -> tuple[float, float]:
    """When its hour or day began and ended, s since 1970; a day ends with the next one's midnight."""
    start = moment.replace(minute=0, second=0, microsecond=0)
    if part < timedelta(days=1):
        return start.timestamp(), start.timestamp() + part.total_seconds()
    midnight = start.replace(hour=0, fold=0)
    return midnight.timestamp(), (midnight + part).timestamp()


def _means(dots: Sequence[Dot], part: timedelta) -> Iterator[tuple[tuple[float, float], float]]:
    own: dict[tuple[float, float], list[int]] = {}
    for dot in dots:
        own.setdefault(_span(dot.at, part), []).append(dot.wbc_count)
    for begun, counts in own.items():
        yield begun, sum(counts) / len(counts)


def _zone_ticks(axes: Axes, like: datetime, most: int = 9) -> list[tuple[float, str]]:
    start, end = (datetime.fromtimestamp(at, UTC).astimezone(like.tzinfo) for at in axes.x_range)
    return [(axes.x(at.timestamp()), words) for at, words in time_ticks(start, end, most)]


def _numbers_across(axes: Axes) -> list[tuple[float, str]]:
    return [(axes.x(value), words) for value, words in ticks(*axes.x_range, most=7)]


def _grid(axes: Axes, across: Iterable[tuple[float, str]], *, percent: bool = False) -> Iterator[str]:
    for value, words in ticks(*axes.y_range):
        y = axes.y(value)
        shown = f"{100 * value:g} %" if percent else words
        yield f'<path class="rule" d="M{axes.left},{y}H{axes.right}"/>'
        yield f'<text x="{axes.left - 6}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>'
    yield f'<path class="axis" d="M{axes.left},{axes.bottom}H{axes.right}"/>'
    for x, words in across:
        yield f'<path class="axis" d="M{x},{axes.bottom}v4"/>'
        yield f'<text x="{x}" y="{axes.bottom + 17}" text-anchor="middle">{escape(words)}</text>'


def _shares(counts: Sequence[int]) -> tuple[float, ...]:
    total = sum(counts) or 1
    return tuple(one / total for one in counts)


def _bars(axes: Axes, edges: Sequence[float], shares: Sequence[float]) -> Iterator[str]:
    for (left, right), part in zip(pairwise(edges), shares, strict=True):
        x = axes.x(left)
        width, height = axes.x(right) - x - 1, axes.bottom - axes.y(part)
        yield f'<rect class="bar" x="{x}" y="{axes.y(part)}" width="{width:.1f}" height="{height:.1f}"/>'


def _outline(axes: Axes, edges: Sequence[float], shares: Sequence[float]) -> str:
    steps = (f"V{axes.y(part)}H{axes.x(right)}" for right, part in zip(edges[1:], shares, strict=True))
    return f"M{axes.left},{axes.bottom}{''.join(steps)}V{axes.bottom}"


def _distribution_words(one: Distribution) -> str:
    unit = f" {one.unit}" if one.unit else ""
    words = f"{one.count} values; half of them lie between {one.quantiles[1]:.3g} and {one.quantiles[3]:.3g}{unit}"
    if one.baseline_quantiles is None:
        return f"{words}."
    low, high = one.baseline_quantiles[1], one.baseline_quantiles[3]
    return f"{words}; in the baseline between {low:.3g} and {high:.3g}{unit}."
