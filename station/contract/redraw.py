"""What a correction makes of the masks of a picture.

The masks that go in are never changed; those that come out are > 0 at the same pixels. Ids of cells that stay never
change, a new cell gets one that was never used, and a cell without pixels is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.cells import Cell, measure
from station.contract.corrections import (
    MOST_ID,
    AddCell,
    Edit,
    MergeCells,
    RemoveCell,
    Repaint,
    SplitCell,
    Stroke,
)
from station.contract.errors import CorrectionError
from station.contract.imaging import RGB, distances
from station.contract.manifest import BACKGROUND
from station.contract.masks import InstanceImage, LabelImage
from station.contract.outline import outline

Masks: TypeAlias = tuple[LabelImage, InstanceImage]

_SMOOTHING = 0.1  # of the depth of a cell: its outline is rough, and every roughness has a summit
MERGE_GAP_PX = 4  # cells that lie so far apart may still be parts of one


def apply(
    labels: LabelImage,
    cells: NDArray[np.uint8] | InstanceImage,
    correction: Edit,
    image: RGB | None,
    cell_diameter_px: float,
    *,
    next_id: int | None = None,
) -> Masks:
    """The masks [H, W] after a correction.

    `image` [H, W, 3] is what a new cell is outlined by; without it a disc is drawn. `next_id` is the first number that
    the picture never used, by default the one after its highest. Raises CorrectionError where the correction makes no
    sense on these masks: its cell is not there, its place is taken, it would change nothing.
    """
    before: Masks = (labels, np.asarray(cells, np.uint16))
    free = max(int(before[1].max(initial=0)) + 1, next_id or 1)
    match correction:
        case AddCell():
            return _added(before, correction, image, correction.diameter_px or cell_diameter_px, free)
        case RemoveCell():
            return _removed(before, correction)
        case SplitCell():
            return _split(before, correction, free)
        case MergeCells():
            return _merged(before, correction)
        case Repaint():
            return _repainted(before, correction, free)
    return before


def changed_cells(before: Masks, after: Masks, cut: Collection[int]) -> tuple[frozenset[int], tuple[Cell, ...]]:
    """(numbers of the cells that gained, lost or turned a pixel, those of them that are left, measured anew).

    Of those that were `cut` before, by something else than the picture's border, what is left still is.
    """
    differs = (before[0] != after[0]) | (before[1] != after[1])
    touched = np.union1d(before[1][differs], after[1][differs])
    touched = touched[touched > 0]
    own = np.isin(after[1], touched)
    left = measure(np.where(own, after[0], 0).astype(np.uint8), np.where(own, after[1], 0).astype(np.uint16))
    at_border = np.concatenate([before[1][0], before[1][-1], before[1][:, 0], before[1][:, -1]])
    inside = set(cut).difference(np.unique(at_border).tolist())
    left = tuple(replace(cell, touches_edge=cell.touches_edge or cell.id in inside) for cell in left)
    return frozenset(map(int, touched)), left


def _added(before: Masks, correction: AddCell, image: RGB | None, diameter_px: float, new_id: int) -> Masks:
    labels, cells = before[0].copy(), before[1].copy()
    row, column = _pixel((correction.x, correction.y), cells.shape)
    if taken := int(cells[row, column]):
        raise CorrectionError(f"there is cell {taken} already at ({correction.x:g}, {correction.y:g})")
    if image is not None and image.shape[:2] != cells.shape:
        raise CorrectionError(f"the picture has other measures {image.shape[:2]} than its masks {cells.shape}")
    window, drawn = outline(image, cells > 0, (row, column), diameter_px)
    labels[window][drawn > 0] = drawn[drawn > 0]
    cells[window][drawn > 0] = _need_id(new_id)
    return labels, cells


def _removed(before: Masks, correction: RemoveCell) -> Masks:
    gone = _own(before[1], correction.cell_id)
    return np.where(gone, 0, before[0]).astype(np.uint8), np.where(gone, 0, before[1]).astype(np.uint16)


def _split(before: Masks, correction: SplitCell, first_new: int) -> Masks:
    """A watershed from the summits below the points, or where these are no two, what is nearest to each.

    Seeds that lie where people click would flood over the waist: the deeper one comes first.
    """
    from skimage.segmentation import watershed  # a second, which is only spent on this

    own = _own(before[1], correction.cell_id)
    pixels = [_pixel(point, own.shape) for point in correction.points]
    if len(set(pixels)) < len(pixels):
        raise CorrectionError("two of the points to split at lie on one pixel; put one into each cell")
    for (x, y), pixel in zip(correction.points, pixels, strict=True):
        if not own[pixel]:
            raise CorrectionError(f"({x:g}, {y:g}) does not lie in cell {correction.cell_id}; put one point into each")
    _need_id(first_new + len(pixels) - 2)
    x, y, w, h = cv2.boundingRect(own.astype(np.uint8))
    window = slice(y, y + h), slice(x, x + w)
    relief, seeds = _summits(own[window], [(row - y, column - x) for row, column in pixels])
    parts = np.asarray(watershed(-relief, seeds, mask=own[window]), np.int64)
    numbers = np.array([0, correction.cell_id, *range(first_new, first_new + len(pixels) - 1)], np.uint16)
    cells = before[1].copy()
    cells[window][parts > 0] = numbers[parts[parts > 0]]
    return before[0], cells


def _summits(
    own: NDArray[np.bool_], pixels: Sequence[tuple[int, int]]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """What to flood [h, w], and the seeds in it: of each point the way from it to the deepest place uphill."""
    depth = distances(np.pad(own.astype(np.uint8), 1))[1:-1, 1:-1]
    blurred = cv2.GaussianBlur(depth, (0, 0), max(1.0, _SMOOTHING * float(depth.max())))
    smooth = np.asarray(np.where(own, blurred, 0), np.float32)
    ways = [_uphill(smooth, pixel) for pixel in pixels]
    apart = len({way[-1] for way in ways}) == len(ways)
    seeds: NDArray[np.int32] = np.zeros(own.shape, np.int32)
    for number, (way, pixel) in enumerate(zip(ways, pixels, strict=True), start=1):
        for place in way if apart else (pixel,):
            seeds[place] = number
    return (smooth if apart else np.zeros(own.shape, np.float32)), seeds


def _uphill(relief: NDArray[np.float32], pixel: tuple[int, int]) -> list[tuple[int, int]]:
    """The steepest way from a pixel to one that no neighbour is higher than, both included."""
    way = [pixel]
    while True:
        row, column = way[-1]
        top, left = max(0, row - 1), max(0, column - 1)
        around = relief[top : row + 2, left : column + 2]
        down, across = np.unravel_index(int(around.argmax()), around.shape)
        if around[down, across] <= relief[row, column]:
            return way
        way.append((top + int(down), left + int(across)))


def _merged(before: Masks, correction: MergeCells) -> Masks:
    numbers = sorted(set(correction.cell_ids))
    if len(numbers) < 2:
        raise CorrectionError("one cell alone cannot be merged; name two or more")
    own = np.logical_or.reduce([_own(before[1], number) for number in numbers])
    x, y, w, h = cv2.boundingRect(own.astype(np.uint8))
    window, side = (slice(y, y + h), slice(x, x + w)), MERGE_GAP_PX + 1
    near = cv2.dilate(own[window].astype(np.uint8), np.ones((side, side), np.uint8))
    _, reached = cv2.connectedComponents(near)
    groups = [set(reached[before[1][window] == number]) for number in numbers]
    if not _hang_together(groups):
        listed = ", ".join(map(str, numbers))
        raise CorrectionError(f"cells {listed} lie more than {MERGE_GAP_PX} px apart; only what touches is one cell")
    return before[0], np.where(own, numbers[0], before[1]).astype(np.uint16)


def _hang_together(groups: list[set[int]]) -> bool:
    """Whether sets, each of which may have several members, are linked to one by members that they share."""
    linked, rest = groups[0], groups[1:]
    while rest:
        touching = [group for group in rest if group & linked]
        if not touching:
            return False
        linked = linked.union(*touching)
        rest = [group for group in rest if not group & linked]
    return True


def _repainted(before: Masks, correction: Repaint, new_id: int) -> Masks:
    labels, cells = before[0].copy(), before[1].copy()
    for stroke in correction.strokes:
        if stroke.cell_id is not None:
            _own(before[1], stroke.cell_id)
        painted = _brushed(stroke, cells.shape)
        if stroke.value == BACKGROUND:
            painted &= cells == stroke.cell_id if stroke.cell_id else cells > 0
            cells[painted] = 0
        else:
            number = stroke.cell_id or _need_id(new_id)
            painted &= (cells == 0) | (cells == number)
            cells[painted] = number
        labels[painted] = stroke.value
    if np.array_equal(labels, before[0]) and np.array_equal(cells, before[1]):
        raise CorrectionError("the strokes change nothing: they lie outside the picture, or on what is so already")
    return labels, cells


def _brushed(stroke: Stroke, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """[H, W] the pixels that the brush passes over."""
    touched = np.zeros(shape, np.uint8)
    shift = 4  # OpenCV counts in sixteenths of a pixel
    points = np.rint(np.array(stroke.points, np.float64) * 2**shift).astype(np.int32)
    for point in points:
        cv2.circle(touched, (int(point[0]), int(point[1])), round(stroke.radius_px * 2**shift), 1, -1, shift=shift)
    thickness = max(1, round(2 * stroke.radius_px))
    cv2.polylines(touched, [points.reshape(-1, 1, 2)], False, 1, thickness, shift=shift)
    return touched > 0


def _own(cells: InstanceImage, cell_id: int) -> NDArray[np.bool_]:
    own = cells == cell_id
    if not own.any():
        raise CorrectionError(f"there is no cell {cell_id} in this image, or no longer")
    return np.asarray(own, np.bool_)


def _pixel(point: tuple[float, float], shape: tuple[int, ...]) -> tuple[int, int]:
    """(row, column) of the pixel in which x, y lies."""
    x, y = point
    if not (0 <= x < shape[1] and 0 <= y < shape[0]):
        raise CorrectionError(f"({x:g}, {y:g}) lies outside the picture of {shape[1]} x {shape[0]} px")
    return int(y), int(x)


def _need_id(number: int) -> int:
    if number > MOST_ID:
        raise CorrectionError(f"this image has used up all {MOST_ID} numbers of cells")
    return number
