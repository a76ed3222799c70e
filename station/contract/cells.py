"""From class probabilities to single cells: separate at network scale, draw and measure at camera scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from station.contract.errors import ImageError
from station.contract.imaging import Frame, Probabilities, to_camera_scale
from station.contract.manifest import BACKGROUND, CYTOPLASM, NUCLEUS, Separation

LabelImage: TypeAlias = NDArray[np.uint8]  # [H, W] 0 background, 1 cytoplasm, 2 nucleus
InstanceImage: TypeAlias = NDArray[np.uint16]  # [H, W] 0 background, 1..n one id per cell

# At network scale an instance reaches this far beyond its outline, so that no pixel of the finer outline at camera
# scale is left without an owner.
_RIM_PX = 2


@dataclass(frozen=True, slots=True)
class Instances:
    """The cells found at network scale, before they are drawn."""

    territory: NDArray[np.int32]  # [h, w] owner of each pixel, reaching _RIM_PX beyond the outlines; 0 nobody
    background: float  # a pixel is cell where P(background) is below this
    boxes: tuple[tuple[int, int, int, int], ...]  # (x, y, w, h) of the territory of cell i + 1
    confidences: tuple[float, ...]  # mean probability of the winning class over the cell, 0..1


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


@dataclass(frozen=True, slots=True)
class Drawing:
    """Cells at camera scale. `labels` > 0 exactly where `cells` > 0; ids run from 1 to len(measured)."""

    labels: LabelImage
    cells: InstanceImage
    measured: tuple[Cell, ...]


def separate(probabilities: Probabilities, cell_diameter_px: float, how: Separation) -> Instances:
    """Find the single cells in [h, w, 3] probabilities whose cells measure about `cell_diameter_px` there.

    Watershed on the smoothed distance transform of the whole cell (nucleus + cytoplasm), one seed per maximum that
    stands at least `how.prominence` above its saddle (h-maxima: Soille, Morphological Image Analysis, 6.3.4). A lobed
    nucleus is thus one cell. Regions without enough nucleus are no white cells and are dropped.
    """
    background = 1.0 - how.foreground
    foreground = probabilities[..., BACKGROUND] < background
    disc_px = math.pi / 4 * cell_diameter_px**2
    territory = _territories(foreground, cell_diameter_px, disc_px, how)
    pixels = np.nonzero(foreground & (territory > 0))  # nothing below looks at the rest of the field
    owner, own_probabilities = territory[pixels], probabilities[pixels]
    kept = _kept(territory, pixels, own_probabilities, disc_px, how)
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    territory = numbers[territory]
    confidences = _confidences(numbers[owner], own_probabilities, int(kept.sum()))
    return Instances(territory, background, _boxes(territory), confidences)


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
        labels[y : y + h, x : x + w][patch > 0] = patch[patch > 0]
        cells[y : y + h, x : x + w][patch > 0] = cell_id
        measured.append(_measure(patch, box, cell_id, confidence, frame))
    return Drawing(labels, cells, tuple(measured))


def measure(labels: LabelImage, cells: InstanceImage, confidence: float = 1.0) -> tuple[Cell, ...]:
    """The cells of a finished mask, as in truth or after a correction. Ids are those of `cells`."""
    height, width = labels.shape
    frame = Frame(height, width, height, width, height, width)
    found = []
    for cell_id in np.unique(cells[cells > 0]):
        x, y, w, h = cv2.boundingRect((cells == cell_id).astype(np.uint8))
        inside = cells[y : y + h, x : x + w] == cell_id
        patch = np.where(inside, labels[y : y + h, x : x + w], 0).astype(np.uint8)
        found.append(_measure(patch, (x, y, w, h), int(cell_id), confidence, frame))
    return tuple(found)


def encode(mask: LabelImage | InstanceImage) -> bytes:
    """A label or instance image as a lossless PNG (8 or 16 bit grey)."""
    done, buffer = cv2.imencode(".png", mask)
    if not done:
        raise ImageError(f"a mask of shape {mask.shape} could not be written as PNG")
    return buffer.tobytes()


def decode_mask(png: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The mask that `encode` wrote. Raises ImageError where the bytes are no such PNG."""
    is_png = png.startswith(b"\x89PNG")
    mask = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED) if is_png else None
    if mask is None or mask.ndim != 2:
        raise ImageError("is not a mask: one grey channel was expected")
    return np.asarray(mask, np.uint16) if mask.dtype == np.uint16 else np.asarray(mask, np.uint8)


def _territories(
    foreground: NDArray[np.bool_], diameter_px: float, disc_px: float, how: Separation
) -> NDArray[np.int32]:
    """[h, w] owner 1..n of each pixel. Components too small to be a cell own nothing."""
    mask = foreground.astype(np.uint8)
    count, components, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    least = min(how.min_area, how.min_area_at_edge) * disc_px
    territory = np.zeros(mask.shape, np.int32)
    next_id = 1
    for component in range(1, count):
        if stats[component, cv2.CC_STAT_AREA] < least:
            continue
        window = _window(stats[component], mask.shape)
        own = (components[window] == component).astype(np.uint8)
        parts = _flood(_relief(own, how.smoothing * diameter_px), own, how.prominence * diameter_px)
        free = (territory[window] == 0) & (own | (mask[window] == 0)).astype(bool) & (parts > 0)
        territory[window][free] = parts[free] + (next_id - 1)
        next_id += int(parts.max())
    return territory


def _relief(own: NDArray[np.uint8], sigma_px: float) -> NDArray[np.float32]:
    """Smoothed distance of each pixel of a component to what is not of it; the border of the field is no edge of it."""
    distance = cv2.distanceTransform(own, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    if sigma_px > 0:
        distance = cv2.GaussianBlur(distance, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(distance, np.float32)


def _window(stat: NDArray[np.int32], shape: tuple[int, ...]) -> tuple[slice, slice]:
    x, y, w, h = (int(value) for value in stat[:4])
    rows = slice(max(0, y - _RIM_PX - 1), min(shape[0], y + h + _RIM_PX + 1))
    return rows, slice(max(0, x - _RIM_PX - 1), min(shape[1], x + w + _RIM_PX + 1))


def _flood(distance: NDArray[np.float32], own: NDArray[np.uint8], prominence_px: float) -> NDArray[np.int32]:
    """Split one connected component (its window) into parts 1..k, each reaching over the rim."""
    side = 2 * _RIM_PX + 1
    wide = cv2.dilate(own, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    relief = np.where(own > 0, distance, np.float32(0))
    count, seeds = _peaks(relief, own)
    if count > 1 and prominence_px > 0:
        count, seeds = _peaks(reconstruction(relief - prominence_px, relief), own)
    if count <= 1:  # nothing to divide: what a watershed from one seed comes to, at a tenth of the time
        return wide.astype(np.int32) if count else np.zeros(own.shape, np.int32)
    return np.asarray(watershed(-relief, seeds, mask=wide > 0), dtype=np.int32)


def _peaks(relief: NDArray[np.float32], own: NDArray[np.uint8]) -> tuple[int, NDArray[np.int32]]:
    """Number and label image of the regional maxima within a component."""
    peaks = local_maxima(relief, connectivity=2) & (own > 0)
    count, seeds = cv2.connectedComponents(peaks.astype(np.uint8), connectivity=8)
    return count - 1, np.asarray(seeds, np.int32)


def _kept(
    territory: NDArray[np.int32],
    pixels: tuple[NDArray[np.int64], ...],
    probabilities: NDArray[np.float32],
    disc_px: float,
    how: Separation,
) -> NDArray[np.bool_]:
    """[n + 1] whether region i is a white cell whose nucleus is seen; `probabilities` [p, 3] are those of `pixels`."""
    owner = territory[pixels]
    nucleus = probabilities[:, NUCLEUS] > probabilities[:, CYTOPLASM]
    count = int(territory.max()) + 1
    area = np.bincount(owner, minlength=count)
    nucleus_area = np.bincount(owner[nucleus], minlength=count)
    at_edge = _at_edge(pixels, owner, territory.shape, count)
    least_area = np.where(at_edge, how.min_area_at_edge, how.min_area) * disc_px
    least_nucleus = np.where(at_edge, how.min_nucleus_at_edge, how.min_nucleus) * disc_px
    kept = (area >= least_area) & (nucleus_area >= np.maximum(least_nucleus, 1))
    kept[0] = False
    return kept


def _at_edge(
    pixels: tuple[NDArray[np.int64], ...], owner: NDArray[np.int32], shape: tuple[int, ...], count: int
) -> NDArray[np.bool_]:
    rows, columns = pixels
    outermost = (rows == 0) | (rows == shape[0] - 1) | (columns == 0) | (columns == shape[1] - 1)
    at_edge = np.zeros(count, bool)
    at_edge[owner[outermost]] = True
    return at_edge


def _confidences(owner: NDArray[np.int32], probabilities: NDArray[np.float32], count: int) -> tuple[float, ...]:
    """Mean probability of the winning class over the pixels of cells 1..count; owner 0 is nobody."""
    pixels = np.maximum(np.bincount(owner, minlength=count + 1), 1)
    certainty = np.bincount(owner, weights=probabilities.max(axis=1), minlength=count + 1)
    return tuple(float(value) for value in (certainty / pixels)[1:])


def _boxes(territory: NDArray[np.int32]) -> tuple[tuple[int, int, int, int], ...]:
    """(x, y, w, h) of regions 1..n."""
    return tuple(
        (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        for rows, columns in find_objects(territory)
    )


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
    own_box = instances.boxes[cell - 1]
    x, y, w, h = own_box
    present = np.unique(instances.territory[max(0, y - 1) : y + h + 1, max(0, x - 1) : x + w + 1])
    soft = to_camera_scale((instances.territory == cell).astype(np.float32), frame, box)
    mine = soft > 0
    for other in present[(present > 0) & (present != cell)]:
        rival = to_camera_scale((instances.territory == other).astype(np.float32), frame, box)
        mine &= (soft > rival) | ((soft == rival) & (cell < other))
    return mine


def _measure(patch: LabelImage, box: tuple[int, int, int, int], cell_id: int, confidence: float, frame: Frame) -> Cell:
    rows, columns = np.nonzero(patch)
    left, top = box[0] + int(columns.min()), box[1] + int(rows.min())
    right, bottom = box[0] + int(columns.max()), box[1] + int(rows.max())
    nucleus = int(np.count_nonzero(patch == NUCLEUS))
    cytoplasm = rows.size - nucleus
    return Cell(
        id=cell_id,
        x=round(box[0] + float(columns.mean()), 2),
        y=round(box[1] + float(rows.mean()), 2),
        bbox=(left, top, right - left + 1, bottom - top + 1),
        area_px=rows.size,
        nucleus_area_px=nucleus,
        cytoplasm_area_px=cytoplasm,
        nc_ratio=round(nucleus / cytoplasm, 4) if cytoplasm else None,
        touches_edge=left == 0 or top == 0 or right == frame.width - 1 or bottom == frame.height - 1,
        confidence=round(confidence, 4),
    )
