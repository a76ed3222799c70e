"""The day as one page that needs nothing beside itself: no network, no script. Filled from the JSON document."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final

from jinja2 import Environment

from station.days import clock_words, days_in_words
from station.ledger import GAPS
from station.printing import plural
from station.reports import Summary, day_notes
from station.reports.charts import Charts
from station.reports.figures import Detail, Tile
from station.reports.json import document
from station.templates import environment, thousands

MOST_ROWS: Final = 1000  # pictures in the last table: a month must not make a page that nobody can open


def render(summary: Summary) -> str:
    """The page. Without `summary.detail` it holds totals, slides and pictures alone."""
    return (
        _environment()
        .get_template("html.jinja")
        .render(
            told=document(summary),
            days=days_in_words(summary.first, summary.last),
            notes=day_notes(summary),
            pictures=summary.images[:MOST_ROWS],
            left_off=max(0, len(summary.images) - MOST_ROWS),
            names={line.image_id: line for line in summary.images},
            gaps=GAPS,
            **_drawn(summary.detail),
        )
    )


def _drawn(detail: Detail | None) -> Mapping[str, object]:
    """The charts and pictures."""
    if detail is None:
        return {}
    charts = Charts(detail.period)
    return {
        "dots": charts.dots(detail.dots) if detail.dots else None,
        "distributions": [charts.distribution(one) for one in detail.distributions],
        "controls": [(one, charts.control(one)) for one in detail.control],
        "latency": charts.distribution(detail.latency) if detail.latency else None,
        "cells": [(tile, _address(tile)) for tile in detail.sheet.cells],
        "fields": [(tile, _address(tile)) for tile in detail.sheet.fields],
    }


def _address(tile: Tile) -> str | None:
    """The picture as an address that holds it."""
    if tile.jpeg is None:
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(tile.jpeg).decode()}"


def _environment() -> Environment:
    return environment(
        "reports",
        {"plural": _plural, "number": thousands, "percent": _percent, "figures": _figures, "clock": clock_words},
    )


def _plural(count: int, noun: str) -> str:
    """As `plural`, with the thousands apart."""
    return plural(count, noun).replace(str(count), thousands(count), 1)


def _percent(value: float) -> str:
    """A share, 0..1, with one decimal."""
    return f"{100 * value:.1f} %"


def _figures(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
