"""Counted pictures that are analysed once more, beside what is there. Each function is part of one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Column, MetaData, Table, func, select
from sqlalchemy.orm import Session

from station.database import queue
from station.database.corrections import by_a_person
from station.database.records import AnalysisRecord, Counted
from station.database.tables import Analysis, Image, MaskRow

_SCALE = ("cell_diameter_px", "cell_diameter_source")
_COLUMNS = ("id", "image_id", "model_sha256", "settings_sha256", *_SCALE, "wbc_count")
_newest = Table("newest_analyses", MetaData(), *(Column(name) for name in _COLUMNS))


def counted(session: Session, start: datetime, end: datetime, slide: str | None) -> Sequence[Counted]:
    """The counted pictures captured in start <= t < end, perhaps of one slide, in the order of their capture."""
    within = (Image.captured_at >= start) & (Image.captured_at < end) & (Image.status == "done")
    asked = within if slide is None else within & (Image.slide == slide)
    found = session.execute(
        select(Image.id.label("image_id"), Image.path, Image.sha256, Image.clock_differs)
        .add_columns(_newest.c.model_sha256, _newest.c.settings_sha256)
        .add_columns(*(_newest.c[name] for name in _SCALE), _newest.c.wbc_count)
        .add_columns(MaskRow.analysis_id.is_not(None).label("has_masks"), by_a_person.label("looked_at"))
        .join(_newest, _newest.c.image_id == Image.id)
        .outerjoin(MaskRow, MaskRow.analysis_id == _newest.c.id)
        .where(asked)
        .order_by(Image.captured_at, Image.id)
    )
    rows = [dict(row._mapping) for row in found]
    return [Counted(**row | {"settings_sha256": _plain(row["settings_sha256"])}) for row in rows]


def add(session: Session, record: AnalysisRecord, now: datetime) -> bool:
    """One more analysis of a counted picture, which becomes its newest; nothing else changes.

    False, and nothing is written, where the picture is not there any more, or its newest analysis is the same one.
    """
    image = session.get(Image, record.image_id)
    if image is None or image.status != "done":
        return False
    same = [
        row for row in session.scalars(_by_this_model(record)) if _plain(row.settings_sha256) == record.settings_sha256
    ]
    newest = session.scalar(select(func.max(Analysis.id)).where(Analysis.image_id == record.image_id))
    # A scale that was guessed is shown to the network otherwise than the same one that is known.
    as_last = bool(same) and (same[-1].id, same[-1].cell_diameter_source) == (newest, record.cell_diameter_source)
    if as_last and session.get(MaskRow, newest) is not None:
        return False
    # After a rollback of the model, or where masks were pruned, the old row is there and stays as it was.
    times = len(same) + 1
    mark = f"{record.settings_sha256}#{times}" if same else record.settings_sha256
    queue.insert_analysis(session, replace(record, settings_sha256=mark), now)
    return True


def _by_this_model(record: AnalysisRecord):  # type: ignore[no-untyped-def]
    own = (Analysis.image_id == record.image_id) & (Analysis.model_sha256 == record.model_sha256)
    return select(Analysis).where(own, Analysis.cell_diameter_px == record.cell_diameter_px).order_by(Analysis.id)


def _plain(settings_sha256: str) -> str:
    """Without the mark of a repetition."""
    return settings_sha256.partition("#")[0]
