"""What several commands share: the --config option, and how settings, database and progress are opened."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from station.database.records import EngineTrial
from station.database.store import Store
from station.engines import Option
from station.printing import printable
from station.selection import Choice
from station.settings import CONFIG_VARIABLE, DEFAULT_FILE, Settings, read_settings, settings_path
from station.standby import first_alone

_WIDE = 400  # columns: no path is folded in a file

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"Settings file (default: ${CONFIG_VARIABLE}, else ./station.toml).",
)


class CellDiameter(click.FloatRange):
    """A diameter that `station.toml` would accept too."""

    name = "px"

    def __init__(self) -> None:
        super().__init__(4, 2000, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):  # no comparison with it fails, so the range lets it pass
            self.fail("nan is no diameter", param, ctx)
        return number


def now_utc() -> datetime:
    """The clock that commands hand on."""
    return datetime.now(UTC)


def settings_of(config: Path | None) -> Settings:
    """The settings that --config stands for."""
    return read_settings(settings_path(config))


def settings_if_any(config: Path | None) -> Settings | None:
    """Those of --config or of the variable, which must be there; else ./station.toml if it is."""
    told = config or os.environ.get(CONFIG_VARIABLE)
    return settings_of(config) if told or DEFAULT_FILE.exists() else None


@contextmanager
def reading(settings: Settings) -> Iterator[Store]:
    """The database for reading, closed at the end."""
    with closing(Store.open_reader(settings.database.path, clock=now_utc)) as store:
        yield store


@contextmanager
def writing(settings: Settings, *, create: bool = False) -> Iterator[Store]:
    """The database for writing, brought to this package's schema, closed at the end."""
    with closing(Store.open(settings.database.path, clock=now_utc, create=create)) as store:
        yield store


def need_somebody() -> None:
    """Before a question. Raises UsageError where nobody sits at the terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError("there is nobody to ask; say --yes")


def models_folder(settings: Settings) -> Path:
    """Where installed bundles are kept: beside the database."""
    return settings.database.path.parent / "models"


def show(table: Table) -> None:
    """A table on a terminal; plain aligned lines, nothing cut off, where the output is a file or a pipe."""
    console = Console(markup=False, highlight=False)  # a file may be called [bold]
    if console.is_terminal:
        console.print(table)
        return
    table.box = None
    Console(markup=False, highlight=False, width=_WIDE).print(table)


def trying(bar: Progress) -> Callable[[Option], None]:
    """What a bar says while engines prove themselves."""
    task = bar.add_task("proving the model on golden pictures", total=None)
    return lambda option: bar.update(task, description=f"proving the model on {option}")


def building(bar: Progress) -> Callable[[int], None]:
    """The line of a plan that is built for a GPU, with the time left; not there before it begins and after its end."""
    task = bar.add_task("building a plan for the GPU", total=100, visible=False)
    return lambda percent: bar.update(task, completed=percent, visible=percent < 100)


def engines(trials: Sequence[EngineTrial], choice: Choice) -> Table:
    """How each engine came out with the model; the one that serves is marked."""
    table = Table("", "engine", "precision", "ms", "Dice", Column("found", overflow="fold"))
    for trial in trials:
        mark = "serves" if (trial.engine, trial.precision) == (choice.option.engine, choice.option.precision) else ""
        figures = (f"{trial.milliseconds:.0f}", f"{trial.cell_dice:.4f}") if trial.serves else ("", "")
        waits = "" if trial.serves else trial.refusal or "its plan is being built"
        table.add_row(mark, trial.engine, trial.precision, *figures, waits or trial.found)
    return table


def progress(console: Console, *, disable: bool = False) -> Progress:
    """A bar with the time left on a terminal; nothing where the output is a file or a pipe."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=disable or not console.is_terminal, transient=True)


def degraded() -> Callable[[str], None]:
    """How a command tells on stderr, once, that another engine answers than the one that was chosen."""
    return first_alone(lambda sentence: click.echo(printable(f"degraded: {sentence}"), err=True))
