"""Small pictures with contours, as JPEG: one cell with its surroundings, or a whole field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.errors import ImageError
from station.contract.imaging import RGB
from station.contract.manifest import NUCLEUS
from station.contract.masks import Box, InstanceImage, LabelImage, boxes
from station.contract.overlay import CELL_COLOUR, NUCLEUS_COLOUR

_SURROUNDINGS = 1.5  # side of the square around a cell, in sides of its box
_TALLEST = 8  # of a field, in its widths
_QUALITY = 82  # of JPEG, 0..100
_OUTSIDE = (229, 231, 235)  # what lies beyond the border of the field


@dataclass(frozen=True, slots=True)
class Masks:
    """What was found in a picture: labels [H, W] and cells [H, W] of its size."""

    labels: LabelImage
    cells: InstanceImage


def cell_jpeg(image: RGB, masks: Masks | None, box: Box, side: int) -> bytes:
    """A square of `side` px around a cell's `box` in [H, W, 3], with the contours of all cells in it.

    What lies beyond the field is grey. Without `masks` there are no contours. Raises ImageError where the masks are
    those of a picture of another size.
    """
    _check(image, masks)
    x, y, w, h = box
    reach = max(2, round(_SURROUNDINGS * max(w, h)))
    corner = (round(x + w / 2 - reach / 2), round(y + h / 2 - reach / 2))
    shown = _resized(_square(image, corner, reach, _OUTSIDE), (side, side))
    if masks is not None:
        _draw(shown, Masks(_square(masks.labels, corner, reach, 0), _square(masks.cells, corner, reach, 0)))
    return _jpeg(shown)


def field_jpeg(image: RGB, masks: Masks | None, width: int, quality: int = _QUALITY) -> bytes:
    """A whole field [H, W, 3], `width` px wide, with contours. Raises ImageError as `cell_jpeg` does.

    One that would become higher than `_TALLEST` times that is narrower. `quality` is that of JPEG, 0..100.
    """
    _check(image, masks)
    factor = min(width / image.shape[1], _TALLEST * width / image.shape[0])
    shown = _resized(image, (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))))
    if masks is not None:
        _draw(shown, masks)
    return _jpeg(shown, quality)


def _check(image: RGB, masks: Masks | None) -> None:
    if masks is not None and not image.shape[:2] == masks.labels.shape == masks.cells.shape:
        raise ImageError(f"has masks of another size ({masks.labels.shape[1]} x {masks.labels.shape[0]} px)")


def _square(
    plane: NDArray[Any], corner: tuple[int, int], reach: int, outside: int | tuple[int, int, int]
) -> NDArray[Any]:
    """[reach, reach] of a picture or mask from a corner (x, y) on that may lie outside; there it is `outside`."""
    x, y = corner
    square = np.full((reach, reach, *plane.shape[2:]), outside, plane.dtype)
    top, left = max(0, y), max(0, x)
    inside = plane[top : max(top, y + reach), left : max(left, x + reach)]
    square[top - y : top - y + inside.shape[0], left - x : left - x + inside.shape[1]] = inside
    return square


def _resized(image: RGB, size: tuple[int, int]) -> RGB:
    shrinks = size[0] < image.shape[1]
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.ascontiguousarray(resized, np.uint8)


def _draw(shown: RGB, masks: Masks) -> None:
    """Contours from masks of another size: found there, drawn here, so that a line is as thin as it can be."""
    scale = np.array([shown.shape[1] / masks.cells.shape[1], shown.shape[0] / masks.cells.shape[0]])
    for number, (x, y, w, h) in boxes(masks.cells):
        window = (slice(y, y + h), slice(x, x + w))
        own = masks.cells[window] == number
        for region, colour in ((own, CELL_COLOUR), (own & (masks.labels[window] == NUCLEUS), NUCLEUS_COLOUR)):
            outlines, _ = cv2.findContours(
                region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(x, y)
            )
            scaled = [np.rint((line + 0.5) * scale - 0.5).astype(np.int32) for line in outlines]
            cv2.polylines(shown, scaled, True, colour, 1, cv2.LINE_AA)


def _jpeg(image: RGB, quality: int = _QUALITY) -> bytes:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, buffer = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1))
    if not done:
        raise ImageError(f"of {image.shape[1]} x {image.shape[0]} px could not be written as JPEG")
    return buffer.tobytes()
