"""What the arrivals tell of events, clocks and growth, and whether the pages are whole. Only reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from station.database.records import FileStamp
from station.database.results import superseded
from station.database.tables import File, Image

_MOST_COMPLAINTS = 3


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that holds a picture, at its arrival."""

    rung: bool  # whether an event announced it
    captured_at: datetime
    ingested_at: datetime
    age: timedelta  # since its last writing; below zero where the clocks disagree


@dataclass(frozen=True, slots=True)
class Arrivals:
    """How pictures came in. Moments are aware, and none where the database holds no row."""

    newest: tuple[Arrival, ...]  # the newest first
    images: int  # in all, without half copies that were replaced
    lately: int  # taken in since the moment that was asked for
    first_at: datetime | None
    last_at: datetime | None


def arrivals(session: Session, since: datetime, most: int) -> Arrivals:
    """The `most` newest files, and the figures of all rows."""
    first_at, last_at = session.execute(select(func.min(Image.ingested_at), func.max(Image.ingested_at))).one()
    count = select(func.count()).select_from(Image)
    images, lately = session.scalar(count), session.scalar(count.where(Image.ingested_at >= since))
    images = (images or 0) - superseded(session)
    return Arrivals(_newest(session, most), images, lately or 0, first_at, last_at)


def complaints(session: Session, *, thorough: bool) -> list[str]:
    """What SQLite finds wrong with its pages, in its words; `thorough` holds the indexes against their tables too."""
    check = "integrity_check" if thorough else "quick_check"
    found = [str(row[0]) for row in session.execute(text(f"PRAGMA {check}({_MOST_COMPLAINTS})"))]
    return [] if found == ["ok"] else found


def _newest(session: Session, most: int) -> tuple[Arrival, ...]:
    columns = (File.rung, Image.captured_at, Image.ingested_at, File.size, File.mtime_ns, File.inode)
    pictures = select(*columns).join(File.image).where(Image.sha256.is_not(None))
    newest = session.execute(pictures.order_by(File.image_id.desc()).limit(most))
    return tuple(
        Arrival(rung, captured_at, ingested_at, ingested_at - FileStamp(*stamp).written_at)
        for rung, captured_at, ingested_at, *stamp in newest
    )
