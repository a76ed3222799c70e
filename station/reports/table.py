"""The day as a table for a terminal; plain text where it is piped."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table

from station.printing import printable
from station.reports import Summary, day_notes, days_in_words, plural


def render(summary: Summary) -> str:
    """Head line, slides, pictures, and what is open."""
    console = Console(file=io.StringIO(), width=110, highlight=False, markup=False)
    console.print(_headline(summary))
    for note in (*summary.models, *day_notes(summary)):
        console.print(note)
    if summary.images:
        console.print(_slides(summary))
        console.print(_pictures(summary))
    console.print("Research use only. Counts of white cells, no differential count, no diagnosis.")
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def _headline(summary: Summary) -> str:
    cells = plural(summary.wbc_count, "white cell")
    counted = (
        f"{plural(len(summary.counted), 'picture')} counted, {cells} ({summary.wbc_count_inside} not cut by the edge)"
    )
    days = f"{days_in_words(summary.first, summary.last)} ({summary.time_zone})"
    return f"{days}: {counted}, {len(summary.open)} not counted"


def _slides(summary: Summary) -> Table:
    table = Table("slide", "pictures", "white cells")
    for slide, pictures, cells in summary.slides:
        table.add_row(printable(slide), str(pictures), str(cells))
    return table


def _pictures(summary: Summary) -> Table:
    table = Table("id", "picture", "slide", "captured", "white cells", "inside", "status", "notes")
    for line in summary.images:
        notes = ", ".join(line.flags) or (line.reason or "")
        count, inside = ("" if value is None else str(value) for value in (line.wbc_count, line.wbc_count_inside))
        captured = f"{line.captured_at:%H:%M:%S}"
        table.add_row(
            str(line.image_id), printable(line.name), printable(line.slide), captured, count, inside, line.status, notes
        )
    return table
