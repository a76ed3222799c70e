"""What a camera shows beside the specimen: the black around a round field of view, or bars above and below."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.imaging import RGB

_CORNERS: Final = [0, 0, -1, -1], [0, -1, 0, -1]
_BLACK: Final = 45  # of 255, in the brightest channel: where light comes through, stain leaves more of one
# Of the picture: a round field as high as a picture of 4:3 leaves 0.41 of it; more is ground that is black.
_MOST: Final = 0.6
_RIM: Final = 13  # px at network scale across which the edge of the black is soft: a fifth of a cell


def surround(tile: RGB) -> NDArray[np.bool_] | None:
    """[h, w] where nothing of the specimen is seen, its soft rim included; None where the picture shows it everywhere.

    It is black and holds a corner of the picture. A dark cell that lies in one is none of it: it lets light through.
    """
    if tile[_CORNERS].max(axis=1).min() >= _BLACK:
        return None
    red, green, blue = cv2.split(tile)
    own = in_corners(cv2.max(cv2.max(red, green), blue) < _BLACK)
    beside = np.asarray(cv2.dilate(own, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_RIM, _RIM))) > 0)
    return None if beside.mean() > _MOST else beside


def in_corners(black: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """[h, w] 1 in those connected parts that hold a corner of the picture."""
    _, parts = cv2.connectedComponents(black.astype(np.uint8), connectivity=8)
    return np.isin(parts, [part for part in parts[_CORNERS] if part]).astype(np.uint8)
