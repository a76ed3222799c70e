"""A database after years: pictures that the store itself took and counted, and copies of their rows by the thousand.

The copies are made in SQL from whatever columns the tables have, so that they are what the store would have written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stores import Clock, analysis, cell, new

from station.database.records import FileStamp
from station.database.store import Store
from station.database.tables import Row

LAST_DAY = datetime(2026, 11, 23, tzinfo=UTC)
PER_DAY = 1000
CELLS = (3, 4, 5, 6, 7)  # of the counted pictures in turn: five on average
OPEN_EVERY = 5000  # one picture in so many is not counted

_MOMENTS = ("captured_at", "ingested_at", "since", "first_seen", "created_at", "begun_at", "ended_at")


def fill(database: Path, files: Sequence[tuple[str, FileStamp]]) -> None:
    """A picture for each file, in the order of their arrival: `PER_DAY` a day, the last ones on `LAST_DAY`."""
    done, still_open = _taken_by_the_store(database)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute(
            "CREATE TEMP TABLE copies (pattern, image, path, sha256, slide, moment, size, mtime_ns, inode)"
        )
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO copies VALUES (?,?,?,?,?,?,?,?,?)", _copies(files, done, still_open))
        for table in Row.metadata.sorted_tables:
            columns = [column.name for column in table.columns]
            if (key := _key(table.name, columns)) is not None:
                connection.execute(_copied(table.name, columns, key))
        connection.execute("COMMIT")


def moment(number: int, total: int) -> datetime:
    """When the picture was taken: eight hours from six in the morning on, UTC."""
    day = LAST_DAY - timedelta(days=(total - 1) // PER_DAY - number // PER_DAY)
    return day + timedelta(hours=6, seconds=number % PER_DAY * 28_800 / PER_DAY)


def _taken_by_the_store(database: Path) -> tuple[list[int], list[int]]:
    """Ids of pictures that are counted, and of some that wait, are queued, are refused or failed."""
    stamp, clock = FileStamp(0, 0, 0), Clock()
    clock.now = LAST_DAY - timedelta(days=9999)
    with closing(Store.open(database, clock=clock, create=True)) as store:
        done = [store.add_image(new(f"pattern {cells}", captured_at=clock.now)).image_id for cells in CELLS]
        store.add_image(new("pattern that fails", captured_at=clock.now))
        for image_id, cells in zip(done, CELLS, strict=True):
            store.lease("w", 1)
            made = tuple(cell(number, touches_edge=number == 1) for number in range(cells))
            store.save_analysis(analysis(image_id, cells=made))
        (failing,) = store.lease("w", 1)
        store.fail(failing.image_id, "is complete but cannot be decoded (bmp, 1024 x 768 pixels)")
        store.add_image(new("pattern that is queued", captured_at=clock.now))
        store.note_waiting("pattern that waits", stamp, "is shorter than its header says (1 of 2 bytes)", "S")
        store.quarantine_file("pattern of text", stamp, "is text, not a picture", "S", next_look_at=clock.now)
        return done, [item.image_id for item in store.open_items()]


def _copies(
    files: Sequence[tuple[str, FileStamp]], done: list[int], still_open: list[int]
) -> Iterable[tuple[object, ...]]:
    first = max(*done, *still_open) + 1
    for number, (path, stamp) in enumerate(files):
        turn, is_open = divmod(number + 1, OPEN_EVERY)
        pattern = done[number % len(done)] if is_open else still_open[turn % len(still_open)]
        taken_at = moment(number, len(files)).isoformat(timespec="microseconds")
        place = (path, f"{number:064x}", Path(path).parent.name, taken_at)
        yield (pattern, first + number, *place, stamp.size, stamp.mtime_ns, stamp.inode)


def _key(table: str, columns: list[str]) -> str | None:
    """By what a row belongs to an image; none for tables that are not about images. An analysis has its image's id."""
    return "id" if table == "images" else next((name for name in ("image_id", "analysis_id") if name in columns), None)


def _copied(table: str, columns: list[str], key: str) -> str:
    own = {name: f"c.{name}" for name in ("path", "slide", "size", "mtime_ns", "inode")}
    own |= dict.fromkeys(("image_id", "analysis_id"), "c.image") | dict.fromkeys(_MOMENTS, "c.moment")
    if table in ("images", "analyses"):
        own["id"] = "c.image"
    own["sha256"] = "CASE WHEN o.sha256 IS NULL THEN NULL ELSE c.sha256 END"
    chosen = ", ".join(own.get(name, f"o.{name}") for name in columns)
    source = f"copies AS c CROSS JOIN {table} AS o ON o.{key} = c.pattern"
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} FROM {source}"
