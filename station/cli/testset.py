"""`station testset`: the slides on which models are compared, and from which none may learn."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from station.cli.context import config_option, now_utc, reading, settings_of, writing
from station.cli.days import DAY, span
from station.contract.errors import StationError
from station.database.review_records import Between
from station.days import bounds, days_in_words
from station.printing import plural, printable
from station.testset import TestSet, draw, freeze, frozen, learnt, learnt_facts

_TELLING = 20, 5  # pictures and slides, with fewer of which `trainer fit --test` decides nothing


@click.group("testset")
def command() -> None:
    """Keep a test set: whole slides, drawn once, that `station export --format training` holds back for good.

    \b
    Example:
      station testset freeze --from 2026-11-02 --to 2026-11-13 --share 0.2
      station testset show
    """


@command.command("freeze")
@click.option("--from", "first", type=DAY, required=True, help="First local day.")
@click.option("--to", "last", type=DAY, required=True, help="Last local day, included.")
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Of the counted pictures.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draw.")
@click.option("--replace", is_flag=True, help="Draw it anew, though there is one.")
@config_option
def freeze_set(first: datetime, last: datetime, share: float, seed: int, replace: bool, config: Path | None) -> None:
    """Draw whole slides of these days by chance, until they hold the share of the pictures, and keep them for good.

    Slides that were exported for training before are not drawn: a model is not tested on what it learnt from.

    \b
    Example:
      station testset freeze --from 2026-11-02 --to 2026-11-13 --share 0.2
    """
    settings = settings_of(config)
    days = span(first, last)
    with writing(settings) as store:
        before, seen = learnt_facts(store), learnt(store)
        lines = store.review_lines(Between(*bounds(*days, settings.report.zone)))
        made = draw(lines, *days, share, seed, now_utc(), seen)
        freeze(store, made, before, replace=replace)
    _show(made)
    if passed := seen.intersection(line.slide for line in lines):
        were = "was" if len(passed) == 1 else "were"
        click.echo(f"not drawn: {plural(len(passed), 'slide')} that {were} exported for training")


@command.command("show")
@config_option
def show_set(config: Path | None) -> None:
    """Show the test set; names of slides as they are.

    \b
    Example:
      station testset show
    """
    with reading(settings_of(config)) as store:
        made = frozen(store)
    if made is None:
        raise StationError("no test set is frozen; `station testset freeze --from D --to D` draws one")
    _show(made)


def _show(made: TestSet) -> None:
    of = f"{made.images_in_all} in {plural(made.slides_in_all, 'slide')} of {days_in_words(made.first, made.last)}"
    held = f"{plural(len(made.images), 'picture')} in {plural(len(made.slides), 'slide')}"
    click.echo(f"test set: {held}, of {of}, frozen at {made.made_at.isoformat(timespec='seconds')}, seed {made.seed}")
    click.echo(printable(f"slides: {', '.join(made.slides)}"))
    if len(made.images) < _TELLING[0] or len(made.slides) < _TELLING[1]:
        pictures, slides = _TELLING
        click.echo(f"fewer than {pictures} pictures in {slides} slides: too few to tell two models apart")
