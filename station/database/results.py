"""What the database tells: results by day, what is open, how much of what. Only reads."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Column, ColumnElement, MetaData, Row, Table, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from station.database.connection import VALUES_AT_ONCE
from station.database.records import STATUSES, SUPERSEDED, ImageResult, OpenItem
from station.database.tables import Image, Utc

_COLUMNS = (
    *("image_id", "path", "sha256", "slide", "captured_at", "ingested_at", "status", "reason"),
    *("wbc_count", "wbc_count_inside", "wbc_count_reviewed", "flags", "cell_diameter_px", "model", "engine"),
)
# Half a copy that was replaced by its whole is in no total and no list.
of_its_own = Image.reason.is_distinct_from(SUPERSEDED)

_OPEN = tuple(status for status in STATUSES if status != "done")
_MOMENTS = ("captured_at", "ingested_at")
_results = Table("image_results", MetaData(), *(Column(name, Utc() if name in _MOMENTS else None) for name in _COLUMNS))


def captured_between(session: Session, start: datetime, end: datetime) -> list[ImageResult]:
    """Images captured in start <= t < end, in the order of their arrival."""
    found = session.execute(select(_results).where(_within(_results.c.captured_at, start, end)))
    # Asked for this order, SQLite would walk through all images by id instead of the index of the day.
    return sorted(map(_result, found), key=lambda result: result.image_id)


def ingested_elsewhere(session: Session, start: datetime, end: datetime) -> tuple[int, int]:
    """(captured within but taken in outside, taken in within but captured outside) of start <= t < end."""
    captured, ingested = (_within(moment, start, end) for moment in (Image.captured_at, Image.ingested_at))
    late, early = (
        session.scalar(select(func.count()).select_from(Image).where(one, ~other, of_its_own))
        for one, other in ((captured, ingested), (ingested, captured))
    )
    return late or 0, early or 0


def slides_of(session: Session, image_ids: Collection[int]) -> frozenset[str]:
    """The slides on which these images lie now."""
    listed, found = sorted(image_ids), set[str]()
    for first in range(0, len(listed), VALUES_AT_ONCE):
        found |= set(session.scalars(select(Image.slide).where(Image.id.in_(listed[first : first + VALUES_AT_ONCE]))))
    return frozenset(found)


def counts_by_status(session: Session) -> dict[str, int]:
    """Every status with its number of images, also those without any."""
    found = Counter(dict(session.execute(select(Image.status, func.count()).group_by(Image.status)).all()))
    found["quarantined"] -= superseded(session)
    return {status: found[status] for status in STATUSES}


def superseded(session: Session) -> int:
    """How many images are half copies that were replaced."""
    # By its status first, which an index answers: to ask all images for their reason takes a second after years.
    own = (Image.status == "quarantined") & ~of_its_own
    return session.scalar(select(func.count()).select_from(Image).where(own)) or 0


def open_items(session: Session) -> list[OpenItem]:
    """Every image that is not done, the longest first."""
    is_open = Image.status.in_(_OPEN)  # and not "unlike done", which no index answers
    columns = (Image.id, Image.path, Image.status, Image.reason, Image.since, Image.sha256.is_not(None))
    return [OpenItem(*row) for row in session.execute(select(*columns).where(is_open).order_by(Image.since, Image.id))]


def _within(
    moment: ColumnElement[datetime] | InstrumentedAttribute[datetime], start: datetime, end: datetime
) -> ColumnElement[bool]:
    return (moment >= start) & (moment < end)


def _result(row: Row[tuple[object, ...]]) -> ImageResult:
    fields = dict(row._mapping)
    return ImageResult(**fields | {"flags": tuple(json.loads(fields["flags"] or "[]"))})
