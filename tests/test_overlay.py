from __future__ import annotations

import cv2
import numpy as np
import pytest
from networks import Disc, colour_network, discs, tiny_manifest

from station.contract.analysis import Scale, analyse
from station.contract.cells import Drawing
from station.contract.decoding import decode
from station.contract.imaging import RGB
from station.contract.overlay import CELL_COLOUR, NUCLEUS_COLOUR, overlay, overlay_png

CELLS: tuple[Disc, ...] = ((60, 60, 30, 17), (200, 110, 28, 15), (0, 150, 30, 20))


def picture_and_drawing(cells: tuple[Disc, ...] = CELLS) -> tuple[RGB, Drawing]:
    image = discs(180, 240, cells)
    return image, analyse(image, Scale(60, "told"), tiny_manifest(), colour_network).drawing


def test_the_picture_itself_stays_as_it_was() -> None:
    image, drawing = picture_and_drawing()
    before = image.copy()
    shown = overlay(image, drawing)
    assert np.array_equal(image, before)
    assert (shown.shape, shown.dtype) == (image.shape, np.uint8)


def test_without_cells_nothing_is_drawn() -> None:
    image, drawing = picture_and_drawing(())
    assert np.array_equal(overlay(image, drawing), image)


@pytest.mark.parametrize(("x", "colour"), [(30, CELL_COLOUR), (43, NUCLEUS_COLOUR)])
def test_cell_and_nucleus_are_outlined_in_their_colours(x: int, colour: tuple[int, int, int]) -> None:
    shown = overlay(*picture_and_drawing())[60, x - 3 : x + 4].astype(int)
    assert np.abs(shown - colour).sum(axis=1).min() < 120  # lines are drawn soft


def test_the_outline_lies_on_the_border_of_the_mask_and_nowhere_else() -> None:
    image, drawing = picture_and_drawing()
    changed = (overlay(image, drawing) != image).any(axis=2)
    cell = (drawing.cells > 0).astype(np.uint8)
    ring = cv2.dilate(cell, np.ones((5, 5), np.uint8)) - cv2.erode(cell, np.ones((5, 5), np.uint8))
    assert not changed[cv2.dilate(cell, np.ones((7, 7), np.uint8)) == 0].any()
    assert changed[ring > 0].mean() > 0.2


def test_each_cell_carries_its_number_at_its_centre() -> None:
    image, drawing = picture_and_drawing()
    shown = overlay(image, drawing)
    for cell in drawing.measured[:2]:
        x, y = round(cell.x), round(cell.y)
        centre = shown[y - 6 : y + 7, x - 6 : x + 7]
        assert (centre != image[y - 6 : y + 7, x - 6 : x + 7]).any()


def test_the_png_holds_the_overlay() -> None:
    image, drawing = picture_and_drawing()
    assert np.array_equal(decode(overlay_png(image, drawing)), overlay(image, drawing))


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3, 2)])
def test_odd_sizes_are_shown(size: tuple[int, int]) -> None:
    labels, cells = np.zeros(size, np.uint8), np.zeros(size, np.uint16)
    assert overlay(discs(*size), Drawing(labels, cells, ())).shape == (*size, 3)
