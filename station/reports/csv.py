"""The day as CSV, one line per picture."""

from __future__ import annotations

import csv
import io
from dataclasses import fields

from station.printing import defused
from station.reports import ImageLine, Summary


def render(summary: Summary) -> str:
    """A header and one line per picture; text that a spreadsheet would run is defused by an apostrophe."""
    columns = [field.name for field in fields(ImageLine)] + ["count", "inside"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for line in summary.images:
        writer.writerow([_value(getattr(line, column)) for column in columns])
    return buffer.getvalue()


def _value(value: object) -> str | int | float:
    if isinstance(value, int | float):
        return value
    if value is None:
        return ""
    return defused(" ".join(value) if isinstance(value, tuple) else str(value))
