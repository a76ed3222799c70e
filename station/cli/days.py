"""The options of commands that work on local days: one, or the first and the last."""

from __future__ import annotations

from datetime import date, datetime

import click

from station.days import REACH, in_reach


class _Day(click.DateTime):
    """A date."""

    name = "YYYY-MM-DD"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:  # none before click 8.2
        return self.name


DAY = _Day(["%Y-%m-%d"])


def span(first: datetime, last: datetime) -> tuple[date, date]:
    """Both days, included. Raises UsageError where the first lies after the last, or no report can be made of one."""
    if first > last:
        raise click.UsageError("--from lies after --to")
    for day in (first, last):
        if not in_reach(day.date()):
            raise click.UsageError(f"{day:%Y-%m-%d} is no day of a report; give one from {REACH[0]} to {REACH[1]}")
    return first.date(), last.date()


def any_span(day: datetime | None, first: datetime | None, last: datetime | None) -> tuple[date, date] | None:
    """What --date, or --from and --to, stand for; None where no day is told. Raises UsageError as `span` does."""
    if day and (first or last):
        raise click.UsageError("--date names one day, --from and --to several: give one or the other")
    if day:
        return span(day, day)
    if first and last:
        return span(first, last)
    if first or last:
        raise click.UsageError("--from and --to go together")
    return None
