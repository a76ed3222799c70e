"""The cells of a picture at camera scale: drawn from what was told apart at network scale, and measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.imaging import Frame, Probabilities, to_camera_scale
from station.contract.manifest import BACKGROUND, CYTOPLASM, NUCLEUS
from station.contract.masks import InstanceImage, LabelImage, boxes
from station.contract.separation import Instances

_TOUCH_PX = 2  # at network scale: what is resampled ends a little before what it was sampled from


@dataclass(frozen=True, slots=True)
class Cell:
    """One white blood cell, in camera pixels."""

    id: int
    x: float
    y: float
    bbox: tuple[int, int, int, int]
    area_px: int
    nucleus_area_px: int
    cytoplasm_area_px: int
    nc_ratio: float | None
    touches_edge: bool
    confidence: float
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawing:
    """Cells at camera scale. `labels` > 0 exactly where `cells` > 0; ids run from 1 to len(measured)."""

    labels: LabelImage
    cells: InstanceImage
    measured: tuple[Cell, ...]


def draw(probabilities: Probabilities, instances: Instances, frame: Frame) -> Drawing:
    """Cells at camera scale: each is resampled in its own box, so memory beyond the two results stays bounded."""
    labels = np.zeros((frame.height, frame.width), np.uint8)
    cells = np.zeros((frame.height, frame.width), np.uint16)
    measured: list[Cell] = []
    for index, confidence in enumerate(instances.confidences):
        box = _camera_box(instances.boxes[index], frame)
        patch = _label_patch(probabilities, instances, index + 1, frame, box)
        if not patch.any():
            continue  # a speck smaller than one camera pixel: it would be a cell without an area
        x, y, w, h = box
        cell_id = len(measured) + 1
        np.copyto(labels[y : y + h, x : x + w], patch, where=patch > 0)
        np.copyto(cells[y : y + h, x : x + w], np.uint16(cell_id), where=patch > 0)
        measured.append(_measure(patch, box, cell_id, confidence, frame))
    return Drawing(labels, cells, tuple(measured))


def cut_by(beside: NDArray[np.bool_], drawing: Drawing) -> Drawing:
    """The drawing of a picture whose specimen ends at `beside` [h, w] at network scale: there a cell is cut, too."""
    height, width = drawing.cells.shape
    reach = 2 * math.ceil(_TOUCH_PX * max(height / beside.shape[0], width / beside.shape[1])) + 1
    around = cv2.resize(beside.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    around = cv2.dilate(around, np.ones((reach, reach), np.uint8))
    cut = set(np.unique(drawing.cells[around > 0]).tolist())
    cells = (replace(cell, touches_edge=cell.touches_edge or cell.id in cut) for cell in drawing.measured)
    return replace(drawing, measured=tuple(cells))


def measure(labels: LabelImage, cells: InstanceImage, confidence: float = 1.0) -> tuple[Cell, ...]:
    """The cells of a finished mask, as in truth or after a correction. Ids are those of `cells`."""
    height, width = labels.shape
    frame = Frame(height, width, height, width, height, width)
    found = []
    for cell_id, (x, y, w, h) in boxes(cells):
        inside = cells[y : y + h, x : x + w] == cell_id
        patch = np.where(inside, labels[y : y + h, x : x + w], 0).astype(np.uint8)
        found.append(_measure(patch, (x, y, w, h), cell_id, confidence, frame))
    return tuple(found)


def _camera_box(box: tuple[int, int, int, int], frame: Frame) -> tuple[int, int, int, int]:
    x, y, w, h = box
    down, across = frame.factors
    left, top = max(0, math.floor(x / across)), max(0, math.floor(y / down))
    right, bottom = min(frame.width, math.ceil((x + w) / across)), min(frame.height, math.ceil((y + h) / down))
    return left, top, right - left, bottom - top


def _label_patch(
    probabilities: Probabilities,
    instances: Instances,
    cell: int,
    frame: Frame,
    box: tuple[int, int, int, int],
) -> LabelImage:
    """[h, w] of one cell in its box at camera scale: 0 not this cell, 1 cytoplasm, 2 nucleus."""
    resampled = to_camera_scale(probabilities, frame, box)
    mine = _owned(instances, cell, frame, box) & (resampled[..., BACKGROUND] < instances.background)
    nucleus = resampled[..., NUCLEUS] > resampled[..., CYTOPLASM]
    return np.where(mine, np.where(nucleus, NUCLEUS, CYTOPLASM), BACKGROUND).astype(np.uint8)


def _owned(instances: Instances, cell: int, frame: Frame, box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """[h, w] the cell's territory at camera scale. Neighbours are resampled alike, so borders are smooth and meet."""
    x, y, w, h = instances.boxes[cell - 1]
    reach = 2 + math.ceil(max(frame.factors))  # no pixel of the box is sampled from further away
    left, top = max(0, x - reach), max(0, y - reach)
    around = instances.territory[top : y + h + reach, left : x + w + reach]

    def share(owner: int) -> NDArray[np.float32]:
        return to_camera_scale((around == owner).astype(np.float32), frame, box, (left, top))

    soft = share(cell)
    mine = soft > 0
    for other in np.unique(around[(around > 0) & (around != cell)]):
        rival = share(other)
        mine &= (soft > rival) | ((soft == rival) & (cell < other))
    return mine


def _measure(patch: LabelImage, box: tuple[int, int, int, int], cell_id: int, confidence: float, frame: Frame) -> Cell:
    mask = (patch > 0).view(np.uint8)
    moments = cv2.moments(mask, binaryImage=True)
    area = int(moments["m00"])
    x, y, width, height = cv2.boundingRect(mask)
    left, top = box[0] + x, box[1] + y
    nucleus = int(np.count_nonzero(patch == NUCLEUS))
    cytoplasm = area - nucleus
    return Cell(
        id=cell_id,
        x=round(box[0] + moments["m10"] / area, 2),
        y=round(box[1] + moments["m01"] / area, 2),
        bbox=(left, top, width, height),
        area_px=area,
        nucleus_area_px=nucleus,
        cytoplasm_area_px=cytoplasm,
        nc_ratio=round(nucleus / cytoplasm, 4) if cytoplasm else None,
        touches_edge=left == 0 or top == 0 or left + width == frame.width or top + height == frame.height,
        confidence=round(confidence, 4),
    )
