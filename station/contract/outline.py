"""A cell drawn where a person points: by its colour where that gives a cell, else as a disc in a disc."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.imaging import RGB
from station.contract.manifest import BACKGROUND, CYTOPLASM, NUCLEUS
from station.contract.masks import LabelImage
from station.contract.separation import Window

_REACH = 1.3  # told radii: who points beside the middle still gets the whole cell
_SEEN = 3.0  # told radii: so much around it shows what plasma and red cells look like
_SURE = 0.3  # told radii: that close to the pointed place it is cell
_WORK_RADIUS_PX = 32.0  # at which colours are told apart; more pixels cost time and no accuracy
_ROUNDS = 2  # of GrabCut; with more it gives pale cytoplasm away
_LEAST_AREA, _MOST_AREA = 0.45, 1.5  # of the told disc; what is smaller or larger is something else
_LEAST_SOLIDITY = 0.8  # area by that of the convex hull
_NUCLEUS_RADIUS = 0.7  # of the disc's, where colours do not tell
_LEAST_CONTRAST = 15.0  # grey levels of green between cytoplasm and nucleus
_LEAST_NUCLEUS, _MOST_NUCLEUS = 0.08, 0.97  # of the cell's area
_GREEN = 1  # the channel that Giemsa's violet takes most of


def outline(
    image: RGB | None, taken: NDArray[np.bool_], seed: tuple[int, int], diameter_px: float
) -> tuple[Window, LabelImage]:
    """A window of the field [H, W] and a new cell drawn in it: 0 not of it, 1 cytoplasm, 2 nucleus.

    It holds the pixel `seed` (row, column), is one piece, reaches at most 0.65 diameters far and nowhere into what is
    `taken`. The same input gives the same cell.
    """
    radius = diameter_px / 2
    window = _window(seed, math.ceil(_SEEN * radius) + 1, taken.shape)
    centre = seed[0] - window[0].start, seed[1] - window[1].start
    free = ~taken[window]
    distance = _distance(free.shape, centre)
    body = None if image is None else _by_colour(image[window], free, distance, centre, radius)
    if image is None or body is None:
        body, nucleus = _piece((distance <= radius) & free, centre), None
    else:
        nucleus = _nucleus(image[window], body, radius)
    if nucleus is None:
        nucleus = distance <= _NUCLEUS_RADIUS * radius
    return window, np.where(body, np.where(nucleus, NUCLEUS, CYTOPLASM), BACKGROUND).astype(np.uint8)


def _window(seed: tuple[int, int], reach: int, shape: tuple[int, ...]) -> Window:
    rows, columns = (
        slice(max(0, at - reach), min(length, at + reach + 1)) for at, length in zip(seed, shape, strict=True)
    )
    return rows, columns


def _distance(shape: tuple[int, ...], centre: tuple[float, float]) -> NDArray[np.float64]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - centre[0], columns - centre[1])


def _piece(mask: NDArray[np.bool_], centre: tuple[int, int]) -> NDArray[np.bool_]:
    """The connected piece that holds the centre; nothing where the mask does not."""
    _, pieces = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    return np.asarray((pieces == pieces[centre]) & mask, np.bool_)


def _by_colour(
    picture: RGB, free: NDArray[np.bool_], distance: NDArray[np.float64], centre: tuple[int, int], radius: float
) -> NDArray[np.bool_] | None:
    """The cell by GrabCut from discs around the pointed place; None where that gives nothing like a cell."""
    seeds = np.full(free.shape, cv2.GC_BGD, np.uint8)
    seeds[(distance <= _REACH * radius) & free] = cv2.GC_PR_BGD
    seeds[(distance <= radius) & free] = cv2.GC_PR_FGD
    seeds[(distance <= max(1.0, _SURE * radius)) & free] = cv2.GC_FGD
    found = _cut(picture, seeds, radius)
    if found is None:
        return None
    body = _piece(_smooth(found & free & (distance <= _REACH * radius), radius) & free, centre)
    return body if body[centre] and _is_cell(body, radius) else None


def _cut(picture: RGB, seeds: NDArray[np.uint8], radius: float) -> NDArray[np.bool_] | None:
    """GrabCut at a scale where it takes a tenth of a second; None where one of the two sides has no pixel."""
    factor = min(1.0, _WORK_RADIUS_PX / radius)
    size = max(1, round(seeds.shape[1] * factor)), max(1, round(seeds.shape[0] * factor))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    work = cv2.resize(seeds, size, interpolation=cv2.INTER_NEAREST)
    if not all(np.isin(work, side).any() for side in ((cv2.GC_BGD, cv2.GC_PR_BGD), (cv2.GC_FGD, cv2.GC_PR_FGD))):
        return None
    cv2.setRNGSeed(0)  # it clusters colours from a random start
    empty, unused = np.zeros((1, 65)), (0, 0, 1, 1)
    try:
        cv2.grabCut(small, work, unused, empty, empty.copy(), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # too few different pixels for its clusters
        return None
    inside = np.isin(work, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    return np.asarray(cv2.resize(inside, seeds.shape[::-1], interpolation=cv2.INTER_LINEAR) >= 0.5, np.bool_)


def _smooth(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Without threads and specks, and with its holes filled."""
    side = 2 * max(1, round(0.1 * radius)) + 1
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, brush)
    edges, _ = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(opened, edges, -1, 1, cv2.FILLED) > 0


def _is_cell(body: NDArray[np.bool_], radius: float) -> bool:
    area = int(np.count_nonzero(body))
    edges, _ = cv2.findContours(body.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.convexHull(np.concatenate(edges))
    filled = cv2.fillConvexPoly(np.zeros(body.shape, np.uint8), hull, 1)
    whole = _LEAST_AREA <= area / (math.pi * radius**2) <= _MOST_AREA
    return whole and area >= _LEAST_SOLIDITY * int(np.count_nonzero(filled))


def _nucleus(picture: RGB, body: NDArray[np.bool_], radius: float) -> NDArray[np.bool_] | None:
    """The darker of the two colours of a cell, by Otsu's threshold; None where it has only one."""
    green = cv2.GaussianBlur(picture[..., _GREEN], (0, 0), max(0.5, 0.04 * radius))
    own = green[body]
    threshold, _ = cv2.threshold(own.reshape(1, -1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    dark = own <= threshold
    share = float(dark.mean())
    if not _LEAST_NUCLEUS <= share <= _MOST_NUCLEUS:
        return None
    if float(own[~dark].mean()) - float(own[dark].mean()) < _LEAST_CONTRAST:
        return None
    return np.asarray((green <= threshold) & body, np.bool_)
