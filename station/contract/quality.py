"""How a picture was taken and stained, measured at network scale beside its cells: focus, light, stain.

Figures are comparable between pictures of one camera; what is far from normal is said by the reference that a model
brings along, measured on what it was trained on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.imaging import RGB, Probabilities
from station.contract.manifest import BACKGROUND, CYTOPLASM, NUCLEUS, StainReference

STAIN_FEATURES = 6  # optical densities of nucleus and cytoplasm in red, green and blue

_BLOCK_PX = 64  # about a cell: each block has an edge of its own
_LEAST_RANGE = 20.0  # grey values: a block with less shows nothing to focus on
_SHARPEST = 75.0  # percentile over blocks
_SURE_GROUND, _LIGHTER = 0.9, 75.0  # probability of background; percentile of its light
_DARKEST = 0.5  # percentile of green
_WHITE = 254
_LEAST_PX = 40  # of nucleus and of cytoplasm, to tell a colour


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures of one picture."""

    focus: float | None  # steepest rise of an edge in one px as a share of its height, 0..1; 0: no edge; None: no room
    brightness: float  # light of the empty ground, 0..1
    contrast: float  # optical density (natural logarithm) of the darkest stained matter in green, from 0
    clipped: float  # share of px of the cells, or of all where there is none, that are white to the limit, 0..1
    densities: tuple[float, ...] | None  # STAIN_FEATURES optical densities; None: no cell

    def figures(self, stain: float | None) -> dict[str, float]:
        """By name, those that there are; `stain`: distance from the reference."""
        found = asdict(self) | {"stain": stain}
        return {name: round(found[name], 4) for name in _KEPT if found[name] is not None}


_KEPT = ("focus", "brightness", "contrast", "clipped", "stain")


def measure_quality(tile: RGB, probabilities: Probabilities) -> Quality:
    """Of a picture [h, w, 3] at network scale and the network's answer [h, w, 3], both without padding."""
    colours, likely = tile[::2, ::2], probabilities[::2, ::2]  # enough px for medians, at a quarter of the time
    winner = likely.argmax(axis=-1)
    tone = _tone(colours, likely)
    darkest = max(1.0, _percentile(colours[..., 1], _DARKEST))
    cells = winner != BACKGROUND
    return Quality(
        focus=_focus(tile[..., 1]),
        brightness=float(tone.mean() / 255.0),
        contrast=max(0.0, float(np.log(tone[1] / darkest))),
        clipped=_clipped(colours[cells] if cells.any() else colours.reshape(-1, 3)),
        densities=_densities(colours, winner, tone),
    )


def stain_distance(densities: tuple[float, ...] | None, references: tuple[StainReference, ...]) -> float | None:
    """How far a stain is from the nearest reference, 1 being an ordinary distance; None without cells or references.

    Mahalanobis distance over the square root of the number of features.
    """
    if densities is None or not references:
        return None
    return min(_distance(np.array(densities), reference) for reference in references)


def _distance(densities: NDArray[np.float64], reference: StainReference) -> float:
    apart = densities - np.array(reference.mean)
    squared = float(apart @ np.array(reference.precision) @ apart)
    return float(np.sqrt(max(squared, 0.0) / len(densities)))


def _tone(tile: RGB, probabilities: Probabilities) -> NDArray[np.float32]:
    """[3] light of the empty ground, 1..255."""
    ground = tile[probabilities[..., BACKGROUND] > _SURE_GROUND]
    seen = ground if len(ground) else tile.reshape(-1, 3)
    return np.array([max(1.0, _percentile(channel, _LIGHTER)) for channel in seen.T], np.float32)


def _focus(green: NDArray[np.uint8]) -> float | None:
    """A blurred step of height h and width sigma rises by h / (sigma sqrt(2 pi)) a pixel at most."""
    smooth = _floats(cv2.GaussianBlur(green.astype(np.float32), (0, 0), 1.0))  # or noise would pass for edges
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *order, scale=0.125) for order in ((1, 0), (0, 1)))
    steep = _blocks(np.maximum, _floats(cv2.magnitude(across, down)))
    reach = np.asarray(_blocks(np.maximum, smooth) - _blocks(np.minimum, smooth), np.float32)
    edges = reach >= _LEAST_RANGE
    if edges.any():
        return float(np.percentile(steep[edges] / reach[edges], _SHARPEST))
    return None if min(green.shape) < 2 * _BLOCK_PX else 0.0  # a field with nothing in it is no sharp one


def _floats(values: cv2.typing.MatLike) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)


def _blocks(extreme: np.ufunc, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """[rows, columns] the extreme of each block; the last of a row or column may be narrower."""
    rows, columns = (np.arange(0, length, _BLOCK_PX) for length in values.shape)
    return np.asarray(extreme.reduceat(extreme.reduceat(values, rows, axis=0), columns, axis=1), np.float32)


def _percentile(values: NDArray[np.uint8], percent: float) -> float:
    """Of grey values, by counting them: a tenth of the time that ordering takes."""
    reached = np.cumsum(np.bincount(values.ravel(), minlength=256))
    return float(np.searchsorted(reached, percent / 100 * reached[-1]))


def _clipped(pixels: NDArray[np.uint8]) -> float:
    return float((pixels >= _WHITE).all(axis=-1).mean())


def _densities(tile: RGB, winner: NDArray[np.int64], tone: NDArray[np.float32]) -> tuple[float, ...] | None:
    """Median optical densities of nucleus, then of cytoplasm."""
    parts = [tile[winner == region] for region in (NUCLEUS, CYTOPLASM)]
    if min(map(len, parts)) < _LEAST_PX:
        return None
    medians = (np.maximum(np.median(part, axis=0), 1.0) for part in parts)
    return tuple(float(value) for median in medians for value in np.log(tone / median))
