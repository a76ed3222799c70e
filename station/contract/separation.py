"""Which pixels of a network's answer are one cell: all of it at network scale."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.imaging import Probabilities, distances
from station.contract.manifest import BACKGROUND, CYTOPLASM, NUCLEUS, Separation

Window: TypeAlias = tuple[slice, slice]  # rows and columns of a field, with start and stop

# At network scale an instance reaches this far beyond its outline, so that no pixel of the finer outline at camera
# scale is left without an owner.
_RIM_PX = 2
_EIGHT = np.ones((3, 3), np.uint8)  # a pixel and its neighbours


@dataclass(frozen=True, slots=True)
class Instances:
    """The cells found at network scale, before they are drawn."""

    territory: NDArray[np.int32]  # [h, w] owner of each pixel, reaching _RIM_PX beyond the outlines; 0 nobody
    background: float  # a pixel is cell where P(background) is below this
    boxes: tuple[tuple[int, int, int, int], ...]  # (x, y, w, h) of the territory of cell i + 1
    confidences: tuple[float, ...]  # mean probability of the winning class over the cell, 0..1


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
