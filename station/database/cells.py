"""White cells as rows, automatic and corrected ones. Each function is part of one transaction of the store."""

from __future__ import annotations

from dataclasses import fields

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from station.database.records import StoredCell
from station.database.review_records import ReviewedCell
from station.database.tables import CellRow, ReviewedCellRow


def of_analysis(session: Session, analysis_id: int) -> tuple[StoredCell, ...]:
    """The cells of an analysis, by number."""
    rows = session.execute(_all(CellRow, StoredCell).where(CellRow.analysis_id == analysis_id))
    return tuple(StoredCell(**dict(row._mapping) | {"flags": tuple(row.flags)}) for row in rows)


def of_correction(session: Session, correction_id: int) -> tuple[ReviewedCell, ...]:
    """The cells after a correction, by number."""
    rows = session.execute(_all(ReviewedCellRow, ReviewedCell).where(ReviewedCellRow.correction_id == correction_id))
    return tuple(ReviewedCell(**dict(row._mapping) | {"flags": tuple(row.flags)}) for row in rows)


def columns(cell: StoredCell) -> dict[str, object]:
    """What a row of the cell holds beside its owner."""
    return {field.name: getattr(cell, field.name) for field in fields(cell)} | {"flags": list(cell.flags)}


def _all(table: type[CellRow | ReviewedCellRow], record: type[StoredCell]) -> Select[tuple[object, ...]]:
    return select(*(getattr(table, field.name) for field in fields(record))).order_by(table.cell_id)
