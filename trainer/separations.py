"""TABLE of ways to tell touching cells apart: what the station does, and what it is held against.

Each takes probabilities [h, w, 3] at network scale, the cell diameter there in px and the manifest's parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.analysis import Separate
from station.contract.imaging import Probabilities, distances
from station.contract.manifest import BACKGROUND, CYTOPLASM, NUCLEUS, Separation
from station.contract.separation import Instances, separate

_RIM = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))  # as far as the station's own reach beyond their outline
_LOBES_APART = 0.12  # cell diameters of cytoplasm between two lobes of one nucleus


def components(probabilities: Probabilities, cell_diameter_px: float, how: Separation) -> Instances:
    """Each connected region is one cell: nothing is told apart."""
    _, parts = cv2.connectedComponents(_mask(probabilities, how), connectivity=8)
    return _instances(np.asarray(parts, np.int32), probabilities, cell_diameter_px, how)


def distance_watershed(probabilities: Probabilities, cell_diameter_px: float, how: Separation) -> Instances:
    """Watershed from every local maximum of the distance transform, neither smoothed nor levelled."""
    plain = how.model_copy(update={"smoothing": 0.0, "prominence": 0.0})
    return separate(probabilities, cell_diameter_px, plain)


def nuclei(probabilities: Probabilities, cell_diameter_px: float, how: Separation) -> Instances:
    """One cell for each nucleus, whose lobes are grouped where little cytoplasm lies between them."""
    from skimage.segmentation import watershed

    mask = _mask(probabilities, how)
    nucleus = ((probabilities[..., NUCLEUS] > probabilities[..., CYTOPLASM]) & (mask > 0)).astype(np.uint8)
    reach = 2 * math.ceil(_LOBES_APART * cell_diameter_px / 2) + 1
    closed = cv2.morphologyEx(nucleus, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    _, seeds = cv2.connectedComponents(cv2.bitwise_and(closed, mask), connectivity=8)
    away = distances(1 - nucleus)
    parts = watershed(away, np.asarray(seeds, np.int32), mask=mask > 0)
    return _instances(np.asarray(parts, np.int32), probabilities, cell_diameter_px, how)


SEPARATIONS: Final[Mapping[str, Separate]] = {
    "the station's": separate,
    "nuclei as seeds": nuclei,
    "distance watershed": distance_watershed,
    "connected components": components,
}


def _mask(probabilities: Probabilities, how: Separation) -> NDArray[np.uint8]:
    return (probabilities[..., BACKGROUND] < 1.0 - how.foreground).astype(np.uint8)


def _instances(
    parts: NDArray[np.int32], probabilities: Probabilities, cell_diameter_px: float, how: Separation
) -> Instances:
    """Those parts that are large enough and hold enough nucleus, by the station's own limits."""
    disc_px = math.pi / 4 * cell_diameter_px**2
    nucleus = probabilities[..., NUCLEUS] > probabilities[..., CYTOPLASM]
    territory = np.zeros(parts.shape, np.int32)
    boxes: list[tuple[int, int, int, int]] = []
    confidences: list[float] = []
    for part in range(1, int(parts.max(initial=0)) + 1):
        own = parts == part
        at_edge = own[[0, -1]].any() or own[:, [0, -1]].any()
        least = (how.min_area_at_edge, how.min_nucleus_at_edge) if at_edge else (how.min_area, how.min_nucleus)
        if own.sum() < least[0] * disc_px or (own & nucleus).sum() < max(1, least[1] * disc_px):
            continue
        wide = cv2.dilate(own.astype(np.uint8), _RIM) > 0
        territory[(wide & (territory == 0) & (parts == 0)) | own] = len(boxes) + 1
        x, y, w, h = cv2.boundingRect(wide.astype(np.uint8))
        boxes.append((x, y, w, h))
        confidences.append(float(probabilities[own].max(axis=1).mean()))
    return Instances(territory, 1.0 - how.foreground, tuple(boxes), tuple(confidences))
