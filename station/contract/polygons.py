"""Outlines of masks along the edges of pixels, in whole px: filled again by any program they give the same pixels.

The corner of the first pixel is (0, 0), the centre of that pixel (0.5, 0.5). Pixels that meet at a corner only are
apart, so that every ring is simple.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Point: TypeAlias = tuple[int, int]  # x, y
Ring: TypeAlias = tuple[Point, ...]  # its corners; the first is not repeated at the end
Polygon: TypeAlias = tuple[Ring, ...]  # the outer ring, then those of its holes, the other way round


def polygons(mask: NDArray[np.bool_]) -> tuple[Polygon, ...]:
    """One polygon for each connected piece of a mask [H, W]; none for an empty one."""
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    count, pieces = cv2.connectedComponents(mask[y : y + h, x : x + w].astype(np.uint8), connectivity=4)
    return tuple(_polygon(pieces == piece, (x, y)) for piece in range(1, count))


def _polygon(piece: NDArray[np.bool_], corner: Point) -> Polygon:
    """The rings of one piece; the outer one holds its leftmost edge."""
    rings = sorted(_rings(_edges(piece)), key=min)
    return tuple(tuple((x + corner[0], y + corner[1]) for x, y in ring) for ring in rings)


def _edges(piece: NDArray[np.bool_]) -> dict[Point, list[Point]]:
    """Every edge between piece and background, from where to where, with the piece on its right."""
    wide = np.pad(piece, 1).astype(np.int8)
    down, across = np.diff(wide, axis=0)[:, 1:-1], np.diff(wide, axis=1)[1:-1]
    onwards: dict[Point, list[Point]] = {}
    for steps, begin, end in (
        (down > 0, (0, 0), (1, 0)),
        (down < 0, (1, 0), (0, 0)),
        (across > 0, (0, 1), (0, 0)),
        (across < 0, (0, 0), (0, 1)),
    ):
        for y, x in np.argwhere(steps).tolist():
            onwards.setdefault((x + begin[0], y + begin[1]), []).append((x + end[0], y + end[1]))
    return onwards


def _rings(onwards: dict[Point, list[Point]]) -> Iterator[Ring]:
    """Edges chained to rings, each given as its corners."""
    while onwards:
        start = at = next(iter(onwards))
        ring: list[Point] = []
        first = heading = (0, 0)
        while at != start or not ring:
            ahead = _next(onwards, at, heading)
            turned = (ahead[0] - at[0], ahead[1] - at[1])
            if turned != heading:
                ring.append(at)
            first = first if len(ring) > 1 or heading != (0, 0) else turned
            at, heading = ahead, turned
        yield tuple(ring[1:] if heading == first else ring)  # begun in the middle of a side


def _next(onwards: dict[Point, list[Point]], at: Point, heading: Point) -> Point:
    """The end of the next edge, taken out. Where a piece meets itself at a corner, the ring turns left.

    There lies a hole on one side and what is outside on the other; to the right both would be one ring.
    """
    ends = onwards[at]
    left = (at[0] + heading[1], at[1] - heading[0])
    chosen = left if left in ends else ends[0]
    ends.remove(chosen)
    if not ends:
        del onwards[at]
    return chosen
