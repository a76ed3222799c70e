"""How many cells a relief has, held against its definition."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from networks import one_hot
from numpy.typing import NDArray
from skimage.morphology import local_maxima, reconstruction

from station.contract.manifest import NUCLEUS, Separation
from station.contract.separation import separate

DIAMETER_PX = 48.0


def prominent_peaks(outline: NDArray[np.uint8], prominence_px: float) -> int:
    """By the definition: regional maxima of the whole relief, lowered and reconstructed, component by component."""
    total, components = cv2.connectedComponents(outline, connectivity=8)
    for component in range(1, total):
        own = (components == component).astype(np.uint8)
        relief = cv2.distanceTransform(own, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        peaks = local_maxima(reconstruction(relief - np.float32(prominence_px), relief)) & (own > 0)
        total += cv2.connectedComponents(peaks.astype(np.uint8), connectivity=8)[0] - 2
    return total - 1


@pytest.mark.parametrize("prominence", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("seed", range(8))
def test_as_many_cells_as_the_relief_has_prominent_peaks(seed: int, prominence: float) -> None:
    rng = np.random.default_rng(seed)
    outline = np.zeros((160, 200), np.uint8)
    for _ in range(9):
        centre, axes = (int(rng.integers(200)), int(rng.integers(160))), rng.integers(6, 32, 2).tolist()
        cv2.ellipse(outline, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    nothing_is_too_small = {"min_area": 0, "min_nucleus": 0, "min_area_at_edge": 0, "min_nucleus_at_edge": 0}
    how = Separation(smoothing=0, prominence=prominence, **nothing_is_too_small)
    found = separate(one_hot(outline * np.uint8(NUCLEUS)), DIAMETER_PX, how)
    assert len(found.boxes) == prominent_peaks(outline, prominence * DIAMETER_PX)


def test_a_field_without_any_ground_has_no_cell_whose_middle_could_be_told() -> None:
    """A lens cap, not a cell as large as the field."""
    assert separate(one_hot(np.full((120, 160), NUCLEUS, np.uint8)), DIAMETER_PX, Separation()).boxes == ()
