"""`station report`: a day, or several, summed up."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Literal

import click

from station.cli.context import config_option, now_utc, reading, settings_of
from station.cli.days import DAY, any_span
from station.contract.errors import StationError
from station.days import days_in_words
from station.reports import DETAILED, FORMATS, render, summarise
from station.reports.day import detailed

_YESTERDAY = "yesterday"


class _DayOrYesterday(click.DateTime):
    """A date, or the word for the day that ended last, which a timer needs."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == _YESTERDAY else super().convert(value, param, ctx)


@click.command("report")
@click.option("--date", "day", type=_DayOrYesterday(["%Y-%m-%d"]), help="A local day, or `yesterday` (default: today).")
@click.option("--from", "first", type=DAY, help="First local day.")
@click.option("--to", "last", type=DAY, help="Last local day, included.")
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
    day: datetime | Literal["yesterday"] | None,
    first: datetime | None,
    last: datetime | None,
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
      station report --date yesterday --format html -o report-{date}.html
      station report --format html -o day.html
    """
    settings = settings_of(config)
    zone = settings.report.zone
    start, end = _days(day, first, last, now_utc().astimezone(zone).date())
    with reading(settings) as store:
        summary = summarise(store, start, end, zone, names=names)
        text = render(detailed(store, summary, settings, now_utc()) if style in DETAILED else summary, style)
    if output is None:
        click.echo(text, nl=False)
        return
    output = Path(str(output).replace("{date}", days_in_words(start, end).replace(" ", "-")))
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as cause:
        raise StationError(f"{output} cannot be written ({cause.strerror})") from cause
    click.echo(f"wrote {output}")


def _days(
    day: datetime | Literal["yesterday"] | None, first: datetime | None, last: datetime | None, today: date
) -> tuple[date, date]:
    one = day if isinstance(day, datetime) else day and datetime.combine(today - timedelta(days=1), time.min)
    return any_span(one, first, last) or (today, today)
