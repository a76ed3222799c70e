"""What the database can prove of an image: where it came from, every attempt, every analysis. One part of it is
written here, the attempts; the rest is read. Each function is part of one transaction of the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from sqlalchemy import ColumnElement, Table, bindparam, func, insert, select, true, update
from sqlalchemy.orm import Session

from station.database import cells, corrections, overlaps
from station.database.records import (
    Attempt,
    Audit,
    AuditedFile,
    AuditedImage,
    End,
    History,
    SeenPath,
    StoredAnalysis,
)
from station.database.tables import Analysis, AttemptRow, CellRow, File, Image, ImagePath, MaskRow
from station.version import package_version

# Core statements on the plain table, made once: they are run for every picture.
_ATTEMPTS = cast(Table, AttemptRow.__table__)
_LAST = select(func.coalesce(func.max(_ATTEMPTS.c.number), 0)).where(_ATTEMPTS.c.image_id == bindparam("of_image"))
_BEGIN = insert(_ATTEMPTS).values(image_id=bindparam("of_image"), number=_LAST.scalar_subquery() + 1)
_END_ALL = update(_ATTEMPTS).where(_ATTEMPTS.c.ended_at.is_(None))
_END = _END_ALL.where(_ATTEMPTS.c.image_id == bindparam("of_image"))

# Attempts


def begin(session: Session, image_ids: Sequence[int], worker: str, now: datetime) -> None:
    """One more attempt at each of these images."""
    given = {"worker": worker, "begun_at": now, "package_version": package_version()}
    if rows := [{"of_image": image_id} | given for image_id in image_ids]:
        session.connection().execute(_BEGIN, rows)


def end(session: Session, image_id: int, outcome: End, now: datetime, reason: str | None = None) -> None:
    """How the attempt that is under way came out; nothing where none is."""
    given = {"of_image": image_id, "ended_at": now, "outcome": outcome, "reason": reason}
    session.connection().execute(_END, given)


def end_all(session: Session, outcome: End, now: datetime) -> None:
    """How all attempts that are under way came out."""
    session.connection().execute(_END_ALL, {"ended_at": now, "outcome": outcome})


# One image


def named(session: Session, paths: Sequence[str]) -> list[int]:
    """The images that were seen under one of these paths; the one that it holds now comes first."""
    now = session.scalars(select(File.image_id).where(File.path.in_(paths)))
    ever = session.scalars(select(ImagePath.image_id).where(ImagePath.path.in_(paths)).order_by(ImagePath.image_id))
    return list(dict.fromkeys([*now, *ever]))


def hashed(session: Session, start: str) -> list[int]:
    """The images whose content hash begins so; hex digits."""
    inside = (Image.sha256 >= start) & (Image.sha256 < start + "g")  # by the index, which LIKE would not use
    return list(session.scalars(select(Image.id).where(inside).order_by(Image.id)))


def history(session: Session, image_id: int) -> History | None:
    """All that is known of an image; None where there is no such image."""
    image = session.get(Image, image_id)
    if image is None:
        return None
    return History(
        image_id=image.id,
        path=image.path,
        sha256=image.sha256,
        slide=image.slide,
        captured_at=image.captured_at,
        ingested_at=image.ingested_at,
        status=image.status,
        reason=image.reason,
        since=image.since,
        paths=_paths(session, image_id),
        attempts=_attempts(session, image_id),
        analyses=_analyses(session, image_id),
        corrections=corrections.listed(session, image_id),
        overlaps=overlaps.of_image(session, image_id),
    )


def masks(session: Session, analysis_id: int) -> tuple[bytes, bytes] | None:
    """(labels, cells) of an analysis as PNG; None where they were pruned."""
    row = session.get(MaskRow, analysis_id)
    return None if row is None else (row.labels_png, row.cells_png)


def _paths(session: Session, image_id: int) -> tuple[SeenPath, ...]:
    held = (File.path == ImagePath.path) & (File.image_id == ImagePath.image_id)
    rows = session.execute(
        select(ImagePath.path, ImagePath.first_seen, File.rung)
        .outerjoin(File, held)
        .where(ImagePath.image_id == image_id)
        .order_by(ImagePath.first_seen, ImagePath.path)
    )
    return tuple(SeenPath(path, first_seen, rung) for path, first_seen, rung in rows)


def _attempts(session: Session, image_id: int) -> tuple[Attempt, ...]:
    rows = session.scalars(select(AttemptRow).where(AttemptRow.image_id == image_id).order_by(AttemptRow.number))
    return tuple(
        Attempt(r.number, r.worker, r.begun_at, r.ended_at, r.outcome, r.reason, r.package_version) for r in rows
    )


def _analyses(session: Session, image_id: int) -> tuple[StoredAnalysis, ...]:
    rows = session.scalars(select(Analysis).where(Analysis.image_id == image_id).order_by(Analysis.id))
    return tuple(_analysis(session, row) for row in rows)


def _analysis(session: Session, row: Analysis) -> StoredAnalysis:
    return StoredAnalysis(
        analysis_id=row.id,
        created_at=row.created_at,
        model_sha256=row.model_sha256,
        model=row.model,
        engine=row.engine,
        settings_sha256=row.settings_sha256,
        package_version=row.package_version,
        cell_diameter_px=row.cell_diameter_px,
        cell_diameter_source=row.cell_diameter_source,
        flags=tuple(row.flags),
        seconds=row.seconds,
        quality=row.quality,
        width=row.width,
        height=row.height,
        wbc_count=row.wbc_count,
        wbc_count_inside=row.wbc_count_inside,
        cells=cells.of_analysis(session, row.id),
        has_masks=session.scalar(select(MaskRow.analysis_id).where(MaskRow.analysis_id == row.id)) is not None,
    )


# All images


def audit(session: Session, between: tuple[datetime, datetime] | None) -> Audit:
    """All files, and of the images captured in start <= t < end, or of all, what they are and lack."""
    meant = (Image.captured_at >= between[0]) & (Image.captured_at < between[1]) if between else true()
    return Audit(
        files=_audited_files(session),
        images=_audited_images(session, meant),
        uncounted=_uncounted(session, meant),
        miscounted=_miscounted(session, meant),
        maskless=_maskless(session, meant),
    )


def _audited_files(session: Session) -> dict[str, AuditedFile]:
    rows = session.execute(select(File.path, File.image_id, File.size, File.mtime_ns, File.inode))
    return {row[0]: AuditedFile._make(row[1:]) for row in rows}


def _audited_images(session: Session, meant: ColumnElement[bool]) -> dict[int, AuditedImage]:
    rows = session.execute(select(Image.id, Image.path, Image.status, Image.reason).where(meant))
    return {row[0]: AuditedImage._make(row[1:]) for row in rows}


def _uncounted(session: Session, meant: ColumnElement[bool]) -> tuple[int, ...]:
    analysed = select(Analysis.id).where(Analysis.image_id == Image.id).exists()
    done = select(Image.id).where(meant, Image.status == "done")
    return tuple(session.scalars(done.where(~analysed).order_by(Image.id)))


def _miscounted(session: Session, meant: ColumnElement[bool]) -> tuple[tuple[int, int, int], ...]:
    cells = select(func.count()).where(CellRow.analysis_id == Analysis.id).scalar_subquery()
    of_done = select(Analysis.image_id, Analysis.wbc_count, cells).join(Image, Image.id == Analysis.image_id)
    wrong = of_done.where(meant, Image.status == "done", Analysis.wbc_count != cells)
    return tuple((image_id, told, found) for image_id, told, found in session.execute(wrong.order_by(Analysis.id)))


def _maskless(session: Session, meant: ColumnElement[bool]) -> tuple[tuple[int, datetime], ...]:
    of_done = select(Analysis.image_id, Analysis.created_at).join(Image, Image.id == Analysis.image_id)
    of_done = of_done.where(meant, Image.status == "done")
    lacking = of_done.outerjoin(MaskRow, MaskRow.analysis_id == Analysis.id).where(MaskRow.analysis_id.is_(None))
    return tuple((image_id, made_at) for image_id, made_at in session.execute(lacking.order_by(Analysis.id)))
