"""What is old enough to go: masks first, whole images only when asked. Each function is part of one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, select
from sqlalchemy.orm import Session

from station.database import overlaps
from station.database.tables import Analysis, CorrectionRow, FactRow, File, Image, MaskRow

MASKS_PRUNED, IMAGES_PRUNED = "masks_pruned_before", "images_pruned_before"  # facts, ISO 8601: the latest of several

# A correction begins from the automatic masks, and may be withdrawn: they stay as long as the image does.
_CORRECTED = exists().where(CorrectionRow.image_id == Analysis.image_id)


@dataclass(frozen=True, slots=True)
class OldMasks:
    """The masks of an analysis, bytes of PNG."""

    analysis_id: int
    size: int


@dataclass(frozen=True, slots=True)
class OldImage:
    """A counted image as it was when it was found old: any change since says that somebody works with it."""

    image_id: int
    sha256: str | None
    analyses: int  # the newest, 0: none
    corrections: int  # how many
    files: tuple[tuple[str, int, int, int], ...]  # every path that held it last: path, bytes, ns since 1970, inode


def old_masks(session: Session, before: datetime) -> list[OldMasks]:
    """Masks of analyses made before a moment, the oldest first; not of images that a person corrected."""
    size = func.length(MaskRow.labels_png) + func.length(MaskRow.cells_png)
    found = select(Analysis.id, size).join(MaskRow, MaskRow.analysis_id == Analysis.id).where(~_CORRECTED)
    return [OldMasks(*row) for row in session.execute(found.where(Analysis.created_at < before).order_by(Analysis.id))]


def remove_masks(session: Session, analysis_ids: Sequence[int], before: datetime, now: datetime) -> None:
    """Take the masks of these analyses away, unless a person corrected them meanwhile; counts and cells stay."""
    free = select(Analysis.id).where(Analysis.id.in_(analysis_ids), ~_CORRECTED)
    overlaps.forget(session, free)
    session.execute(delete(MaskRow).where(MaskRow.analysis_id.in_(free)))
    _note(session, MASKS_PRUNED, before, now)


def old_images(session: Session, before: datetime) -> list[OldImage]:
    """Counted images captured before a moment. One that is not counted yet is never old."""
    return _counted(session, Image.captured_at < before)


def remove_images(session: Session, images: Sequence[OldImage], before: datetime, now: datetime) -> int:
    """Take these images away with all that is known of them, where they still are as they were found; how many."""
    listed = [image.image_id for image in images]
    unchanged = [image.image_id for image in {*images} & {*_counted(session, Image.id.in_(listed))}]
    owners = (CorrectionRow.image_id, Analysis.image_id, File.image_id, Image.id)
    for table, owner in zip((CorrectionRow, Analysis, File, Image), owners, strict=True):
        session.execute(delete(table).where(owner.in_(unchanged)))  # cells, masks and paths go with their owner
    _note(session, IMAGES_PRUNED, before, now)
    return len(unchanged)


def _counted(session: Session, which: ColumnElement[bool]) -> list[OldImage]:
    analyses = select(func.coalesce(func.max(Analysis.id), 0)).where(Analysis.image_id == Image.id).scalar_subquery()
    corrections = select(func.count()).where(CorrectionRow.image_id == Image.id).scalar_subquery()
    columns = (Image.id, Image.sha256, analyses, corrections, File.path, File.size, File.mtime_ns, File.inode)
    found = select(*columns).outerjoin(File).where(Image.status == "done", which).order_by(Image.id, File.path)
    by_image = groupby(session.execute(found), key=lambda row: tuple(row[:4]))
    return [_old_image(image, rows) for image, rows in by_image]


def _old_image(image: tuple[Any, ...], rows: Iterable[Any]) -> OldImage:
    image_id, sha256, analyses, corrections = image
    files = [(path, size, mtime_ns, inode) for *_, path, size, mtime_ns, inode in rows if path is not None]
    return OldImage(image_id, sha256, analyses, corrections, tuple(files))


def _note(session: Session, name: str, before: datetime, now: datetime) -> None:
    told = session.get(FactRow, name)
    earlier = [datetime.fromisoformat(str(told.value))] if told else []
    session.merge(FactRow(name=name, value=max([before, *earlier]).isoformat(), recorded_at=now))
