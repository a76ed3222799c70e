"""What is old enough to go: masks first, whole images only when asked. Each function is part of one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import delete, exists, func, select
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
    """A counted image, with every path that held it last: path, bytes, nanoseconds since 1970."""

    image_id: int
    sha256: str | None
    files: tuple[tuple[str, int, int], ...]


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
    columns = (Image.id, Image.sha256, File.path, File.size, File.mtime_ns)
    found = select(*columns).outerjoin(File).where(Image.status == "done", Image.captured_at < before)
    by_image = groupby(session.execute(found.order_by(Image.id)), key=lambda row: (row[0], row[1]))
    return [OldImage(*image, tuple((*row[2:],) for row in rows if row[2])) for image, rows in by_image]


def remove_images(session: Session, image_ids: Sequence[int], before: datetime, now: datetime) -> None:
    """Take these images away with all that is known of them, where they are still counted ones."""
    counted = list(session.scalars(select(Image.id).where(Image.id.in_(image_ids), Image.status == "done")))
    owners = (CorrectionRow.image_id, Analysis.image_id, File.image_id, Image.id)
    for table, owner in zip((CorrectionRow, Analysis, File, Image), owners, strict=True):
        session.execute(delete(table).where(owner.in_(counted)))  # cells, masks and paths go with their owner
    _note(session, IMAGES_PRUNED, before, now)


def _note(session: Session, name: str, before: datetime, now: datetime) -> None:
    told = session.get(FactRow, name)
    earlier = [datetime.fromisoformat(str(told.value))] if told else []
    session.merge(FactRow(name=name, value=max([before, *earlier]).isoformat(), recorded_at=now))
