"""The day as a table for a terminal or a file: aligned columns, a line per picture, nothing cut off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from station.days import clock_words, days_in_words
from station.printing import plural, printable
from station.reports import ImageLine, Summary, day_notes

_PURPOSE = "Research use only. Counts of white cells, no differential count, no diagnosis."
_SLIDES = ("slide", "pictures", "white cells", "distinct")
_PICTURES = ("id", "picture", "slide", "captured", "white cells", "inside", "status", "notes")


def render(summary: Summary) -> str:
    """Head line, slides, pictures, and what is open."""
    lines = [_headline(summary), *_looked_at(summary), *summary.models, *day_notes(summary)]
    if summary.images:
        lines += ["", *_aligned(_slides(summary))]
        moment = "%H:%M:%S" if summary.first == summary.last else "%Y-%m-%d %H:%M:%S"
        lines += ["", *_aligned([_PICTURES, *(_picture(line, moment) for line in summary.images)]), ""]
    return "\n".join([*lines, _PURPOSE, ""])


def _headline(summary: Summary) -> str:
    cells = plural(summary.wbc_count, "white cell")
    counted = (
        f"{plural(len(summary.counted), 'picture')} counted, {cells} ({summary.wbc_count_inside} not cut by the edge)"
    )
    days = f"{days_in_words(summary.first, summary.last)} ({summary.time_zone})"
    return f"{days}: {counted}, {len(summary.open)} not counted"


def _looked_at(summary: Summary) -> Iterator[str]:
    if summary.corrected:
        changed, rejected = (sum(getattr(line, word) for line in summary.counted) for word in ("changed", "rejected"))
        yield (
            f"persons looked at {plural(len(summary.corrected), 'picture')}, changed cells of {changed}, "
            f"rejected {rejected}: without that {plural(summary.wbc_count_automatic, 'white cell')}"
        )


def _slides(summary: Summary) -> list[tuple[str, ...]]:
    """Without the last column where no two pictures show the same cell."""
    distinct = summary.distinct
    rows = [(printable(name), str(images), str(cells), str(distinct[name])) for name, images, cells in summary.slides]
    columns = 4 if summary.wbc_count_distinct != summary.wbc_count else 3
    return [row[:columns] for row in (_SLIDES, *rows)]


def _picture(line: ImageLine, moment: str) -> tuple[str, ...]:
    said = ["rejected"] if line.rejected else []
    notes = ", ".join([*said, *line.flags]) or (line.reason or "")
    count, inside = ("" if value is None else str(value) for value in (line.count, line.inside))
    names = (printable(line.name), printable(line.slide), clock_words(line.captured_at, moment))
    return (str(line.image_id), *names, count, inside, line.status, notes)


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rich's own table takes two seconds for the thousand pictures of a busy day."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (text + " " * (width - cell_len(text)) for text, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()
