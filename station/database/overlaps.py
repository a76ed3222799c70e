"""By what fields of a slide are recognised, and which show the same place. Each function is part of one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeAlias, cast

import numpy as np
from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    MetaData,
    Row,
    Select,
    Table,
    bindparam,
    delete,
    or_,
    select,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from station.database.connection import VALUES_AT_ONCE
from station.database.overlap_records import EarlierField, Neighbours, Registered, SmallCopy
from station.database.tables import Analysis, FingerprintRow, Image, OverlapRow, Utc

_PAIR = ("image_id", "earlier_id", "shift_x", "shift_y", "shared", "certainty")
overlap_results = Table("overlap_results", MetaData(), *(Column(name) for name in _PAIR))
_cells = Table("cell_results", MetaData(), *(Column(name) for name in ("image_id", "x", "y")))
_analyses = Table("counting_analyses", MetaData(), *(Column(name) for name in ("image_id", "cell_diameter_px")))

# Made once: they are run for every picture.
_OWN: BindParameter[int] = bindparam("own")
_MOMENT: BindParameter[datetime] = bindparam("moment", type_=Utc())
_IMAGE = cast(Table, Image.__table__).c
_PLACE = select(_IMAGE.slide, _IMAGE.captured_at).where(_IMAGE.id == _OWN)
_COUNTED = select(_IMAGE.id).where(_IMAGE.slide == bindparam("slide"), _IMAGE.status == "done").limit(bindparam("most"))
_BEFORE = _COUNTED.where(_IMAGE.captured_at <= _MOMENT, or_(_IMAGE.captured_at != _MOMENT, _IMAGE.id < _OWN))
_BEFORE = _BEFORE.order_by(_IMAGE.captured_at.desc(), _IMAGE.id.desc())
_AFTER = _COUNTED.where(_IMAGE.captured_at >= _MOMENT, or_(_IMAGE.captured_at != _MOMENT, _IMAGE.id > _OWN))
_AFTER = _AFTER.order_by(_IMAGE.captured_at, _IMAGE.id)
_NEW_COPY = insert(cast(Table, FingerprintRow.__table__)).on_conflict_do_nothing()
_NEW_PAIR = insert(cast(Table, OverlapRow.__table__)).on_conflict_do_nothing()

_Place: TypeAlias = tuple[float, float]  # the centroid of a cell, px


def neighbours(session: Session, image_id: int, most: int) -> Neighbours:
    """The `most` counted images of its slide that were captured last before an image, and first after it."""
    connection = session.connection()
    slide, moment = connection.execute(_PLACE, {"own": image_id}).one()
    given = {"own": image_id, "slide": slide, "moment": moment, "most": most}
    before, after = (tuple(connection.scalars(one, given)) for one in (_BEFORE, _AFTER))
    return Neighbours(before, after)


def small_copies(session: Session, image_ids: Collection[int]) -> dict[int, SmallCopy]:
    """By what these images are recognised, where that is kept."""
    rows = session.scalars(select(FingerprintRow).where(FingerprintRow.image_id.in_(image_ids)))
    return {row.image_id: SmallCopy(row.step, row.jpeg) for row in rows}


def save(session: Session, image_id: int, registered: Registered) -> None:
    """What an image is recognised by, and its pairs; what is known stays. A pair with an image that is gone is none."""
    connection = session.connection()
    connection.execute(_NEW_COPY, asdict(registered.copy) | {"image_id": image_id})
    both = [{pair.image_id, pair.earlier_id} for pair in registered.pairs]
    there = set(connection.scalars(select(_IMAGE.id).where(_IMAGE.id.in_(set().union(*both))))) if both else set()
    if pairs := [asdict(pair) for pair, ids in zip(registered.pairs, both, strict=True) if ids <= there]:
        connection.execute(_NEW_PAIR, pairs)


def of_image(session: Session, image_id: int) -> tuple[EarlierField, ...]:
    """The earlier fields, as far as they count, that show a part of an image too, by number."""
    return tuple(_earlier_fields(session, overlap_results.c.image_id == image_id))


def shared_counts(session: Session, start: datetime, end: datetime) -> dict[int, int]:
    """How many cells of each image an earlier one counts too; both captured in start <= t < end.

    Cells are those that count: corrected ones, where there are any. An image without such cells is left out.
    """
    within = select(Image.id).where(Image.captured_at >= start, Image.captured_at < end)
    # + 0, or SQLite would try every pair of images of the time.
    both = overlap_results.c.image_id.in_(within) & (overlap_results.c.earlier_id + 0).in_(within)
    places: dict[int, set[_Place]] = defaultdict(set)
    for field in _earlier_fields(session, both):
        places[field.image_id].update(field.cells)
    return {image_id: len(cells) for image_id, cells in places.items() if cells}


def forget(session: Session, analysis_ids: Select[int]) -> None:
    """Take away by what the images of these analyses are recognised; what overlaps was found stays."""
    images = select(Analysis.image_id).where(Analysis.id.in_(analysis_ids))
    session.execute(delete(FingerprintRow).where(FingerprintRow.image_id.in_(images)))


def forget_pairs(session: Session, image_id: int) -> None:
    """Take away what an image was found to have in common with others."""
    for own in (OverlapRow.image_id, OverlapRow.earlier_id):
        session.execute(delete(OverlapRow).where(own == image_id))


def _earlier_fields(session: Session, condition: ColumnElement[bool]) -> Iterator[EarlierField]:
    found = select(overlap_results, _analyses.c.cell_diameter_px)
    found = found.join(_analyses, _analyses.c.image_id == overlap_results.c.image_id).where(condition)
    rows = session.execute(found.order_by(overlap_results.c.image_id, overlap_results.c.earlier_id)).all()
    places = _places(session, {number for row in rows for number in (row.image_id, row.earlier_id)})
    for row in rows:
        pair = {name: getattr(row, name) for name in _PAIR}
        yield EarlierField(**pair, cells=_shown(row, places[row.image_id], places[row.earlier_id]))


def _shown(row: Row[Any], cells: Sequence[_Place], earlier: Sequence[_Place]) -> tuple[_Place, ...]:
    """Those of a later field's cells that the earlier one counts as well: of each of its cells the nearest, if near.

    What a field shows of a cell that its border cuts has another middle than the whole cell, but within its radius.
    """
    if not cells or not earlier:
        return ()
    mapped = np.array(cells) + np.array([row.shift_x, row.shift_y])
    distances = np.hypot(*(np.array(earlier)[:, None] - mapped[None]).transpose(2, 0, 1))
    near = distances.min(axis=1) < row.cell_diameter_px / 2
    shown = set(distances.argmin(axis=1)[near].tolist())
    return tuple(cell for number, cell in enumerate(cells) if number in shown)


def _places(session: Session, image_ids: Collection[int]) -> dict[int, list[_Place]]:
    """The cells of each image as they count now."""
    places: dict[int, list[_Place]] = defaultdict(list)
    listed = sorted(image_ids)  # and no sub-query, for which SQLite would read all cells there are
    for first in range(0, len(listed), VALUES_AT_ONCE):
        own = _cells.c.image_id.in_(listed[first : first + VALUES_AT_ONCE])
        for image_id, x, y in session.execute(select(_cells).where(own)):
            places[image_id].append((x, y))
    return places
