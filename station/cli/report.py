"""`station report`: a day, or several, summed up."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import click

from station.cli.context import config_option, now_utc, reading, settings_of
from station.cli.days import DAY, any_span
from station.contract.durable import write_whole
from station.contract.errors import StationError
from station.database.store import Store
from station.days import bounds, days_in_words
from station.reports import DETAILED, FORMATS, render, summarise
from station.reports.day import detailed
from station.settings import Settings

Word: TypeAlias = Literal["today", "yesterday"]


class _DayOrWord(click.DateTime):
    """A date, or the word for a day: a timer needs the one that ended last."""

    name = "YYYY-MM-DD|yesterday|today"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value in get_args(Word) else super().convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:  # none before click 8.2
        return self.name


@click.command("report")
@click.option("--date", "day", type=_DayOrWord(["%Y-%m-%d"]), help="A local day (default: today).")
@click.option("--from", "first", type=DAY, help="First local day.")
@click.option("--to", "last", type=DAY, help="Last local day, included.")
@click.option(
    "--missing",
    type=click.IntRange(1, 366),
    metavar="DAYS",
    help="Yesterday, and of so many days those with pictures of which there is no file yet.",
)
@click.option("--format", "style", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option(
    "--names", is_flag=True, help="Show names of files and slides; by default pseudonyms, they may name patients."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file; {date} stands for the day.",
)
@config_option
def command(
    day: datetime | Word | None,
    first: datetime | None,
    last: datetime | None,
    missing: int | None,
    style: str,
    names: bool,
    output: Path | None,
    config: Path | None,
) -> None:
    """Sum up the pictures captured on a local day: counts per picture and slide, and what is not counted.

    \b
    Example:
      station report --date 2026-03-29
      station report --from 2026-03-01 --to 2026-03-31 --format csv -o march.csv
      station report --missing 14 --format html -o report-{date}.html
      station report --format html -o day.html
    """
    settings = settings_of(config)
    zone = settings.report.zone
    today = now_utc().astimezone(zone).date()
    if missing and (day or first or last or "{date}" not in str(output)):
        raise click.UsageError("--missing names the days itself; give it -o with {date}, which stands for each")
    with reading(settings) as store:
        spans = (
            _missing(store, settings, missing, today, output)
            if missing and output
            else [_days(day, first, last, today)]
        )
        for start, end in spans:
            text = _text(store, start, end, settings, style, names=names)
            if output is None:
                click.echo(text, nl=False)
            else:
                _write(_place(output, start, end), text)


def _text(store: Store, start: date, end: date, settings: Settings, style: str, *, names: bool) -> str:
    if style in DETAILED:
        return render(detailed(store, start, end, settings, now_utc(), names=names), style)
    return render(summarise(store, start, end, settings.report.zone, names=names), style)


def _missing(store: Store, settings: Settings, days: int, today: date, output: Path) -> list[tuple[date, date]]:
    """Yesterday, and before it the days with pictures that have no file: the machine may have been off at midnight."""
    ended = [today - timedelta(days=back) for back in range(days, 0, -1)]
    return [
        (one, one)
        for one in ended
        if one == ended[-1]
        or (not _place(output, one, one).exists() and store.results_between(*bounds(one, one, settings.report.zone)))
    ]


def _place(output: Path, start: date, end: date) -> Path:
    return Path(str(output).replace("{date}", days_in_words(start, end).replace(" ", "-")))


def _write(output: Path, text: str) -> None:
    try:
        write_whole(output, text)
    except OSError as cause:
        raise StationError(f"{output} cannot be written ({cause.strerror}); name another place with -o") from cause
    click.echo(f"wrote {output}")


def _days(day: datetime | Word | None, first: datetime | None, last: datetime | None, today: date) -> tuple[date, date]:
    back = timedelta(days=1 if day == "yesterday" else 0)
    one = day if isinstance(day, datetime) else day and datetime.combine(today - back, time.min)
    return any_span(one, first, last) or (today, today)
