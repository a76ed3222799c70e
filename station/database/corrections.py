"""What people said of images, and what images count since. Each function is part of one transaction of the store."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, ColumnElement, MetaData, Select, Table, exists, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session, aliased

from station.contract.flags import OVERLAPS, REVIEW
from station.database import cells
from station.database.overlaps import overlap_results
from station.database.records import StoredCorrection
from station.database.results import of_its_own
from station.database.review_records import (
    NewCorrection,
    Reviewed,
    ReviewedCell,
    ReviewLine,
    Scope,
    Slide,
    by,
)
from station.database.tables import (
    Analysis,
    CellRow,
    CorrectionRow,
    Image,
    MaskRow,
    ReviewedCellRow,
    ReviewedMaskRow,
)

FLAG = "flag"  # the kind of correction by which a person asks for another look
DOUBTS = frozenset({REVIEW})  # flags of an analysis at which a person should look

newest_analyses = Table("newest_analyses", MetaData(), Column("id"), Column("image_id"), Column("flags", JSON()))
_COUNTING = ("model", "model_sha256", "engine", "wbc_count", "cell_diameter_px")
# Those on which the counts rest: of an image that a person looked at the one that was looked at, else the newest.
counting_analyses = Table(
    "counting_analyses",
    MetaData(),
    *(Column(name) for name in ("image_id", *_COUNTING)),
    Column("flags", JSON()),
)
latest, standing = aliased(CorrectionRow), aliased(CorrectionRow)
reviews = Table("reviews", MetaData(), Column("image_id"), Column("rejected"))
# What is only marked for a second look counts as the newest analysis found it.
by_a_person = exists().where(reviews.c.image_id == Image.id)


def append(session: Session, new: NewCorrection, now: datetime) -> StoredCorrection | None:
    """Write a correction down; None, and nothing is written, where the image was corrected or analysed meanwhile."""
    if _newest_number(session, new.image_id) != new.after:
        return None
    if _newest_analysis(session, new.image_id) != new.newest_analysis_id:
        return None
    counted = () if new.rejected else new.cells
    copied = ("image_id", "analysis_id", "seen_analysis_id", "stands", "who", "why", "kind", "detail")
    row = CorrectionRow(
        **{name: getattr(new, name) for name in copied},
        number=new.after + 1,
        made_at=now,
        changed=new.changed,
        rejected=new.rejected,
        wbc_count=len(counted),
        wbc_count_inside=sum(not cell.touches_edge for cell in counted),
    )
    session.add(row)
    session.flush()
    if new.cells:
        session.execute(
            insert(ReviewedCellRow), [{"correction_id": row.id} | cells.columns(cell) for cell in new.cells]
        )
    if new.labels_png is not None and new.cells_png is not None:
        masks = {"labels_png": new.labels_png, "cells_png": new.cells_png}
        session.execute(insert(ReviewedMaskRow).values(correction_id=row.id, **masks))
    return _stored(row)


def listed(session: Session, image_id: int) -> tuple[StoredCorrection, ...]:
    """All corrections of an image, the oldest first."""
    rows = session.scalars(
        select(CorrectionRow).where(CorrectionRow.image_id == image_id).order_by(CorrectionRow.number)
    )
    return tuple(map(_stored, rows))


def lines(session: Session, scope: Scope, doubts: Set[str] = DOUBTS) -> tuple[ReviewLine, ...]:
    """The images of a slide or a time with what they count, in the order of their capture."""
    if isinstance(scope, Slide):
        inside: ColumnElement[bool] = Image.slide == scope.name
    else:
        inside = (Image.captured_at >= scope.start) & (Image.captured_at < scope.end)
    found = [to_line(dict(row._mapping), doubts) for row in session.execute(looked_at().where(inside))]
    # Asked for this order, SQLite would walk through all images by capture instead of those of the slide.
    return tuple(sorted(found, key=lambda line: (line.captured_at, line.image_id)))


def reviewed(session: Session, image_id: int, at: int | None = None, doubts: Set[str] = DOUBTS) -> Reviewed | None:
    """An image as it counts now, or as it was after its correction `at` (0: the newest automatic result).

    None where there is no such image, or no analysis of it.
    """
    row = session.execute(looked_at().where(Image.id == image_id)).first()
    if row is None or row.analysis_id is None:
        return None
    line = to_line(dict(row._mapping), doubts)
    shown = at if at is not None else (line.number if row.by_a_person else 0)
    found = _correction(session, image_id, shown)
    base = session.get_one(Analysis, found.analysis_id if found else row.analysis_id)
    masks = session.get(ReviewedMaskRow, found.id) if found else session.get(MaskRow, base.id)
    return Reviewed(
        image_id=image_id,
        number=line.number,
        stands=row.stands or 0,
        analysis_id=base.id,
        seen_analysis_id=row.analysis_id,
        flags=_flags(base.flags, row.overlapping),
        marked=line.marked,
        by_a_person=found is not None,
        changed=found is not None and found.changed,
        rejected=found is not None and found.rejected,
        cells=cells.of_correction(session, found.id) if found else _automatic(session, base.id),
        labels_png=masks.labels_png if masks else None,
        cells_png=masks.cells_png if masks else None,
        cell_diameter_px=base.cell_diameter_px,
        width=base.width,
        height=base.height,
        next_id=_highest_id(session, image_id) + 1,
    )


def looked_at() -> Select[Any]:
    """Every image with the analysis that counts and the newest one, its newest correction, and that in force."""
    number = select(func.max(CorrectionRow.number)).where(CorrectionRow.image_id == Image.id).scalar_subquery()
    image = (Image.id.label("image_id"), Image.path, Image.slide, Image.captured_at, Image.status, Image.reason)
    counting = (counting_analyses.c[name] for name in ("flags", *_COUNTING))
    overlapping = exists().select_from(overlap_results).where(overlap_results.c.image_id == Image.id)
    return (
        select(*image, *counting)
        .add_columns(newest_analyses.c.id.label("analysis_id"), newest_analyses.c.flags.label("newest_flags"))
        .add_columns(latest.number, latest.stands, latest.changed, latest.rejected, by_a_person.label("by_a_person"))
        .add_columns(latest.wbc_count.label("corrected"), latest.wbc_count_inside.label("corrected_inside"))
        .add_columns(standing.seen_analysis_id.label("looked_at"), standing.kind.label("standing_kind"))
        .add_columns(overlapping.label("overlapping"))
        .outerjoin(newest_analyses, newest_analyses.c.image_id == Image.id)
        .outerjoin(counting_analyses, counting_analyses.c.image_id == Image.id)
        .outerjoin(latest, (latest.image_id == Image.id) & (latest.number == number))
        .outerjoin(standing, (standing.image_id == Image.id) & (standing.number == latest.stands))
        .where(of_its_own)
    )


def to_line(row: dict[str, Any], doubts: Set[str]) -> ReviewLine:
    copied = ("image_id", "path", "slide", "captured_at", "status", "reason")
    unseen = row["looked_at"] is None or row["looked_at"] != row["analysis_id"]
    rejected = bool(row["by_a_person"] and row["rejected"])
    doubtful = not rejected and not doubts.isdisjoint(row["newest_flags"] or ())  # what it doubts counts nothing
    return ReviewLine(
        **{name: row[name] for name in (*copied, "analysis_id", *_COUNTING)},
        flags=_flags(row["flags"], row["overlapping"]),
        wbc_count_reviewed=row["corrected"] if row["by_a_person"] else None,
        wbc_count_inside_reviewed=row["corrected_inside"] if row["by_a_person"] else None,
        number=row["number"] or 0,
        changed=bool(row["by_a_person"] and row["changed"]),
        rejected=rejected,
        flagged=row["standing_kind"] == FLAG,
        marked=row["standing_kind"] == FLAG or (unseen and doubtful),
    )


def _flags(of_analysis: Iterable[str] | None, overlapping: bool) -> tuple[str, ...]:
    return (*(of_analysis or ()), *([OVERLAPS] if overlapping else ()))


def _correction(session: Session, image_id: int, number: int) -> CorrectionRow | None:
    own = select(CorrectionRow).where(CorrectionRow.image_id == image_id, CorrectionRow.number == number)
    return session.scalars(own).first()


def _newest_number(session: Session, image_id: int) -> int:
    return session.scalar(select(func.max(CorrectionRow.number)).where(CorrectionRow.image_id == image_id)) or 0


def _newest_analysis(session: Session, image_id: int) -> int | None:
    return session.scalar(select(func.max(Analysis.id)).where(Analysis.image_id == image_id))


def _highest_id(session: Session, image_id: int) -> int:
    """Of all cells that this image ever had, in any analysis and after any correction."""
    automatic = select(func.max(CellRow.cell_id)).join(Analysis, Analysis.id == CellRow.analysis_id)
    corrected = select(func.max(ReviewedCellRow.cell_id)).join(CorrectionRow)
    return max(
        session.scalar(automatic.where(Analysis.image_id == image_id)) or 0,
        session.scalar(corrected.where(CorrectionRow.image_id == image_id)) or 0,
    )


def _automatic(session: Session, analysis_id: int) -> tuple[ReviewedCell, ...]:
    return tuple(by("automatic", cell) for cell in cells.of_analysis(session, analysis_id))


def _stored(row: CorrectionRow) -> StoredCorrection:
    own = [field.name for field in fields(StoredCorrection) if field.name != "correction_id"]
    return StoredCorrection(correction_id=row.id, **{name: getattr(row, name) for name in own})
