"""`station baseline`: what later days are held against."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click
from rich.table import Table

from station.baseline import QUANTILES, Baseline, Spread, keep, kept, measure
from station.cli.context import config_option, now_utc, reading, settings_of, show, writing
from station.cli.days import DAY, span
from station.contract.errors import StationError
from station.days import bounds, days_in_words
from station.printing import plural, printable

_NAMES = {"cells_per_field": "cells per field", "area_px": "cell area, px", "nc_ratio": "N:C ratio"}


@click.group("baseline")
def command() -> None:
    """Keep what cells and pictures measured when the station was commissioned; `station report` compares with it.

    \b
    Example:
      station baseline set --from 2026-11-02 --to 2026-11-06
      station baseline show
    """


@command.command("set")
@click.option("--from", "first", type=DAY, required=True, help="First local day.")
@click.option("--to", "last", type=DAY, required=True, help="Last local day, included.")
@config_option
def set_baseline(first: datetime, last: datetime, config: Path | None) -> None:
    """Take the pictures captured on these days as the baseline, instead of an earlier one.

    At least 20 of them must show a white cell, and one model must have counted them all.

    \b
    Example:
      station baseline set --from 2026-11-02 --to 2026-11-06
    """
    settings = settings_of(config)
    start, end = span(first, last)
    with writing(settings) as store:
        fields = store.fields_between(*bounds(start, end, settings.report.zone))
        baseline = measure(fields, start, end, now_utc())
        keep(store, baseline)
    _show(baseline)


@command.command("show")
@config_option
def show_baseline(config: Path | None) -> None:
    """Show the baseline.

    \b
    Example:
      station baseline show
    """
    with reading(settings_of(config)) as store:
        baseline = kept(store)
    if baseline is None:
        raise StationError("no baseline is set; `station baseline set --from D --to D` sets one")
    _show(baseline)


def _show(baseline: Baseline) -> None:
    cells = baseline.cells["area_px"].count
    days = days_in_words(baseline.first, baseline.last)
    images = f"{plural(baseline.images, 'picture')}, {baseline.images_with_cells} of them with {plural(cells, 'cell')}"
    click.echo(printable(f"{days}: {images}, by {baseline.model} ({baseline.model_sha256[:12]})"))
    table = Table("of", "quantity", "n", "mean", "sd", *(f"{100 * part:g} %" for part in QUANTILES))
    for unit, spreads in (("cells", baseline.cells), ("pictures", baseline.fields)):
        for name, one in spreads.items():
            table.add_row(unit, _NAMES.get(name, name), str(one.count), *_figures(one))
    show(table)


def _figures(one: Spread) -> list[str]:
    return [f"{value:.4g}" for value in (one.mean, one.sd, *one.quantiles)]
