"""Fields with exact truth, composed of real cells on real ground without cells: how well are white cells counted?

Each field shows one stain: the cells of one data set, their colours brought to the tone of the ground by one gain a
channel (light passes through specimen and slide alike, so an empty part of both shows what they differ by). A share of
the cells touch, or overlap by up to a tenth of the smaller one; some are cut by the border; magnification, white
balance and exposure are those of one camera after another. The same seed composes the same field.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.imaging import RGB
from station.contract.manifest import BACKGROUND, NUCLEUS
from station.contract.masks import InstanceImage, LabelImage
from trainer.cutouts import Cutout, Ground

MOST_CELLS: Final = 15
_EMPTY = 0.1  # share of fields without a white cell
_DIAMETERS_PX = (55.0, 170.0)  # of a typical white cell at camera scale
_MOST_ENLARGED = 1.6  # a cell enlarged further is softer than any focus makes it
_WIDTHS = (4.5, 9.0)  # of a field, cell diameters; its height is three quarters of that
_ROOM = (1.35, 0.8)  # cell diameters that a cell needs on each axis, and how densely fields are filled at most
_TOUCHING, _CUT = 0.35, 0.1  # share of cells laid against another one, and over the border
_MOST_OVERLAP = 0.1  # of the smaller cell
_GAP = 0.08  # cell diameters between cells that do not touch
_LEAST_SEEN, _LEAST_NUCLEUS_SEEN = 0.5, 0.4  # of a cell that the border cuts
_FADE = 0.05  # cell diameters over which a cell's own ground fades into the field's
_GAINS, _EXPOSURES = (0.88, 1.14), (0.85, 1.1)
_TRIES = 60


@dataclass(frozen=True, slots=True)
class Composite:
    """A composed field. `labels` > 0 exactly where `instances` > 0."""

    image: RGB  # [H, W, 3]
    labels: LabelImage  # [H, W] 0 background, 1 cytoplasm, 2 nucleus
    instances: InstanceImage  # [H, W] 0 background, 1..n one id per cell
    cell_diameter_px: float  # of a typical cell of this stain at this magnification
    pairs: tuple[tuple[int, int], ...]  # ids of cells that touch or overlap
    lobed: tuple[int, ...]  # ids of cells whose nucleus is lobed
    dataset: str

    @property
    def wbc_count(self) -> int:
        return int(self.instances.max(initial=0))


@dataclass(frozen=True, slots=True)
class Variety:
    """By how much single cells differ from what they were cut out as; a pair is (least, most), (1, 1) changes nothing.

    Real fields mix small and large, pale and dark cells more than a data set of few slides does.
    """

    size: tuple[float, float] = (1.0, 1.0)  # of the diameter
    density: tuple[float, float] = (1.0, 1.0)  # of the optical density: 0.5 is a stain of half the depth


AS_CUT: Final = Variety()


@dataclass(frozen=True, slots=True)
class _Piece:
    """A cutout at the field's magnification, turned."""

    image: NDArray[np.float32]  # [h, w, 3] in the ground's tone
    labels: LabelImage  # [h, w]
    lobed: bool

    @property
    def mask(self) -> NDArray[np.bool_]:
        return np.asarray(self.labels != BACKGROUND)


@dataclass(frozen=True, slots=True)
class _Laid:
    """A piece with its upper left corner in the field; `partner`: index of the cell that it was laid against."""

    piece: _Piece
    top: int
    left: int
    partner: int | None


def compose(
    seed: int,
    cells: Sequence[Cutout],
    grounds: Sequence[Ground],
    most_cells: int = MOST_CELLS,
    variety: Variety = AS_CUT,
) -> Composite:
    """The field of that seed, with up to `most_cells`."""
    rng = np.random.default_rng(seed)
    diameter = _diameter(rng, max(cell.typical_px for cell in cells))
    fitting = [cell for cell in cells if diameter <= _MOST_ENLARGED * cell.typical_px]
    dataset = str(rng.choice(sorted({cell.dataset for cell in fitting})))
    ground = grounds[int(rng.integers(len(grounds)))]
    field = _ground(rng, ground, diameter)
    own = [cell for cell in fitting if cell.dataset == dataset]
    number = min(_number(rng, field.shape, diameter), most_cells)
    chosen = rng.integers(len(own), size=number)
    pieces = [_piece(rng, own[index], ground, diameter, variety) for index in chosen]
    laid = _lay(rng, pieces, field.shape[:2], diameter)
    labels, instances = _truth(laid, field.shape[:2])
    image = _exposed(rng, _painted(field, laid, diameter))
    pairs = tuple((one.partner + 1, number) for number, one in enumerate(laid, 1) if one.partner is not None)
    lobed = tuple(number for number, one in enumerate(laid, 1) if one.piece.lobed)
    return Composite(image, labels, instances, diameter, pairs, lobed, dataset)


def _diameter(rng: np.random.Generator, largest_px: float) -> float:
    """Of a magnification at which not all cells are enlarged too far."""
    most = min(_DIAMETERS_PX[1], _MOST_ENLARGED * largest_px)
    return float(np.exp(rng.uniform(*np.log((min(_DIAMETERS_PX[0], 0.9 * most), most)))))


def _number(rng: np.random.Generator, shape: tuple[int, ...], diameter: float) -> int:
    if rng.random() < _EMPTY:
        return 0
    room = _ROOM[1] * shape[0] * shape[1] / (_ROOM[0] * diameter) ** 2
    return int(rng.integers(1, max(1, min(MOST_CELLS, int(room))) + 1))


def _ground(rng: np.random.Generator, ground: Ground, diameter: float) -> NDArray[np.float32]:
    """[H, W, 3] of the field's size, continued by its mirror image where it is too small."""
    width = round(diameter * rng.uniform(*_WIDTHS))
    height = round(0.75 * width)
    factor = diameter / ground.typical_px
    scaled = cv2.resize(ground.image, None, fx=factor, fy=factor, interpolation=_interpolation(factor))
    scaled = scaled[:: int(rng.choice([1, -1])), :: int(rng.choice([1, -1]))]
    down, across = max(0, height - scaled.shape[0]), max(0, width - scaled.shape[1])
    wide = np.pad(scaled, ((down // 2, down - down // 2), (across // 2, across - across // 2), (0, 0)), "symmetric")
    top, left = (int(rng.integers(over + 1)) for over in (wide.shape[0] - height, wide.shape[1] - width))
    return wide[top : top + height, left : left + width].astype(np.float32)


def _piece(rng: np.random.Generator, cell: Cutout, ground: Ground, diameter: float, variety: Variety) -> _Piece:
    """Scaled, mirrored or not, and turned by any angle; the square leaves room for all of it."""
    factor, step = diameter / cell.typical_px * _within(rng, variety.size), int(rng.choice([1, -1]))
    scaled = cv2.resize(cell.image[:, ::step], None, fx=factor, fy=factor, interpolation=_interpolation(factor))
    size = (scaled.shape[1], scaled.shape[0])
    labels = cv2.resize(cell.labels[:, ::step], size, interpolation=cv2.INTER_NEAREST_EXACT)
    side = math.ceil(math.hypot(*size))
    turn = cv2.getRotationMatrix2D((size[0] / 2 - 0.5, size[1] / 2 - 0.5), float(rng.uniform(0, 360)), 1.0)
    turn[:, 2] += (side / 2 - size[0] / 2, side / 2 - size[1] / 2)
    stained = _stained(scaled.astype(np.float32), cell.tone, _within(rng, variety.density))
    toned = stained * (ground.tone / np.maximum(cell.tone, 1.0))
    turned = cv2.warpAffine(toned, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    truth = np.asarray(cv2.warpAffine(labels, turn, (side, side), flags=cv2.INTER_NEAREST), np.uint8)
    return _Piece(np.asarray(turned, np.float32), truth, _is_lobed(truth))


def _within(rng: np.random.Generator, span: tuple[float, float]) -> float:
    """A factor, small and large ones alike; no number is drawn where there is no choice."""
    return float(np.exp(rng.uniform(*np.log(span)))) if span[0] < span[1] else span[0]


def _stained(image: NDArray[np.float32], tone: NDArray[np.float32], density: float) -> NDArray[np.float32]:
    """[h, w, 3] as it were with a stain of another depth (Beer-Lambert law); `tone` is how empty ground looks."""
    if density == 1.0:
        return image
    light = np.maximum(tone, 1.0)
    return np.asarray(light * np.power(image / light, np.float32(density)), np.float32)


def _interpolation(factor: float) -> int:
    return cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC


def _is_lobed(labels: LabelImage) -> bool:
    """Whether the nucleus is in several pieces, or far from convex."""
    nucleus = (labels == NUCLEUS).astype(np.uint8)
    outlines = cv2.findContours(nucleus, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    areas = sorted((cv2.contourArea(outline) for outline in outlines), reverse=True)
    hull = cv2.contourArea(cv2.convexHull(np.concatenate(outlines)))
    return areas[0] < 0.85 * sum(areas) or sum(areas) < 0.82 * hull


def _lay(rng: np.random.Generator, pieces: Sequence[_Piece], shape: tuple[int, ...], diameter: float) -> list[_Laid]:
    """Where each piece lies; a piece for which no place was found is left out."""
    laid: list[_Laid] = []
    owners = np.zeros(shape, np.uint16)
    for piece in pieces:
        partner = int(rng.integers(len(laid))) if laid and rng.random() < _TOUCHING else None
        cut = bool(rng.random() < _CUT)
        for _ in range(_TRIES):
            place = _anywhere(rng, piece, shape) if partner is None else _beside(rng, piece, laid[partner])
            candidate = _Laid(piece, *place, partner)
            if _is_seen(candidate, shape, cut=cut) and _is_clear(candidate, owners, _GAP * diameter):
                laid.append(candidate)
                field, own = _windows(candidate, shape)
                owners[field][piece.mask[own]] = len(laid)
                break
    return laid


def _is_seen(laid: _Laid, shape: tuple[int, ...], *, cut: bool) -> bool:
    """Whether it lies wholly in the field or, if it is to be `cut`, enough of cell and nucleus do."""
    labels = laid.piece.labels
    seen = labels[_windows(laid, shape)[1]]
    cell = np.count_nonzero(seen) / np.count_nonzero(labels)
    nucleus = np.count_nonzero(seen == NUCLEUS) / np.count_nonzero(labels == NUCLEUS)
    return bool(_LEAST_SEEN <= cell < 1 and nucleus >= _LEAST_NUCLEUS_SEEN if cut else cell == 1)


def _is_clear(laid: _Laid, owners: NDArray[np.uint16], gap_px: float) -> bool:
    """Whether only its partner, if any, is nearer than the gap."""
    field, own = _windows(laid, owners.shape)
    side = 2 * math.ceil(gap_px) + 1
    wide = cv2.dilate(laid.piece.mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    met = owners[field][wide[own] > 0]
    return bool(np.isin(met, (0, 0 if laid.partner is None else laid.partner + 1)).all())


def _anywhere(rng: np.random.Generator, piece: _Piece, shape: tuple[int, ...]) -> tuple[int, int]:
    side = piece.labels.shape[0]
    return int(rng.integers(-side // 2, shape[0] - side // 2)), int(rng.integers(-side // 2, shape[1] - side // 2))


def _beside(rng: np.random.Generator, piece: _Piece, other: _Laid) -> tuple[int, int]:
    """A place along a random direction where the piece covers the wanted share of the smaller one, at most."""
    wanted = float(rng.uniform(0, _MOST_OVERLAP)) * min(int(piece.mask.sum()), int(other.piece.mask.sum()))
    angle = rng.uniform(0, 2 * math.pi)
    middle = (other.piece.labels.shape[0] - piece.labels.shape[0]) / 2
    near, far = 0.0, float(piece.labels.shape[0] + other.piece.labels.shape[0])
    for _ in range(12):
        distance = (near + far) / 2
        place = _along(other, middle, angle, distance)
        if _overlap(piece, place, other) > wanted:
            near = distance
        else:
            far = distance
    return _along(other, middle, angle, far)


def _along(other: _Laid, middle: float, angle: float, distance: float) -> tuple[int, int]:
    down, across = distance * math.sin(angle), distance * math.cos(angle)
    return round(other.top + middle + down), round(other.left + middle + across)


def _overlap(piece: _Piece, place: tuple[int, int], other: _Laid) -> int:
    """Pixels that both masks hold."""
    theirs, mine = _windows(_Laid(piece, place[0] - other.top, place[1] - other.left, None), other.piece.labels.shape)
    return int(np.count_nonzero(other.piece.mask[theirs] & piece.mask[mine]))


def _windows(laid: _Laid, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """(in an array of that shape, in the piece) of what lies inside; both empty where nothing does."""
    spans = []
    for start, side, length in zip((laid.top, laid.left), laid.piece.labels.shape, shape, strict=True):
        first, last = min(max(0, start), length), max(0, min(length, start + side))
        spans.append((slice(first, max(first, last)), slice(first - start, max(first, last) - start)))
    return (spans[0][0], spans[1][0]), (spans[0][1], spans[1][1])


def _truth(laid: Sequence[_Laid], shape: tuple[int, ...]) -> tuple[LabelImage, InstanceImage]:
    """Who is laid later covers who was laid before."""
    labels, instances = np.zeros(shape, np.uint8), np.zeros(shape, np.uint16)
    for number, one in enumerate(laid, start=1):
        field, own = _windows(one, shape)
        mask = one.piece.mask[own]
        labels[field][mask] = one.piece.labels[own][mask]
        instances[field][mask] = number
    return labels, instances


def _painted(ground: NDArray[np.float32], laid: Sequence[_Laid], diameter: float) -> NDArray[np.float32]:
    """[H, W, 3] with each cell over what was there, its own ground fading into the field's."""
    field = ground.copy()
    for one in laid:
        window, own = _windows(one, field.shape[:2])
        outside = cv2.distanceTransform((~one.piece.mask).astype(np.uint8), cv2.DIST_L2, 5)
        alpha = np.clip(1 - outside / (_FADE * diameter), 0, 1)[own][..., None]
        field[window] = alpha * one.piece.image[own] + (1 - alpha) * field[window]
    return field


def _exposed(rng: np.random.Generator, field: NDArray[np.float32]) -> RGB:
    """White balance and exposure of another camera."""
    gains = rng.uniform(*_GAINS, 3) * rng.uniform(*_EXPOSURES)
    return np.clip(np.round(field * gains), 0, 255).astype(np.uint8)
