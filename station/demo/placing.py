"""Where the white cells of a painted field lie, and the exact truth that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from station.demo.shapes import Distance, Shape

_LAYOUTS, _TRIES = 30, 60
_OVERLAP = 0.08  # of the smaller cell: the most that two touching outlines share
_SEEN, _SEEN_NUCLEUS = 0.35, 0.25  # least visible share of a cell cut by the border, and of its nucleus


Window: TypeAlias = tuple[slice, slice]  # rows, columns


@dataclass(frozen=True, slots=True)
class Placed:
    """A cell whose box has its upper left corner at column `x`, row `y` of the field, perhaps outside it."""

    shape: Shape
    x: int
    y: int

    @property
    def centre(self) -> complex:
        half = (self.shape.outline.shape[0] - 1) / 2
        return complex(self.x + half, self.y + half)

    def windows(self, height: int, width: int) -> tuple[Window, Window]:
        """(window in the field, the same pixels in the box), cut by the border."""
        return cut(self.x, self.y, self.shape.outline.shape[0], height, width)


@dataclass(frozen=True, slots=True)
class Truth:
    labels: NDArray[np.uint8]  # [H, W] 0 background, 1 cytoplasm, 2 nucleus
    instances: NDArray[np.uint16]  # [H, W] 0 background, 1..n


def cut(x: int, y: int, size: int, height: int, width: int) -> tuple[Window, Window]:
    """(window in the field, the same pixels in the box) of a square box at (x, y), cut by the border."""
    top, left = max(y, 0), max(x, 0)
    bottom, right = max(min(y + size, height), top), max(min(x + size, width), left)
    return (slice(top, bottom), slice(left, right)), (slice(top - y, bottom - y), slice(left - x, right - x))


def place(
    rng: np.random.Generator, shapes: list[Shape], touching_pairs: int, height: int, width: int
) -> tuple[tuple[Placed, ...], Truth]:
    """Cells in the order of `shapes`: the first 2 * touching_pairs touch two by two, all others keep a gap.

    Raises ValueError where they do not fit.
    """
    for _ in range(_LAYOUTS):
        placed = _layout(rng, shapes, touching_pairs, height, width)
        if placed is None:
            continue
        truth = _truth(placed, height, width)
        if _sound(placed, truth, touching_pairs):
            return tuple(placed), truth
    raise ValueError(f"{len(shapes)} white cells do not fit into {width}x{height} px: ask for fewer")


def territory(cell: Placed, others: tuple[Placed, ...] | list[Placed]) -> Distance:
    """[s, s] distance to the cell's outline, flattened by its neighbours: the deeper one owns."""
    own = cell.shape.outline.copy()
    size = own.shape[0]
    for other in others:
        if other is cell:
            continue
        reach = other.shape.outline.shape[0]
        mine, theirs = cut(other.x - cell.x, other.y - cell.y, reach, size, size)
        if own[mine].size:
            rival = other.shape.outline[theirs]
            own[mine] = np.maximum(own[mine], (cell.shape.outline[mine] - rival) / 2)
    return own


def _layout(
    rng: np.random.Generator, shapes: list[Shape], touching_pairs: int, height: int, width: int
) -> list[Placed] | None:
    placed: list[Placed] = []
    for index, shape in enumerate(shapes):
        second = index < 2 * touching_pairs and index % 2 == 1
        for _ in range(_TRIES):
            cell = _beside(rng, shape, placed[-1]) if second else _anywhere(rng, shape, height, width)
            rivals = placed[:-1] if second else placed
            if cell is not None and _seen(cell, height, width) and _clear(cell, rivals):
                placed.append(cell)
                break
        else:
            return None
    return placed


def _anywhere(rng: np.random.Generator, shape: Shape, height: int, width: int) -> Placed:
    half, over = shape.outline.shape[0] // 2, 0.35 * shape.radius
    x, y = rng.uniform(-over, width + over), rng.uniform(-over, height + over)
    return Placed(shape, round(x) - half, round(y) - half)


def _beside(rng: np.random.Generator, shape: Shape, first: Placed) -> Placed | None:
    """The cell, moved towards `first` along a random direction until the two share a random small area."""
    direction = np.exp(1j * rng.uniform(0, 2 * np.pi))
    smaller = np.pi * min(shape.radius, first.shape.radius) ** 2
    wanted = smaller * rng.uniform(0.002, 0.8 * _OVERLAP)
    half = shape.outline.shape[0] // 2
    for distance in range(int(shape.reach + first.shape.reach) + 1, int(first.shape.radius), -1):
        centre = first.centre + distance * direction
        cell = Placed(shape, round(centre.real) - half, round(centre.imag) - half)
        shared = _shared(cell, first)
        if shared >= wanted:
            return cell if shared <= _OVERLAP * smaller else None
    return None


def _shared(a: Placed, b: Placed) -> int:
    mine, theirs = cut(b.x - a.x, b.y - a.y, b.shape.outline.shape[0], *a.shape.outline.shape)
    return int(np.count_nonzero((a.shape.outline[mine] < 0) & (b.shape.outline[theirs] < 0)))


def _seen(cell: Placed, height: int, width: int) -> bool:
    _, box = cell.windows(height, width)
    whole = np.count_nonzero(cell.shape.outline < 0), np.count_nonzero(cell.shape.nucleus < 0)
    part = np.count_nonzero(cell.shape.outline[box] < 0), np.count_nonzero(cell.shape.nucleus[box] < 0)
    return bool(part[0] >= _SEEN * whole[0] and part[1] >= _SEEN_NUCLEUS * whole[1])


def _clear(cell: Placed, others: list[Placed]) -> bool:
    gap = max(3.0, 0.08 * cell.shape.radius)
    return all(abs(cell.centre - o.centre) > cell.shape.reach + o.shape.reach + gap for o in others)


def _truth(placed: list[Placed], height: int, width: int) -> Truth:
    labels, instances = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint16)
    for index, cell in enumerate(placed, start=1):
        field, box = cell.windows(height, width)
        # Where two cells are equally deep, the pixel is given once: to the first.
        mine = (territory(cell, placed)[box] < 0) & (instances[field] == 0)
        instances[field][mine] = index
        labels[field][mine] = np.where(cell.shape.nucleus[box][mine] < 0, 2, 1)
    return Truth(labels, instances)


def _sound(placed: list[Placed], truth: Truth, touching_pairs: int) -> bool:
    """Whether each cell is one piece with a nucleus, and each pair really meets inside the picture."""
    for index, cell in enumerate(placed, start=1):
        mine = truth.instances == index
        nucleus = np.count_nonzero(truth.labels[mine] == 2)
        pieces = cv2.connectedComponents(mine.astype(np.uint8), connectivity=4)[0] - 1
        if pieces != 1 or nucleus < 0.03 * np.pi * cell.shape.radius**2:
            return False
    return all(_adjacent(truth.instances, 2 * i + 1, 2 * i + 2) for i in range(touching_pairs))


def _adjacent(instances: NDArray[np.uint16], one: int, other: int) -> bool:
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    grown = cv2.dilate((instances == one).astype(np.uint8), cross)
    return bool((instances[grown > 0] == other).any())
