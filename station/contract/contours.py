"""Outlines of cells as paths of SVG, for a screen that zooms into the picture below them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.manifest import NUCLEUS
from station.contract.masks import Box, InstanceImage, LabelImage


@dataclass(frozen=True, slots=True)
class Contour:
    """The outline of a cell and that of its nucleus, which may be empty: `M10.5,20.5L...Z` in camera px."""

    cell_id: int
    cell: str
    nucleus: str


def contours(labels: LabelImage, cells: InstanceImage, boxes: Iterable[tuple[int, Box]]) -> tuple[Contour, ...]:
    """The contours of cells (number, box) in masks [H, W]; those that the masks do not hold are left out."""
    found = (_contour(labels, cells, number, box) for number, box in boxes)
    return tuple(one for one in found if one.cell)


def _contour(labels: LabelImage, cells: InstanceImage, number: int, box: Box) -> Contour:
    x, y, w, h = box
    window = slice(y, y + h), slice(x, x + w)
    own = cells[window] == number
    return Contour(number, _path(own, (x, y)), _path(own & (labels[window] == NUCLEUS), (x, y)))


def _path(region: NDArray[np.bool_], corner: tuple[int, int]) -> str:
    """Through the centres of the outermost pixels, which lie at halves."""
    if not region.any():
        return ""
    lines, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=corner)
    return "".join("M" + "L".join(f"{x}.5,{y}.5" for x, y in line[:, 0]) + "Z" for line in lines)
