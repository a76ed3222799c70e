"""Single white cells, and ground without any, taken out of labelled pictures to compose fields of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.imaging import RGB
from station.contract.manifest import BACKGROUND, NUCLEUS
from station.contract.masks import LabelImage
from trainer.datasets.samples import DataError, Sample

_MARGIN = 0.12  # of ground kept around a cell, cell diameters: there the feather fades out
_LEAST_SHARE, _MOST_SHARE = 0.3, 3.0  # of the set's typical area: smaller are debris, larger are several cells
_LEAST_NUCLEUS = 0.1  # of a cell's own area
_LEAST_SOLID = 0.88  # of a cell's convex hull
_DOUBLE_SHARE, _DOUBLE_LENGTH = 1.2, 1.45  # larger than one cell, and so much longer than wide: two
_FEATHER = 0.03  # cell diameters over which a cover fades
_SHIFTS = 24  # places tried per axis for a cover
_VIOLET = 0.1  # by how much red is darker than blue in stained nuclei and platelets, both as shares of empty ground


@dataclass(frozen=True, slots=True)
class Cutout:
    """One whole cell with a little ground around it."""

    dataset: str
    id: str
    image: RGB  # [h, w, 3]
    labels: LabelImage  # [h, w] of this cell alone
    tone: NDArray[np.float32]  # [3] RGB of the empty ground of its picture
    typical_px: float  # cell diameter of its data set


@dataclass(frozen=True, slots=True)
class Ground:
    """A field without a white cell: red cells, platelets and plasma as they were photographed."""

    dataset: str
    id: str
    image: RGB  # [H, W, 3]
    tone: NDArray[np.float32]  # [3] RGB of its empty parts
    typical_px: float  # what white cells measure beside it


def stock(samples: Sequence[Sample], diameters: Mapping[str, float]) -> tuple[list[Cutout], list[Ground]]:
    """All that fields can be composed of. Raises DataError where there is no cell or no ground."""
    cells, free = list(cutouts(samples, diameters)), list(grounds(samples, diameters))
    if not (cells and free):
        raise DataError(
            "no field can be composed of these pictures: that takes a whole single white cell, and a picture more than "
            "two and a half cells wide and high with a part as large as its white cells that is free of them"
        )
    return cells, free


def cutouts(samples: Iterable[Sample], diameters: Mapping[str, float]) -> Iterator[Cutout]:
    """Every cell that is whole and alone; `diameters`: data set -> typical cell diameter, px."""
    for sample in samples:
        image, labels = sample.read()
        yield from _of_picture(sample, image, labels, diameters[sample.dataset])


def grounds(samples: Iterable[Sample], diameters: Mapping[str, float]) -> Iterator[Ground]:
    """Every picture whose white cells can be covered by another part of it, and with room for more than one cell."""
    for sample in samples:
        image, labels = sample.read()
        typical = diameters[sample.dataset]
        if min(labels.shape) < 2.5 * typical:
            continue
        covered = without_cells(image, labels, typical)
        if covered is not None:
            tone = tone_of(image, labels)
            yield Ground(sample.dataset, sample.id, _trimmed(covered, tone, typical), tone, typical)


def tone_of(image: RGB, labels: LabelImage) -> NDArray[np.float32]:
    """[3] RGB of empty ground: the mode of the lighter half of what is no white cell, by channel."""
    ground = image[labels == BACKGROUND].astype(np.float32)
    light = ground.mean(axis=1)
    lighter = ground[light >= np.median(light)]
    histograms = (np.bincount(channel.astype(np.int64), minlength=256) for channel in lighter.T)
    smooth = [np.convolve(histogram, np.ones(9), "same") for histogram in histograms]
    return np.array([float(np.argmax(histogram)) for histogram in smooth], np.float32)


def without_cells(image: RGB, labels: LabelImage, typical_px: float) -> RGB | None:
    """The picture with its white cells covered by another part of it; None where no part is large and free enough."""
    reach = 2 * math.ceil(_MARGIN * typical_px) + 1
    hidden = np.asarray(
        cv2.dilate((labels != BACKGROUND).astype(np.uint8), np.ones((reach, reach), np.uint8)), np.uint8
    )
    found = image.copy()
    count, components = cv2.connectedComponents(hidden)
    for component in range(1, count):
        own = np.asarray(components == component, np.uint8)
        source = _free_part(own, hidden)
        if source is None:
            return None
        found = _covered(found, image, own, source, _FEATHER * typical_px)
    return found


def _of_picture(sample: Sample, image: RGB, labels: LabelImage, typical_px: float) -> Iterator[Cutout]:
    count, components, stats, _ = cv2.connectedComponentsWithStats((labels != BACKGROUND).astype(np.uint8))
    tone = tone_of(image, labels)
    margin = math.ceil(_MARGIN * typical_px)
    for component in range(1, count):
        own = np.where(components == component, labels, BACKGROUND).astype(np.uint8)
        x, y, w, h = (int(value) for value in stats[component, :4])
        # The feather needs ground of the cell's own picture on all sides.
        whole = min(x, y) > 2 and x + w < labels.shape[1] - 2 and y + h < labels.shape[0] - 2
        alone = sample.wbc_count is None or sample.wbc_count == count - 1
        if whole and alone and _is_one_cell(own, typical_px):
            rows, columns = slice(max(0, y - margin), y + h + margin), slice(max(0, x - margin), x + w + margin)
            yield Cutout(
                sample.dataset, f"{sample.id}.{component}", image[rows, columns], own[rows, columns], tone, typical_px
            )


def _is_one_cell(own: LabelImage, typical_px: float) -> bool:
    """By size and by shape: two cells that a mask joins are seldom convex, and longer than one is."""
    mask = (own != BACKGROUND).astype(np.uint8)
    area, nucleus = int(mask.sum()), int(np.count_nonzero(own == NUCLEUS))
    share = area / (math.pi / 4 * typical_px**2)
    outline = max(cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=cv2.contourArea)
    solid = cv2.contourArea(outline) / max(cv2.contourArea(cv2.convexHull(outline)), 1.0)
    long, short = sorted(cv2.minAreaRect(outline)[1], reverse=True)
    double = share > _DOUBLE_SHARE and long > _DOUBLE_LENGTH * short
    return (
        _LEAST_SHARE < share < _MOST_SHARE and nucleus > _LEAST_NUCLEUS * area and solid > _LEAST_SOLID and not double
    )


def _free_part(own: NDArray[np.uint8], hidden: NDArray[np.uint8]) -> tuple[int, int] | None:
    """The nearest (down, across) by which a mask can be shifted to a part of the picture without white cells."""
    height, width = own.shape
    x, y, w, h = cv2.boundingRect(own)
    rows, columns = np.linspace(0, height - h, _SHIFTS), np.linspace(0, width - w, _SHIFTS)
    places = [(int(top), int(left)) for top in rows for left in columns]
    shape = own[y : y + h, x : x + w] > 0
    free = [place for place in places if not (hidden[place[0] : place[0] + h, place[1] : place[1] + w][shape]).any()]
    if not free:
        return None
    top, left = min(free, key=lambda place: math.hypot(place[0] - y, place[1] - x))
    return top - y, left - x


def _trimmed(image: RGB, tone: NDArray[np.float32], typical_px: float) -> RGB:
    """Without the outermost rows and columns as far as they cut through something violet, a tenth of a side at most.

    Continued by its mirror image, half a platelet would become a spindle as large as a white cell.
    """
    light = image.astype(np.float32) / np.maximum(tone, 1.0)
    violet = light[..., 2] - light[..., 0] > _VIOLET
    height, width = violet.shape
    rows, columns = violet.sum(axis=1), violet.sum(axis=0)
    least = max(2.0, 0.02 * typical_px)
    top, bottom = _clear_ends(rows > least, height // 10)
    left, right = _clear_ends(columns > least, width // 10)
    return image[top : height - bottom, left : width - right]


def _clear_ends(stained: NDArray[np.bool_], most: int) -> tuple[int, int]:
    """How many lines to leave out at the begin and at the end, up to the first that is not stained."""
    ends = (stained[:most], stained[::-1][:most])
    return tuple(int(np.argmin(end)) if not end.all() else most for end in ends)  # type: ignore[return-value]


def _covered(found: RGB, image: RGB, own: NDArray[np.uint8], shift: tuple[int, int], feather_px: float) -> RGB:
    """`found` with the part of `image` that lies `shift` away laid over the mask, fading at its border."""
    x, y, w, h = cv2.boundingRect(own)
    cover = cv2.distanceTransform(own, cv2.DIST_L2, 5)[y : y + h, x : x + w] / max(feather_px, 1.0)
    alpha = np.clip(cover, 0, 1)[..., None]
    down, across = shift
    patch = image[y + down : y + down + h, x + across : x + across + w].astype(np.float32)
    mixed = found.copy()
    mixed[y : y + h, x : x + w] = np.round(alpha * patch + (1 - alpha) * found[y : y + h, x : x + w]).astype(np.uint8)
    return mixed
