"""What a summary needs of every counted picture and cell between two moments, in two queries. Only reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import JSON, Column, MetaData, Table, select
from sqlalchemy.orm import Session

from station.database.corrections import reviews
from station.database.tables import CellRow, File, Image

_COLUMNS = ("id", "image_id", "model", "model_sha256", "wbc_count", "width", "height")
_newest = Table(
    "newest_analyses",
    MetaData(),
    *(Column(name) for name in _COLUMNS),
    *(Column(name, JSON()) for name in ("flags", "seconds", "quality")),
)


@dataclass(frozen=True, slots=True)
class FieldCell:
    """A white cell as the newest analysis found it; lengths in camera px."""

    cell_id: int
    bbox: tuple[int, int, int, int]  # x, y, width, height
    area_px: int
    nc_ratio: float | None
    touches_edge: bool
    confidence: float


@dataclass(frozen=True, slots=True)
class Field:
    """A counted picture, its newest analysis and the cells of that, by number."""

    image_id: int
    path: str
    sha256: str
    slide: str
    captured_at: datetime
    analysis_id: int
    model: str
    model_sha256: str
    wbc_count: int  # automatic
    flags: tuple[str, ...]
    seconds: dict[str, float]
    quality: dict[str, float]  # empty in analyses of older versions
    width: int
    height: int
    cells: tuple[FieldCell, ...]


def fields_between(session: Session, start: datetime, end: datetime) -> list[Field]:
    """The counted pictures captured in start <= t < end, in the order of their capture, without rejected ones."""
    fit = Image.id.not_in(select(reviews.c.image_id).where(reviews.c.rejected))
    within = (Image.captured_at >= start) & (Image.captured_at < end) & (Image.status == "done") & fit
    columns = (Image.path, Image.sha256, Image.slide, Image.captured_at, *_newest.c)
    counted = select(*columns).join(_newest, _newest.c.image_id == Image.id).where(within)
    own = (CellRow.cell_id, CellRow.bbox_x, CellRow.bbox_y, CellRow.bbox_w, CellRow.bbox_h)
    measured = (CellRow.area_px, CellRow.nc_ratio, CellRow.touches_edge, CellRow.confidence)
    ids = select(_newest.c.id).join(Image, _newest.c.image_id == Image.id).where(within)
    cells: defaultdict[int, list[FieldCell]] = defaultdict(list)
    for analysis_id, number, x, y, w, h, *rest in session.execute(
        select(CellRow.analysis_id, *own, *measured).where(CellRow.analysis_id.in_(ids)).order_by(CellRow.cell_id)
    ):
        cells[analysis_id].append(FieldCell(number, (x, y, w, h), *rest))
    rows = session.execute(counted.order_by(Image.captured_at, Image.id))
    return [_field(dict(row._mapping), cells) for row in rows]


def paths_of(session: Session, image_ids: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """Where each of these pictures lay when its files were last looked at; nothing where no file holds it."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    rows = session.execute(select(File.image_id, File.path).where(File.image_id.in_(list(image_ids))))
    for image_id, path in rows:
        found[image_id].append(path)
    return {image_id: tuple(sorted(paths)) for image_id, paths in found.items()}


def _field(row: dict[str, object], cells: dict[int, list[FieldCell]]) -> Field:
    analysis_id = row.pop("id")
    own = {"cells": tuple(cells.get(analysis_id, ())), "flags": tuple(row.pop("flags") or ())}  # type: ignore[call-overload, arg-type]
    return Field(analysis_id=analysis_id, **own, **row)  # type: ignore[arg-type]
