"""A database in tests: a clock that moves only when told to, and rows in few words."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.pool import Pool

from station.database.records import AnalysisRecord, FileStamp, ImageResult, NewImage, StoredCell
from station.database.store import Store
from station.pruning import Plan, prune_images, prune_masks

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
END = START + DAY
STAMP = FileStamp(6_000_000, 1_790_000_000_123_456_789, 2**63 - 1)


class Clock:
    """Moves only when told to."""

    now = START

    def __call__(self) -> datetime:
        return self.now

    def after(self, **span: float) -> None:
        self.now += timedelta(**span)


def new(path: str, content: str | None = None, captured_at: datetime = START, *, rung: bool = False) -> NewImage:
    return NewImage(path, STAMP, content or f"content of {path}", "S-17", captured_at, rung)


def wait(store: Store, path: str, reason: str = "is empty") -> None:
    store.note_waiting(path, STAMP, reason, "S-17")


def refuse(store: Store, path: str) -> None:
    store.quarantine_file(path, STAMP, "is text", "S-17", next_look_at=START)


def leased(store: Store, most: int = 8) -> list[tuple[int, int]]:
    return [(lease.image_id, lease.attempt) for lease in store.lease("w", most)]


def cell(number: int, *, touches_edge: bool = False) -> StoredCell:
    return StoredCell(number, 10.5, 20.25, 1, 2, 30, 40, 900, 600, 300, 2.0, touches_edge, 0.9)


def analysis(image_id: int, **changes: object) -> AnalysisRecord:
    model, scale = ("m1", "starter 1", "onnxruntime 1.30 cpu", "s1", "0.1.0"), (120.0, "told")
    cells, masks = (cell(1), cell(2, touches_edge=True)), (b"\x89PNG\0labels", b"\0\xff")
    made = AnalysisRecord(image_id, *model, *scale, ("dark",), {"total": 0.5}, cells, *masks, 1024, 768)
    return replace(made, **changes)


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def results(store: Store) -> list[ImageResult]:
    return store.results_between(START - 365 * DAY, START + 365 * DAY)


@contextmanager
def on_connect(act: Callable[[sqlite3.Connection], object]) -> Iterator[None]:
    """Does something to every connection that is opened in the block."""

    def listener(connection: sqlite3.Connection, _record: object) -> None:
        act(connection)

    sa.event.listen(Pool, "connect", listener)
    yield
    sa.event.remove(Pool, "connect", listener)


def half_saved(store: Store) -> bool:
    """Whether anything of an analysis is there, or the image is leased no more."""
    assert rows(store.path, "PRAGMA integrity_check") == [("ok",)]
    found = any(rows(store.path, f"SELECT 1 FROM {name}") for name in ("analyses", "cells", "masks"))
    return found or [row.status for row in results(store)] != ["leased"]


def pruned(store: Store, planned: Plan) -> int:
    """Remove all that was planned; how many images went."""
    prune_masks(store, planned)
    return prune_images(store, planned)


def remove(store: Store, *image_ids: int) -> None:
    """Take images away, as a prune would."""
    old = store.old_images(START + 9999 * DAY)
    assert store.remove_images([one for one in old if one.image_id in image_ids], START + DAY) == len(image_ids)
