"""Contours on real pixels, for everyone who shows a picture."""

from __future__ import annotations

import cv2
import numpy as np

from station.contract.cells import Drawing
from station.contract.errors import ImageError
from station.contract.imaging import RGB
from station.contract.manifest import NUCLEUS

# Chosen to stand out against violet nuclei, pink red cells and pale plasma alike, also for red-green blind eyes.
CELL_COLOUR = (0, 150, 60)
NUCLEUS_COLOUR = (255, 200, 0)
_DARK, _LIGHT = (20, 20, 20), (255, 255, 255)


def overlay(image: RGB, drawing: Drawing) -> RGB:
    """A copy of [H, W, 3] with each cell's outline, its nucleus' outline and its number."""
    shown = image.copy()
    thickness = max(1, round(min(image.shape[:2]) / 400))
    for cell in drawing.measured:
        x, y, w, h = cell.bbox
        rows, columns = slice(y, y + h), slice(x, x + w)
        own = drawing.cells[rows, columns] == cell.id
        nucleus = own & (drawing.labels[rows, columns] == NUCLEUS)
        for region, colour in ((own, CELL_COLOUR), (nucleus, NUCLEUS_COLOUR)):
            outlines, _ = cv2.findContours(
                region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(x, y)
            )
            cv2.drawContours(shown, outlines, -1, colour, thickness, cv2.LINE_AA)
    for cell in drawing.measured:
        _number(shown, str(cell.id), (round(cell.x), round(cell.y)))
    return shown


def overlay_png(image: RGB, drawing: Drawing) -> bytes:
    """`overlay` as PNG bytes."""
    done, buffer = cv2.imencode(".png", cv2.cvtColor(overlay(image, drawing), cv2.COLOR_RGB2BGR))
    if not done:
        raise ImageError(f"an overlay of {image.shape[1]} x {image.shape[0]} px could not be written as PNG")
    return buffer.tobytes()


def _number(shown: RGB, text: str, centre: tuple[int, int]) -> None:
    scale = max(0.4, min(shown.shape[:2]) / 900)
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    origin = (centre[0] - width // 2, centre[1] + height // 2)
    for colour, thickness in ((_DARK, 4), (_LIGHT, 1)):
        cv2.putText(shown, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA)
