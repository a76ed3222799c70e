"""From class probabilities to single cells: separate at network scale, draw and measure at camera scale."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.errors import ImageError
from station.contract.imaging import Frame, Probabilities, distances, to_camera_scale
from station.contract.manifest import BACKGROUND, CYTOPLASM, NUCLEUS, Separation

LabelImage: TypeAlias = NDArray[np.uint8]  # [H, W] 0 background, 1 cytoplasm, 2 nucleus
InstanceImage: TypeAlias = NDArray[np.uint16]  # [H, W] 0 background, 1..n one id per cell
Window: TypeAlias = tuple[slice, slice]  # rows and columns of a field, with start and stop

# At network scale an instance reaches this far beyond its outline, so that no pixel of the finer outline at camera
# scale is left without an owner.
_RIM_PX = 2
_MOST_BYTE = 255
_EIGHT = np.ones((3, 3), np.uint8)  # a pixel and its neighbours


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
    flags: tuple[str, ...] = ()


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
    disc_px = math.pi / 4 * cell_diameter_px**2
    mask = (cv2.extractChannel(probabilities, BACKGROUND) < background).view(np.uint8)
    territory = np.zeros(mask.shape, np.int32)
    boxes: list[tuple[int, int, int, int]] = []
    confidences: list[float] = []
    for window, own in _components(mask, min(how.min_area, how.min_area_at_edge) * disc_px):
        parts = _flood(_relief(own, how.smoothing * cell_diameter_px), own, how.prominence * cell_diameter_px)
        parts[(territory[window] > 0) | (own < mask[window])] = 0  # the rim leaves others what is theirs
        pixels = np.nonzero(own & (parts > 0))
        owner, seen = parts[pixels], probabilities[window][pixels]
        at_edge = _at_edge(pixels, owner, window, mask.shape)
        kept = _kept(owner, seen, at_edge, disc_px, how)
        numbers = np.where(kept, np.cumsum(kept) + len(boxes), 0).astype(np.int32)
        territory[window] = np.maximum(territory[window], numbers[parts])
        boxes += _boxes(parts, kept, window)
        confidences += _confidences(owner, seen, kept)
    return Instances(territory, background, tuple(boxes), tuple(confidences))


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
    # Runs of one byte pack best as they are; of two bytes, as differences to the pixel before.
    unfiltered = (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE) if mask.dtype == np.uint8 else ()
    done, buffer = cv2.imencode(".png", mask, unfiltered)
    if not done:
        raise ImageError(f"a mask of shape {mask.shape} could not be written as PNG")
    return buffer.tobytes()


def encode_narrow(cells: InstanceImage) -> bytes:
    """As `encode`, in 8 bits where no id needs more: a third of the time."""
    return encode(cells.astype(np.uint8) if int(cells.max(initial=0)) <= _MOST_BYTE else cells)


def decode_mask(png: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The mask that `encode` wrote. Raises ImageError where the bytes are no such PNG."""
    is_png = png.startswith(b"\x89PNG")
    mask = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED) if is_png else None
    if mask is None or mask.ndim != 2:
        raise ImageError("is not a mask: one grey channel was expected")
    return np.asarray(mask, np.uint16) if mask.dtype == np.uint16 else np.asarray(mask, np.uint8)


def _components(mask: NDArray[np.uint8], least_px: float) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    """Each connected component that is large enough to be a cell: where it lies with its rim, and 1 where it is."""
    # The one of its ways whose statistics take least, half of what the default one does.
    found = cv2.connectedComponentsWithStatsWithAlgorithm(mask, 8, cv2.CV_32S, cv2.CCL_BBDT)
    count, components, stats, _ = found
    for component in range(1, count):
        if stats[component, cv2.CC_STAT_AREA] >= least_px:
            window = _window(stats[component], mask.shape)
            yield window, (components[window] == component).astype(np.uint8)


def _relief(own: NDArray[np.uint8], sigma_px: float) -> NDArray[np.float32]:
    """Smoothed distance of each pixel of a component to what is not of it; the border of the field is no edge of it."""
    distance = distances(own)
    if sigma_px > 0:
        blurred = cv2.GaussianBlur(distance, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE)
        distance = np.asarray(blurred, np.float32)
    return distance


def _window(stat: NDArray[np.int32], shape: tuple[int, ...]) -> Window:
    x, y, w, h = (int(value) for value in stat[:4])
    rows = slice(max(0, y - _RIM_PX - 1), min(shape[0], y + h + _RIM_PX + 1))
    return rows, slice(max(0, x - _RIM_PX - 1), min(shape[1], x + w + _RIM_PX + 1))


def _flood(distance: NDArray[np.float32], own: NDArray[np.uint8], prominence_px: float) -> NDArray[np.int32]:
    """Split one connected component (its window) into parts 1..k, each reaching over the rim."""
    from skimage.segmentation import watershed  # a second, which commands that only tell what is known need not wait

    side = 2 * _RIM_PX + 1
    wide = cv2.dilate(own, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    relief = np.where(own > 0, distance, np.float32(0))
    count, seeds = _peaks(relief, own)
    if count > 1 and prominence_px > 0:
        count, seeds = _peaks(_levelled(relief, seeds, prominence_px), own)
    if count <= 1:  # nothing to divide: what a watershed from one seed comes to, at a tenth of the time
        return wide.astype(np.int32) if count else np.zeros(own.shape, np.int32)
    return np.asarray(watershed(-relief, seeds, mask=wide > 0), dtype=np.int32)


def _levelled(relief: NDArray[np.float32], seeds: NDArray[np.int32], prominence_px: float) -> NDArray[np.float32]:
    """The relief without the peaks that do not stand `prominence_px` above their saddle.

    A saddle below all feet (peak - prominence) joins nothing, so only the box of what is higher is looked at.
    """
    from skimage.morphology import reconstruction

    foot = np.float32(relief[seeds > 0].min()) - np.float32(prominence_px)
    joining = relief >= foot
    x, y, w, h = cv2.boundingRect(joining.astype(np.uint8))
    levelled = np.where(joining, relief, foot - 1)
    box = levelled[y : y + h, x : x + w]
    box[...] = reconstruction(box - np.float32(prominence_px), box)
    return levelled


def _peaks(relief: NDArray[np.float32], own: NDArray[np.uint8]) -> tuple[int, NDArray[np.int32]]:
    """Number and label image of the regional maxima within a component."""
    count, seeds = cv2.connectedComponents((_maxima(relief) & own.view(np.bool_)).view(np.uint8), connectivity=8)
    return count - 1, np.asarray(seeds, np.int32)


def _maxima(relief: NDArray[np.float32]) -> NDArray[np.bool_]:
    """[h, w] the regional maxima: what skimage's `local_maxima` finds, at a tenth of the time.

    The border of the window is as low as its lowest pixel.
    """
    highest = (relief == cv2.dilate(relief, _EIGHT)) & (relief > relief.min())
    # Of a plateau that has a higher neighbour somewhere, no pixel is a maximum.
    slopes = np.where(highest, np.float32(-np.inf), relief)
    leaning = highest & (relief == cv2.dilate(slopes, _EIGHT))
    if leaning.any():
        _, plateaus = cv2.connectedComponents(highest.view(np.uint8), connectivity=8)
        highest &= ~np.isin(plateaus, plateaus[leaning])
    return np.asarray(highest, np.bool_)


def _kept(
    owner: NDArray[np.int32],
    probabilities: NDArray[np.float32],
    at_edge: NDArray[np.bool_],
    disc_px: float,
    how: Separation,
) -> NDArray[np.bool_]:
    """[n + 1] whether part i is a cell whose nucleus is seen; `owner` [p] and `probabilities` [p, 3] of its pixels."""
    nucleus = probabilities[:, NUCLEUS] > probabilities[:, CYTOPLASM]
    area = np.bincount(owner, minlength=at_edge.size)
    nucleus_area = np.bincount(owner[nucleus], minlength=at_edge.size)
    least_area = np.where(at_edge, how.min_area_at_edge, how.min_area) * disc_px
    least_nucleus = np.where(at_edge, how.min_nucleus_at_edge, how.min_nucleus) * disc_px
    kept = (area >= least_area) & (nucleus_area >= np.maximum(least_nucleus, 1))
    kept[0] = False
    return kept


def _at_edge(
    pixels: tuple[NDArray[np.int64], ...], owner: NDArray[np.int32], window: Window, shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """[n + 1] whether part i reaches the outermost pixels of a field of that shape."""
    rows, columns = pixels[0] + window[0].start, pixels[1] + window[1].start
    outermost = (rows == 0) | (rows == shape[0] - 1) | (columns == 0) | (columns == shape[1] - 1)
    at_edge = np.zeros(int(owner.max(initial=0)) + 1, bool)
    at_edge[owner[outermost]] = True
    return at_edge


def _confidences(owner: NDArray[np.int32], probabilities: NDArray[np.float32], kept: NDArray[np.bool_]) -> list[float]:
    """Mean probability of the winning class over the pixels of each part that is kept."""
    pixels = np.bincount(owner, minlength=kept.size)[kept]
    background, cytoplasm, nucleus = probabilities.T
    winning = np.maximum(np.maximum(background, cytoplasm), nucleus)  # along the short axis `max` is slow
    certainty = np.bincount(owner, weights=winning, minlength=kept.size)[kept]
    return [float(value) for value in certainty / pixels]


def _boxes(parts: NDArray[np.int32], kept: NDArray[np.bool_], window: Window) -> list[tuple[int, int, int, int]]:
    """(x, y, w, h) in the field of each part that is kept."""
    boxes = []
    for part in np.flatnonzero(kept):
        x, y, w, h = cv2.boundingRect((parts == part).astype(np.uint8))
        boxes.append((window[1].start + x, window[0].start + y, w, h))
    return boxes


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
