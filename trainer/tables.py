"""The tables of a comparison: worked out once, as grids; shown on a terminal, in Markdown or on the page.

The best figure of a column is marked among ranked networks of one start, where they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, TypeAlias

from rich.table import Table
from rich.text import Text

from trainer.ranking import Figure, Standing, pareto
from trainer.results import FRONT_MARK, MARK, Results, from_words, start_words


@dataclass(frozen=True, slots=True)
class Cell:
    """A word, or a figure with its deviation where it has one."""

    text: str
    deviation: str = ""
    is_best: bool = False

    @property
    def words(self) -> str:
        return f"{self.text} ± {self.deviation}" if self.deviation else self.text


@dataclass(frozen=True, slots=True)
class Head:
    """The name of a column, under the name of its group if it has one."""

    name: str
    group: str = ""
    is_figure: bool = False

    @property
    def words(self) -> str:
        return f"{self.group} {self.name}".strip()


@dataclass(frozen=True, slots=True)
class Row:
    """A network's line."""

    cells: tuple[Cell, ...]
    is_ranked: bool
    begins_start: bool  # the first of those that started alike


@dataclass(frozen=True, slots=True)
class Grid:
    """One table."""

    title: str
    heads: tuple[Head, ...]
    rows: tuple[Row, ...]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Names of neighbouring columns with their number, for a line above the heads."""
        return [(name, len(list(own))) for name, own in groupby(head.group for head in self.heads)]


@dataclass(frozen=True, slots=True)
class _Words:
    """A column of words."""

    name: str
    word: Callable[[Standing], str]


@dataclass(frozen=True, slots=True)
class _Figures:
    """A column of figures. `better`: which end of it is the good one, if any."""

    name: str
    figure: Callable[[Standing], Figure | None]
    shown: Callable[[float], str]
    better: Literal["more", "less"] | None = "more"
    group: str = ""


_Column: TypeAlias = _Words | _Figures


def grids(results: Results) -> list[Grid]:
    """All tables of a comparison: the rankings, the paper's two tables for each loss, the figures of each data set."""
    made = [_ranking(results, start) for start in results.starts]
    made += [table(results, loss) for table in (_first, _second) for loss in results.losses]
    return made + [_of_dataset(results, name) for name in results.by_dataset]


def as_rich(grid: Grid, gap: int = 2) -> Table:
    """For `trainer.display.show`, with so many spaces between columns.

    In a narrow terminal deviations go below their figures, and the names of networks stay whole.
    """
    table = Table(title=grid.title, title_justify="left", box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for index, head in enumerate(grid.heads):
        least = max((len(word) for row in grid.rows for word in _terse(row.cells[index]).split()), default=0)
        table.add_column(
            head.words,
            justify="right" if head.is_figure else "left",
            no_wrap=not head.is_figure,
            min_width=least if head.is_figure else None,
            overflow="fold",
        )
    for row in grid.rows:
        table.add_row(*(Text(_terse(cell), "bold" if cell.is_best else "") for cell in row.cells))
    return table


def _terse(cell: Cell) -> str:
    return f"{cell.text} ±{cell.deviation}" if cell.deviation else cell.text


def _ranking(results: Results, start: str) -> Grid:
    ranked = results.rankings.get(start, [])
    front = {one.name for one in pareto(ranked)}
    place = {
        one.name: f"{number}{FRONT_MARK if one.name in front else ''}" for number, one in enumerate(ranked, start=1)
    }
    columns: tuple[_Column, ...] = (
        _Words("rank", lambda s: place.get(s.name, "–")),
        _BACKBONE,
        _LOSS,
        _Figures("score", lambda s: s.score, _share),
        _region("cell", "dice", "Dice"),
        *_COUNTS,
        _Figures("params, M", lambda s: Figure(s.parameters, None, 1), lambda n: f"{n / 1e6:.2f}", "less"),
        _Figures("ms a picture", _latency, lambda ms: f"{ms:.1f}", "less"),
    )
    own = [one for one in results.networks if one.start == start]
    return _grid(f"Ranking, from {from_words(start)}", own, columns, results)


def _first(results: Results, loss: str) -> Grid:
    columns: tuple[_Column, ...] = (
        _BACKBONE,
        _START,
        *(_region(region, *which) for region in _PARTS for which in (("precision",), ("dice", "F-score"))),
        _Figures("epochs", lambda s: s.epochs, lambda n: f"{n:.1f}", None),
        _Figures("best epoch", lambda s: s.best_epoch, lambda n: f"{n:.1f}", None),
    )
    return _grid(f"Table 1, loss {loss}: precision and F-score", _with_loss(results, loss), columns, results)


def _second(results: Results, loss: str) -> Grid:
    which = (("sensitivity",), ("specificity",), ("iou", "IoU"))
    columns: tuple[_Column, ...] = (_BACKBONE, _START, *(_region(region, *one) for region in _PARTS for one in which))
    return _grid(f"Table 2, loss {loss}: sensitivity, specificity and IoU", _with_loss(results, loss), columns, results)


def _of_dataset(results: Results, name: str) -> Grid:
    regions = (_region(region, "dice", "Dice") for region in (*_PARTS, "cell"))
    columns: tuple[_Column, ...] = (_BACKBONE, _LOSS, _START, *regions, *_COUNTS)
    return _grid(f"Pictures of {name} alone", results.by_dataset[name], columns, results)


def _with_loss(results: Results, loss: str) -> list[Standing]:
    return [one for one in results.networks if one.loss == loss]


def _grid(title: str, networks: Sequence[Standing], columns: Sequence[_Column], results: Results) -> Grid:
    ranked = {one.name for one in results.ranked}
    best = {index: _best(column, networks, ranked) for index, column in enumerate(columns)}
    rows = [
        Row(
            cells=tuple(_cell(column, one, best[index], ranked) for index, column in enumerate(columns)),
            is_ranked=one.name in ranked,
            begins_start=number == 0 or networks[number - 1].start != one.start,
        )
        for number, one in enumerate(networks)
    ]
    return Grid(title, tuple(_head(column) for column in columns), tuple(rows))


def _head(column: _Column) -> Head:
    return Head(column.name) if isinstance(column, _Words) else Head(column.name, column.group, is_figure=True)


def _cell(column: _Column, one: Standing, best: dict[str, str], ranked: set[str]) -> Cell:
    if isinstance(column, _Words):
        mark = f" {MARK}" if column is _BACKBONE and one.name not in ranked else ""
        return Cell(column.word(one) + mark)
    figure = column.figure(one)
    if figure is None:
        return Cell("–")
    text = column.shown(figure.mean)
    deviation = "" if figure.deviation is None else column.shown(figure.deviation)
    return Cell(text, deviation, is_best=one.name in ranked and best.get(one.start) == text)


def _best(column: _Column, networks: Sequence[Standing], ranked: set[str]) -> dict[str, str]:
    """start -> the best figure of a column as it is shown, so that all are marked that look alike."""
    if isinstance(column, _Words) or column.better is None:
        return {}
    choose = max if column.better == "more" else min
    found: dict[str, str] = {}
    for start in {one.start for one in networks}:
        rivals = [column.figure(one) for one in networks if one.start == start and one.name in ranked]
        means = [figure.mean for figure in rivals if figure]
        if len({column.shown(mean) for mean in means}) > 1:
            found[start] = column.shown(choose(means))
    return found


def _share(value: float) -> str:
    return f"{value:.4f}"


def _region(region: str, metric: str, name: str | None = None) -> _Figures:
    shown = "whole cell" if region == "cell" else region
    return _Figures(name or metric, lambda s: s.regions[region][metric], _share, group=shown)


def _latency(standing: Standing) -> Figure | None:
    return None if standing.milliseconds is None else Figure(standing.milliseconds, None, 1)


_PARTS = ("nucleus", "cytoplasm")
_BACKBONE = _Words("backbone", lambda s: s.backbone)
_LOSS = _Words("loss", lambda s: s.loss)
_START = _Words("start", lambda s: start_words(s.start))
_COUNTS = (
    _Figures("exact, %", lambda s: s.count_exact, lambda share: f"{share:.1%}"[:-1], group="counts"),
    _Figures("error, cells", lambda s: s.count_mae, lambda cells: f"{cells:.3f}", "less", group="counts"),
)
