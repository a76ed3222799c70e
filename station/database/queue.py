"""The database is the queue: lease, fail, save. Each function is part of one transaction of the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from sqlalchemy import ColumnElement, Table, bindparam, or_, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from station import pauses
from station.contract.errors import DatabaseError
from station.database import cells, history, overlaps
from station.database.records import MOST_DEATHS, SUPERSEDED, AnalysisRecord, Lease
from station.database.tables import Analysis, CellRow, File, Image, MaskRow

# Core statements on the plain tables, made once: they are run for every picture.
_IMAGES, _ANALYSES, _MASKS, _CELLS, _FILES = (
    cast(Table, row.__table__) for row in (Image, Analysis, MaskRow, CellRow, File)
)
_DONE = (
    update(_IMAGES)
    .where(_IMAGES.c.id == bindparam("of_image"), _IMAGES.c.reason.is_distinct_from(SUPERSEDED))
    .values(status="done", reason=None, worker=None, next_attempt_at=None)
)
# Gives the new id, or nothing where this model with these settings was there before.
_NEW_ANALYSIS = insert(_ANALYSES).on_conflict_do_nothing().returning(_ANALYSES.c.id)
_HOLDING = (
    select(_FILES.c.image_id, _FILES.c.path)
    .where(_FILES.c.image_id.in_(bindparam("of_images", expanding=True)))
    .order_by(_FILES.c.path)
)
_NEW_MASKS, _NEW_CELLS = insert(_MASKS), insert(_CELLS)


def release(session: Session, now: datetime) -> int:
    """Give back what a station that died had in hand: only one works on a database, so all leases are dead.

    How many that were.
    """
    history.end_all(session, "died", now)
    leased = session.scalars(select(Image).where(Image.status == "leased")).all()
    for image in leased:
        image.status, image.worker, image.since = "queued", None, now
        image.deaths += image.attempts > 1  # the first time it was one of several: which one was it?
        if image.deaths >= MOST_DEATHS:
            _put_aside(image, f"the station died {image.deaths} times while it was analysed", now)
    return len(leased)


def lease(
    session: Session, worker: str, most: int, now: datetime, *, fresh_only: bool = False, tried_first: bool = False
) -> list[Lease]:
    """Up to `most` fresh rows; if there are none, one that was tried before, alone, unless `fresh_only`.

    Alone, because a picture that kills the station must not take its neighbours with it. `tried_first`: that one, if
    there is one, or else fresh rows.
    """
    fresh = _in_turn(Image.status == "queued", Image.attempts == 0).limit(most)
    tried = _in_turn(Image.attempts > 0, _again(now)).limit(1)
    turns = [fresh] if fresh_only else [tried, fresh] if tried_first else [fresh, tried]
    chosen = next(filter(None, (session.scalars(turn).all() for turn in turns)), [])
    for image in chosen:
        image.status, image.worker, image.since = "leased", worker, now
        image.attempts += 1
    history.begin(session, [image.id for image in chosen], worker, now)
    paths = _paths(session, chosen)
    return [Lease(i.id, paths[i.id], i.sha256 or "", i.attempts, i.clock_differs) for i in chosen]


def give_back(session: Session, image_id: int, now: datetime) -> None:
    """The attempt did not take place."""
    _image(session, image_id).attempts -= 1
    try_later(session, image_id, now)


def try_later(session: Session, image_id: int, now: datetime) -> None:
    """The picture could not be read just now: back into the queue, behind the others."""
    image = _image(session, image_id)
    history.end(session, image_id, "given back", now)
    if image.reason != SUPERSEDED:
        image.status, image.worker, image.since = "queued", None, now


def fail(session: Session, image_id: int, reason: str, now: datetime) -> None:
    """The picture gave no result: put aside, and tried again after a pause that doubles up to a day."""
    image = _image(session, image_id)
    history.end(session, image_id, "failed", now, reason)
    if image.reason != SUPERSEDED:
        _put_aside(image, reason, now)


def save(session: Session, record: AnalysisRecord, now: datetime) -> None:
    """Count, cells, masks and status of one image. The same analysis twice is kept once."""
    if session.connection().execute(_DONE, {"of_image": record.image_id, "since": now}).rowcount == 0:
        _image(session, record.image_id)  # superseded while it was analysed, or not there at all
        history.end(session, record.image_id, "failed", now, SUPERSEDED)
        return
    history.end(session, record.image_id, "done", now)
    insert_analysis(session, record, now)
    if record.registered:
        overlaps.save(session, record.image_id, record.registered)


def insert_analysis(session: Session, record: AnalysisRecord, now: datetime) -> None:
    """The rows of an analysis; none where this model with these settings was there before."""
    connection = session.connection()
    if (row_id := connection.execute(_NEW_ANALYSIS, _columns(record, now)).scalar()) is None:
        return
    masks = {"analysis_id": row_id, "labels_png": record.labels_png, "cells_png": record.cells_png}
    connection.execute(_NEW_MASKS, masks)
    if record.cells:  # in one statement: row by row they would cost more than the picture's own
        connection.execute(_NEW_CELLS, [{"analysis_id": row_id} | cells.columns(cell) for cell in record.cells])


def _in_turn(*conditions: ColumnElement[bool]):  # type: ignore[no-untyped-def]
    return select(Image).where(*conditions).order_by(Image.attempts, Image.id)


def _again(now: datetime) -> ColumnElement[bool]:
    due = or_(Image.next_attempt_at <= now, Image.next_attempt_at > now + pauses.LONGEST)  # the clock was set back
    return or_(Image.status == "queued", (Image.status == "quarantined") & due)


def _paths(session: Session, images: Sequence[Image]) -> dict[int, tuple[str, ...]]:
    """The paths that held each content when they were last looked at, that of the row first."""
    held: dict[int, list[str]] = {image.id: [] for image in images}
    for image_id, path in session.connection().execute(_HOLDING, {"of_images": list(held)}):
        held[image_id].append(path)
    return {i.id: tuple(sorted(held[i.id], key=lambda path: path != i.path)) or (i.path,) for i in images}


def _put_aside(image: Image, reason: str, now: datetime) -> None:
    image.status, image.reason, image.worker = "quarantined", reason, None
    image.since, image.next_attempt_at = now, now + pauses.pause_after(image.attempts)


def _image(session: Session, image_id: int) -> Image:
    image = session.get(Image, image_id)
    if image is None:
        raise DatabaseError(f"there is no image {image_id} in the database")
    return image


def _columns(record: AnalysisRecord, now: datetime) -> dict[str, object]:
    """What a row of the analysis holds."""
    copied = (
        *("image_id", "model_sha256", "model", "engine", "settings_sha256", "package_version"),
        *("cell_diameter_px", "cell_diameter_source", "seconds", "quality", "width", "height"),
    )
    values: dict[str, object] = {name: getattr(record, name) for name in copied}
    values |= {"created_at": now, "flags": list(record.flags), "wbc_count": len(record.cells)}
    values["wbc_count_inside"] = sum(not cell.touches_edge for cell in record.cells)
    return values
