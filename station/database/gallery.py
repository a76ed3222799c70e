"""What a person leafs through: images with the newest arrival first, sifted, page by page. Only reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, case, exists, func, select
from sqlalchemy.orm import Session, load_only

from station.contract.flags import OVERLAPS
from station.database.corrections import (
    DOUBTS,
    FLAG,
    by_a_person,
    counting_analyses,
    latest,
    looked_at,
    newest_analyses,
    standing,
    to_line,
)
from station.database.overlaps import overlap_results
from station.database.results import of_its_own
from station.database.review_records import Between, ReviewLine, Slide
from station.database.tables import Analysis, CellRow, Image, ReviewedCellRow

_RECENT = 1_000  # analyses in which flags are looked for


@dataclass(frozen=True, slots=True)
class Sieve:
    """Which images are shown; those that all of what is told lets pass."""

    slide: Slide | None = None
    within: Between | None = None
    flag: str | None = None
    marked: bool = False  # for review, and nobody has looked since
    below: float | None = None  # a cell is less certain than this, 0..1


@dataclass(frozen=True, slots=True)
class SlideLine:
    """A slide, and how many images there are of it."""

    name: str
    images: int


def newest(session: Session, sieve: Sieve, most: int, before: int | None = None) -> tuple[ReviewLine, ...]:
    """Up to `most` images, the last arrival first; only those that arrived before image `before`."""
    sifted = _sifted(sieve)
    if before is not None:
        sifted = sifted.where(Image.id < before)
    return _lines(session, sifted.order_by(_order(sieve).desc()).limit(most))


def after(session: Session, sieve: Sieve, most: int, image_id: int) -> tuple[ReviewLine, ...]:
    """Up to `most` images that arrived next after an image, the first of them first."""
    return _lines(session, _sifted(sieve).where(Image.id > image_id).order_by(_order(sieve)).limit(most))


def least_confidences(session: Session, image_ids: Iterable[int]) -> dict[int, float]:
    """Of each of these images that has a cell, the confidence of its least certain one, 0..1."""
    own = looked_at().add_columns(_least().label("least")).where(Image.id.in_(list(image_ids)))
    return {row.image_id: row.least for row in session.execute(own) if row.least is not None}


def slides(session: Session, most: int) -> tuple[SlideLine, ...]:
    """The slides, that with the newest image first."""
    own = select(Image.slide, func.count()).where(of_its_own)
    counted = own.group_by(Image.slide).order_by(func.max(Image.id).desc())
    return tuple(SlideLine(*row) for row in session.execute(counted.limit(most)))


def hours(session: Session, most: int) -> tuple[datetime, ...]:
    """The hours of UTC in which images were captured, the latest first."""
    hour = func.substr(Image.captured_at, 1, 13)
    return tuple(
        datetime.fromisoformat(f"{text}:00:00+00:00")
        for text in session.scalars(select(hour).distinct().order_by(hour.desc()).limit(most))
    )


def flags(session: Session) -> tuple[str, ...]:
    """The flags that images had lately, by name."""
    recent = select(Analysis).options(load_only(Analysis.flags)).order_by(Analysis.id.desc()).limit(_RECENT)
    found = {flag for one in session.scalars(recent) for flag in one.flags}
    overlapping = session.scalar(select(exists().select_from(overlap_results)))
    return tuple(sorted(found | ({OVERLAPS} if overlapping else set())))


def _lines(session: Session, query: Select[Any]) -> tuple[ReviewLine, ...]:
    return tuple(to_line(dict(row._mapping), DOUBTS) for row in session.execute(query))


def _order(sieve: Sieve) -> ColumnElement[int]:
    # Asked for the plain id, SQLite would walk through all images instead of those of the slide or the day.
    return Image.id + 0 if sieve.slide or sieve.within else Image.id.expression


def _sifted(sieve: Sieve) -> Select[Any]:
    query = looked_at()
    if sieve.slide is not None:
        query = query.where(Image.slide == sieve.slide.name)
    if sieve.within is not None:
        query = query.where(Image.captured_at >= sieve.within.start, Image.captured_at < sieve.within.end)
    if sieve.flag is not None:
        overlapping = exists().select_from(overlap_results).where(overlap_results.c.image_id == Image.id)
        query = query.where(overlapping if sieve.flag == OVERLAPS else _has([sieve.flag], counting_analyses))
    if sieve.marked:
        unseen = standing.seen_analysis_id.is_distinct_from(newest_analyses.c.id)
        counts = latest.rejected.is_not(True) | (latest.stands == 0)
        doubted = _has(DOUBTS, newest_analyses) & unseen & func.coalesce(counts, True)
        query = query.where((standing.kind == FLAG) | doubted)
    if sieve.below is not None:
        query = query.where(_least() < sieve.below)
    return query


def _least() -> ColumnElement[float | None]:
    """Of an image's cells as they count now. Not asked of the view of all cells, which SQLite would walk through."""
    found = select(func.min(CellRow.confidence)).where(CellRow.analysis_id == newest_analyses.c.id)
    corrected = select(func.min(ReviewedCellRow.confidence)).where(ReviewedCellRow.correction_id == latest.id)
    now = case((latest.rejected, None), else_=corrected.scalar_subquery())
    return case((by_a_person, now), else_=found.scalar_subquery())


def _has(wanted: Collection[str], analyses: Table) -> ColumnElement[bool]:
    flag = func.json_each(analyses.c.flags).table_valued("value")
    return exists().select_from(flag).where(flag.c.value.in_(list(wanted)))
