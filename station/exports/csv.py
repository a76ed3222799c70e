"""Two tables: images.csv with a line per picture, cells.csv with a line per white cell, as they count now."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from station.database.review_records import ReviewedCell
from station.exports import Item, Needs
from station.printing import defused

NEEDS = Needs(masks=False, picture=False)

_PICTURE = ("image_id", "key", "name", "slide", "captured_at")
IMAGES = (
    *_PICTURE,
    *("wbc_count", "wbc_count_inside", "wbc_count_automatic", "looked_at", "changed", "rejected", "marked", "flags"),
    *("cell_diameter_px", "width", "height", "model", "model_sha256"),
)
_OF_CELL = (
    *("cell_id", "x", "y", "bbox_x", "bbox_y", "bbox_w", "bbox_h", "area_px", "nucleus_area_px", "cytoplasm_area_px"),
    *("nc_ratio", "touches_edge", "confidence", "source", "flags"),
)
CELLS = (*_PICTURE, *_OF_CELL, "area_um2")


def write(items: Iterable[Item], folder: Path) -> None:
    """Text that a spreadsheet would run as a formula is defused by an apostrophe."""
    with (
        (folder / "images.csv").open("w", newline="", encoding="utf-8") as images,
        (folder / "cells.csv").open("w", newline="", encoding="utf-8") as cells,
    ):
        to_images, to_cells = csv.writer(images, lineterminator="\n"), csv.writer(cells, lineterminator="\n")
        to_images.writerow(IMAGES)
        to_cells.writerow(CELLS)
        for item in items:
            to_images.writerow(map(_text, _image(item)))
            to_cells.writerows(map(_text, _cell(item, cell)) for cell in item.cells)


def _picture(item: Item) -> tuple[object, ...]:
    moment = item.captured_at.isoformat(timespec="seconds")
    return item.state.image_id, item.key, item.name, item.slide, moment


def _image(item: Item) -> tuple[object, ...]:
    state = item.state
    counts = state.wbc_count, state.wbc_count_inside, item.wbc_count
    review = state.by_a_person, state.changed, state.rejected, state.marked, state.flags
    size = state.cell_diameter_px, state.width, state.height
    return *_picture(item), *counts, *review, *size, item.model, item.model_sha256


def _cell(item: Item, cell: ReviewedCell) -> tuple[object, ...]:
    area = None if item.um_per_px is None else round(cell.area_px * item.um_per_px**2, 2)
    return *_picture(item), *(getattr(cell, name) for name in _OF_CELL), area


def _text(value: object) -> str | int | float:
    if isinstance(value, bool):
        return int(value)
    if value is None or isinstance(value, int | float):
        return "" if value is None else value
    return defused(" ".join(value) if isinstance(value, tuple) else str(value))
