"""A contact sheet: pictures of a data set with the outlines that their masks draw."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from station.contract.cells import Drawing, measure
from station.contract.imaging import RGB
from station.contract.masks import LabelImage
from station.contract.overlay import overlay
from trainer.datasets.samples import DataError, Sample, read_image

PLACES = 48
_COLUMNS = 8
_BOX = (240, 196)  # width, height of a picture, px
_CAPTION, _GAP = 22, 8  # px
_PAPER, _INK, _MEND, _LOOK = (255, 255, 255), (40, 40, 40), (200, 0, 0), (190, 110, 0)
_LEGEND = "cell: green outline, nucleus: yellow outline; name in red: must be mended, in orange: worth a look"


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture on the sheet. `must_mend` is None where nothing was found."""

    sample: Sample
    must_mend: bool | None = None


def chosen(tiles: Sequence[Tile], places: int = PLACES) -> list[Tile]:
    """At most `places` tiles: those to be mended, those worth a look, then the others, each evenly over the set."""
    picked: list[Tile] = []
    for kind in (True, False, None):
        own = [tile for tile in tiles if tile.must_mend is kind]
        room = min(places - len(picked), len(own))
        picked += [own[index * len(own) // room] for index in range(room)]
    return picked


def contact_sheet(tiles: Iterable[Tile]) -> RGB:
    """The sheet [H, W, 3], white paper, eight pictures in a row under a legend."""
    cells = [_cell(tile) for tile in tiles]
    blank = np.full_like(cells[0], 255) if cells else np.full((1, 1, 3), 255, np.uint8)
    cells += [blank] * (-len(cells) % _COLUMNS)
    rows = [np.hstack(cells[start : start + _COLUMNS]) for start in range(0, len(cells), _COLUMNS)]
    legend = np.full((_CAPTION + _GAP, rows[0].shape[1], 3), 255, np.uint8)
    _write(legend, _LEGEND, (_GAP, _CAPTION), _INK)
    return np.vstack([legend, *rows])


def save(sheet: RGB, path: Path) -> None:
    """Write the sheet as PNG. Raises DataError naming the file."""
    _, buffer = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    try:
        path.write_bytes(buffer.tobytes())
    except OSError as cause:
        raise DataError(f"{path} cannot be written ({cause.strerror}); name another file") from cause


def _cell(tile: Tile) -> RGB:
    """One place of the sheet: a picture in the middle of its box, its name below."""
    width, height = _BOX[0] + _GAP, _BOX[1] + _CAPTION + _GAP
    cell = np.full((height, width, 3), _PAPER, np.uint8)
    picture = _picture(tile.sample)
    if picture is None:
        _write(cell, "unreadable", (_GAP, height // 2), _MEND)
    else:
        left, top = (width - picture.shape[1]) // 2, (_BOX[1] - picture.shape[0]) // 2
        cell[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    colour = {True: _MEND, False: _LOOK, None: _INK}[tile.must_mend]
    _write(cell, tile.sample.image.stem, (_GAP, _BOX[1] + _CAPTION - 6), colour)
    return cell


def _picture(sample: Sample) -> RGB | None:
    """As large as fits into a box, with outlines where the mask gives some; None where the picture is unreadable."""
    try:
        image = read_image(sample.image)
    except DataError:
        return None
    factor = min(_BOX[0] / image.shape[1], _BOX[1] / image.shape[0])
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    small = np.asarray(
        cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC), np.uint8
    )
    try:
        labels = sample.read_truth()
        sample.demand_one_size(image, labels)
    except DataError:
        return small
    # Outlines are drawn at the size at which they are seen.
    return overlay(small, _drawing(np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8)))


def _drawing(labels: LabelImage) -> Drawing:
    """A mask as the station would show it: each connected region is one cell."""
    _, regions = cv2.connectedComponents((labels > 0).astype(np.uint8), connectivity=8)
    cells = regions.astype(np.uint16)
    return Drawing(labels, cells, measure(labels, cells))


def _write(paper: RGB, text: str, origin: tuple[int, int], colour: tuple[int, int, int]) -> None:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()  # all that this font has
    cv2.putText(paper, plain, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
