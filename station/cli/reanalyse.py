"""`station reanalyse`: days counted once more by the model that is active now."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click
from rich.console import Console

from station.cli.context import config_option, degraded, now_utc, progress, settings_of, writing
from station.cli.days import DAY, span
from station.contract.errors import StationError
from station.database.lock import RunLock, holder
from station.days import bounds
from station.printing import PSEUDONYMS, plural, printable
from station.reanalysis import Plan, Recount, plan, reanalyse
from station.watching import as_stored

_CIVIL = 10  # beside a running station: what comes in now goes first


@click.command("reanalyse")
@click.option("--from", "first", type=DAY, required=True, help="First local day.")
@click.option("--to", "last", type=DAY, required=True, help="Last local day, included.")
@click.option("--slide", metavar="NAME", help="Only pictures of this slide.")
@config_option
def command(first: datetime, last: datetime, slide: str | None, config: Path | None) -> None:
    """Analyse counted pictures again by the active model, for example after another one was installed.

    The new result is stored beside the old ones and counts from then on; corrected pictures keep their corrected
    count. What the active model has counted already is left alone, so the command can be cut off and called again. It
    may work beside `station run`, with low priority. Only counted pictures are taken. One whose file is gone keeps its
    old count, is named, and makes the exit code 1.

    \b
    Example:
      station reanalyse --from 2026-11-02 --to 2026-11-24
      station reanalyse --from 2026-11-24 --to 2026-11-24 --slide S-17
    """
    settings = settings_of(config)
    start, end = bounds(*span(first, last), settings.report.zone)
    database = settings.database.path
    with RunLock(database, clock=now_utc, work="reanalyse"), writing(settings) as store:
        if holder(database) is not None:
            os.nice(_CIVIL)
        planned = plan(store, settings, start, end, as_stored(slide) if slide is not None else None)
        if slide is not None and not (planned.due or planned.done):
            raise StationError(f"no picture of the slide {slide} was counted on these days; {PSEUDONYMS}")
        outcomes: list[Recount] = []
        try:
            with progress(Console(stderr=True)) as bar:
                work = reanalyse(store, settings, planned, trouble=degraded())
                outcomes.extend(bar.track(work, len(planned.due), description="analysing again"))
        finally:  # what is done stays done, whatever ended it
            if outcomes or not planned.due:
                _tell(planned, outcomes)
    sys.exit(1 if any(one.now is None for one in outcomes) else 0)


def _tell(planned: Plan, outcomes: Sequence[Recount]) -> None:
    again = [one for one in outcomes if one.now is not None]
    before, now = sum(one.before for one in again), sum(one.now or 0 for one in again)
    other = sum(one.before != one.now for one in again)
    click.echo(
        printable(f"{plural(len(again), 'picture')} analysed again by {planned.model.name}: ")
        + f"{before} -> {plural(now, 'white cell')} found, another number in {other}"
    )
    if kept := sum(one.kept for one in again):
        click.echo(
            f"{plural(kept, 'picture')} of these {'keeps' if kept == 1 else 'keep'} the count that a person gave"
        )
    if planned.done:
        click.echo(f"{plural(planned.done, 'picture')} counted by it already")
    for one in outcomes:
        if one.now is None:
            click.echo(printable(f"not analysed again: image {one.image_id} ({one.path}): {one.reason}"), err=True)
