"""Cells and ground without cells, taken out of labelled pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from composing import DIAMETER_PX, PLASMA, SET, in_light, put_discs, put_sample
from networks import Disc, disc_labels
from numpy.typing import NDArray

from station.contract.manifest import NUCLEUS
from trainer.cutouts import Cutout, Ground, cutouts, grounds, stock, tone_of, without_cells
from trainer.datasets.samples import DataError

PIXEL = 2.0  # tolerance of a length that was rounded to whole px at both ends
VIOLET = (150, 120, 190)


def cell_at(x: float, y: float, radius: float = 60, nucleus: float = 36) -> Disc:
    return x, y, radius, nucleus


def found(folder: Path, cells: Sequence[Disc], wbc_count: int | None = None) -> list[Cutout]:
    labels = disc_labels(320, 400, cells)
    return list(cutouts([put_sample(folder, "a", in_light(labels), labels, wbc_count)], {SET: DIAMETER_PX}))


def test_a_cutout_is_one_cell_with_ground_around_it(tmp_path: Path) -> None:
    both = found(tmp_path, [cell_at(100, 100), cell_at(300, 200, 50)])
    assert len({cell.id for cell in both}) == 2
    for cell, diameter in zip(both, (120, 100), strict=True):
        assert 2 * math.sqrt((cell.labels > 0).sum() / math.pi) == pytest.approx(diameter, rel=0.02)
        assert cell.image.shape[:2] == cell.labels.shape
        assert not cell.labels[[0, -1]].any() and not cell.labels[:, [0, -1]].any()
        assert cell.tone == pytest.approx(PLASMA, abs=4)
        assert (cell.dataset, cell.typical_px) == (SET, DIAMETER_PX)


@pytest.mark.parametrize(
    ("cells", "wbc_count"),
    [
        ([cell_at(30, 100)], None),  # cut by the border
        ([cell_at(100, 120), cell_at(235, 120), (167.5, 120, 12, 0)], None),  # joined by the mask
        ([cell_at(200, 160, 25, 15)], None),  # debris
        ([cell_at(200, 160, nucleus=0)], None),  # no nucleus
        ([cell_at(200, 160, 110, 66)], None),  # several cells in one outline
        ([cell_at(200, 160)], 2),  # the data set says that it is two
    ],
)
def test_what_is_not_surely_one_whole_cell_is_left_out(
    tmp_path: Path, cells: list[Disc], wbc_count: int | None
) -> None:
    assert found(tmp_path, cells, wbc_count) == []
    assert len(found(tmp_path, [cell_at(200, 160)], 1)) == 1


def test_the_tone_is_that_of_empty_ground_whatever_covers_the_rest() -> None:
    image = np.full((100, 100, 3), (230, 225, 210), np.uint8)
    image[:40] = (200, 150, 150)  # red cells
    image[60:80] = 20  # a nucleus
    labels = np.zeros((100, 100), np.uint8)
    labels[60:80] = NUCLEUS
    assert tone_of(image, labels) == pytest.approx((230, 225, 210), abs=4)


def test_covered_cells_are_gone_and_all_else_is_as_it_was() -> None:
    labels = disc_labels(320, 480, [cell_at(90, 100), cell_at(390, 210, 50)])
    image = in_light(labels)
    image[:, 200:260] = (205, 160, 160)  # red matter between them
    hidden = without_cells(image, labels, DIAMETER_PX)
    assert hidden is not None
    assert hidden.min() >= 150  # neither cytoplasm nor nucleus is left
    far = cv2.dilate(labels, np.ones((31, 31), np.uint8)) == 0  # 0.12 cell diameters around them, and a pixel
    assert np.array_equal(hidden[far], image[far])
    assert (image[labels > 0].min(axis=1) < 153).all()


@pytest.mark.parametrize("cells", [[cell_at(160, 120, 100)], [cell_at(70, 90), cell_at(230, 120), cell_at(150, 170)]])
def test_a_picture_without_room_for_a_cover_is_no_ground(cells: list[Disc]) -> None:
    labels = disc_labels(240, 320, cells)
    assert without_cells(in_light(labels), labels, DIAMETER_PX) is None


def ground_of(folder: Path, mark: Callable[[NDArray[np.uint8]], None]) -> Ground:
    """The one ground that comes of a picture with a cell, after something was drawn into it."""
    labels = disc_labels(320, 400, [cell_at(110, 160)])
    image = in_light(labels)
    mark(image)
    (made,) = grounds([put_sample(folder, "a", image, labels)], {SET: DIAMETER_PX})
    return made


def stained(rows: slice, columns: slice, colour: tuple[int, int, int]) -> Callable[[NDArray[np.uint8]], None]:
    def mark(image: NDArray[np.uint8]) -> None:
        image[rows, columns] = colour

    return mark


@pytest.mark.parametrize(
    ("rows", "columns", "shape"),
    [
        (slice(0, 7), slice(300, 320), (313, 400)),
        (slice(310, 320), slice(300, 320), (310, 400)),
        (slice(40, 60), slice(0, 5), (320, 395)),
        (slice(40, 60), slice(391, 400), (320, 391)),
        (slice(40, 60), slice(300, 320), (320, 400)),  # whole, in the middle: what belongs to a ground
        (slice(0, 90), slice(300, 320), (288, 400)),  # no more than a tenth
    ],
)
def test_violet_matter_that_the_border_cuts_is_trimmed_away(
    tmp_path: Path, rows: slice, columns: slice, shape: tuple[int, int]
) -> None:
    made = ground_of(tmp_path, stained(rows, columns, VIOLET))
    assert made.image.shape[:2] == shape
    assert made.tone == pytest.approx(PLASMA, abs=4)


def test_red_cells_at_the_border_stay(tmp_path: Path) -> None:
    made = ground_of(tmp_path, stained(slice(0, 20), slice(300, 340), (205, 160, 160)))
    assert made.image.shape[:2] == (320, 400)


def test_pictures_of_which_nothing_can_be_composed_are_refused(tmp_path: Path) -> None:
    labels = disc_labels(200, 200, [cell_at(100, 100)])
    crop = put_sample(tmp_path, "a", in_light(labels), labels)
    assert len(list(cutouts([crop], {SET: DIAMETER_PX}))) == 1
    with pytest.raises(DataError, match="no field can be composed of these pictures: that takes a whole single"):
        stock([crop], {SET: DIAMETER_PX})
    cells, free = stock([crop, *put_discs(tmp_path / "more")], {SET: DIAMETER_PX})
    assert (len(cells), len(free)) == (3, 2)
