"""Flags: words for what makes a cell or a whole count doubtful. Their meanings stand in README.

Flags about light, focus and stain need the reference of the model; without one they are not given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from station.contract.cells import Cell, Drawing
from station.contract.flags import REVIEW
from station.contract.imaging import Probabilities
from station.contract.manifest import BACKGROUND, Reference
from station.contract.quality import Quality
from station.contract.separation import Instances

_LEAST_SIZE, _MOST_SIZE = 0.45, 2.0  # of a whole cell, cell diameters
_CROWDED = 0.4  # share of the field that cells cover
_LEAST_COLOUR = 0.05  # of stained matter; in 183 stained pictures of three sets it is 0.24 at least
_UNCLEAR = 0.2  # least probability of cell, of what is no cell and looks like one to some degree


def unclear_area(probabilities: Probabilities, instances: Instances, cell_diameter_px: float) -> float:
    """The largest region outside all cells that looks like cell to some degree, in discs of the cell diameter."""
    background = cv2.extractChannel(probabilities, BACKGROUND)
    ghost = ((background < 1.0 - _UNCLEAR) & (instances.territory == 0)).view(np.uint8)
    x, y, w, h = cv2.boundingRect(ghost)
    if not w:
        return 0.0
    stats = cv2.connectedComponentsWithStats(ghost[y : y + h, x : x + w], connectivity=8)[2]
    return int(stats[1:, cv2.CC_STAT_AREA].max()) / (math.pi / 4 * cell_diameter_px**2)


def doubted(cells: Sequence[Cell], cell_diameter_px: float, reference: Reference | None) -> tuple[Cell, ...]:
    """The cells with their flags; the diameter is that at camera scale."""
    return tuple(replace(cell, flags=_of_cell(cell, cell_diameter_px, reference)) for cell in cells)


def _of_cell(cell: Cell, cell_diameter_px: float, reference: Reference | None) -> tuple[str, ...]:
    size = 2.0 * math.sqrt(cell.area_px / math.pi) / cell_diameter_px
    odd = size > _MOST_SIZE or (size < _LEAST_SIZE and not cell.touches_edge)
    unsure = reference is not None and cell.confidence < reference.confidence
    found = {"at-edge": cell.touches_edge, "odd-size": odd, "unsure": unsure}
    return tuple(flag for flag, holds in found.items() if holds)


def of_picture(
    drawing: Drawing,
    *,
    scale_unknown: bool,
    unclear: float,
    quality: Quality,
    stain: float | None,
    reference: Reference | None,
) -> tuple[str, ...]:
    """The flags of a picture whose cells have theirs; `unclear` in discs, `stain` in ordinary distances."""
    of_cells = {flag for cell in drawing.measured for flag in cell.flags}
    found = {
        "scale-unknown": scale_unknown,
        "cell-at-edge": "at-edge" in of_cells,
        "odd-size": "odd-size" in of_cells,
        "unsure": "unsure" in of_cells,
        "crowded": _is_crowded(drawing),
        "grey": quality.colour < _LEAST_COLOUR and bool(quality.focus),  # where nothing is seen there is no colour
    }
    if reference is not None:
        found |= _against(reference, unclear, quality, stain)
    flags = [flag for flag, holds in found.items() if holds]
    return (*flags, REVIEW) if _DOUBTFUL.intersection(flags) else tuple(flags)


def _is_crowded(drawing: Drawing) -> bool:
    """Not a crop of one or two cells, which they may fill."""
    covered = np.count_nonzero(drawing.labels) / max(1, drawing.labels.size)
    return len(drawing.measured) > 2 and bool(covered > _CROWDED)


# Flags with which a count was wrong several times as often as without, on composed fields.
_DOUBTFUL = frozenset({"unsure", "unclear", "out-of-focus", "grey"})


def _against(reference: Reference, unclear: float, quality: Quality, stain: float | None) -> dict[str, bool]:
    least, most = reference.brightness
    return {
        "unclear": unclear > reference.unclear,
        "out-of-focus": quality.focus is not None and quality.focus < reference.focus,
        "dark": quality.brightness < least,
        "overexposed": quality.brightness > most or quality.clipped > reference.clipped,
        "pale": quality.densities is not None
        and quality.contrast < reference.contrast,  # without a cell nothing is dark
        "stain": stain is not None and stain > reference.stain,
    }
