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
_LEAST_BLOCKS = 4  # with fewer it is no field but a crop
_LEAST_RANGE = 20.0  # grey values: a block with less shows nothing to focus on
_SHARPEST = 75.0  # percentile over blocks
_SURE_GROUND, _LIGHTER = 0.9, 75.0  # probability of background; percentile of its light
_DARKEST = 0.5  # percentile of green
_MOST_COLOURED = 99.9  # percentile, of every second px of those
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
    colour: float = 1.0  # how far the channels of its most coloured matter are apart, 0..1; 0: grey

    def figures(self, stain: float | None) -> dict[str, float]:
        """By name, those that there are; `stain`: distance from the reference."""
        found = asdict(self) | {"stain": stain}
        return {name: round(found[name], 4) for name in _KEPT if found[name] is not None}


_KEPT = ("focus", "brightness", "contrast", "clipped", "stain")


def measure_quality(tile: RGB, probabilities: Probabilities, beside: NDArray[np.bool_] | None = None) -> Quality:
    """Of a picture [h, w, 3] at network scale and the network's answer [h, w, 3], both without padding.

    `beside` [h, w] is where the picture shows no specimen, None if nowhere: nothing is measured there.
    """
    # Enough px for medians, at a quarter of the time.
    colours, likely = np.ascontiguousarray(tile[::2, ::2]), np.ascontiguousarray(probabilities[::2, ::2])
    if beside is not None and not beside[::2, ::2].all():
        shown = ~beside[::2, ::2]
        colours, likely = colours[shown][None], likely[shown][None]
    winner = _winner(likely)
    tone = _tone(colours, likely[..., BACKGROUND] > _SURE_GROUND)
    darkest = max(1.0, _percentile(_counts(colours)[1], _DARKEST))
    return Quality(
        focus=_focus(tile[..., 1], beside),
        brightness=float(tone.mean() / 255.0),
        contrast=max(0.0, float(np.log(tone[1] / darkest))),
        clipped=_clipped(colours, winner != BACKGROUND),
        densities=_densities(colours, winner, tone),
        colour=_colour(colours),
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


def _winner(likely: Probabilities) -> NDArray[np.uint8]:
    """[h, w] the most likely class, of equals the first: what `argmax` gives, in half the time."""
    background, cytoplasm, nucleus = (likely[..., channel] for channel in (BACKGROUND, CYTOPLASM, NUCLEUS))
    stained = (cytoplasm > background).view(np.uint8)
    return np.where(nucleus > np.maximum(background, cytoplasm), np.uint8(NUCLEUS), stained)


def _tone(colours: RGB, ground: NDArray[np.bool_]) -> NDArray[np.float32]:
    """[3] light of the empty ground, 1..255."""
    counts = _counts(colours, ground if ground.any() else None)
    return np.array([max(1.0, _percentile(channel, _LIGHTER)) for channel in counts], np.float32)


def _focus(green: NDArray[np.uint8], beside: NDArray[np.bool_] | None) -> float | None:
    """A blurred step of height h and width sigma rises by h / (sigma sqrt(2 pi)) a pixel at most."""
    smooth = _floats(cv2.GaussianBlur(green.astype(np.float32), (0, 0), 1.0))  # or noise would pass for edges
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *order, scale=0.125) for order in ((1, 0), (0, 1)))
    steep = _blocks(np.maximum, _floats(cv2.magnitude(across, down)))
    reach = np.asarray(_blocks(np.maximum, smooth) - _blocks(np.minimum, smooth), np.float32)
    seen = np.full(reach.shape, True)
    if beside is not None:  # the rim of a diaphragm may be sharp alone
        seen = _blocks(np.maximum, beside.astype(np.float32)) == 0
    edges = seen & (reach >= _LEAST_RANGE)
    if edges.any():
        return float(np.percentile(steep[edges] / reach[edges], _SHARPEST))
    roomy = min(green.shape) >= 2 * _BLOCK_PX and np.count_nonzero(seen) >= _LEAST_BLOCKS
    return 0.0 if roomy else None  # a field with nothing in it is no sharp one


def _floats(values: cv2.typing.MatLike) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)


def _blocks(extreme: np.ufunc, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """[rows, columns] the extreme of each block; the last of a row or column may be narrower."""
    height, width = values.shape
    whole = height - height % _BLOCK_PX
    # Whole blocks of rows one under the other: a fifth of the time that `reduceat` takes.
    rows = [extreme.reduce(values[:whole].reshape(-1, _BLOCK_PX, width), axis=1)]
    if whole < height:
        rows.append(extreme.reduce(values[whole:], axis=0)[None])
    return np.asarray(extreme.reduceat(np.concatenate(rows), np.arange(0, width, _BLOCK_PX), axis=1), np.float32)


def _counts(colours: RGB, where: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """[3, 256] how often each value comes: what orders the values is known in a tenth of the time of ordering them."""
    mask = None if where is None else where.view(np.uint8)
    found = (cv2.calcHist([colours], [channel], mask, [256], [0, 256]) for channel in range(3))
    return np.asarray([np.ravel(channel) for channel in found], np.int64)


def _percentile(counts: NDArray[np.int64], percent: float) -> float:
    """Of grey values that come so often [256]."""
    reached = np.cumsum(counts)
    return float(np.searchsorted(reached, percent / 100 * reached[-1]))


def _median(counts: NDArray[np.int64]) -> float:
    """Of grey values that come so often [256]: the middle one, of two the mean."""
    reached = np.cumsum(counts)
    middle = np.searchsorted(reached, [(reached[-1] + 1) // 2, reached[-1] // 2 + 1])
    return float(middle.mean())


def _colour(colours: RGB) -> float:
    red, green, blue = (colours[::2, ::2, channel] for channel in range(3))  # along the short axis `max` is slow
    apart = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return float(np.percentile(apart, _MOST_COLOURED) / 255.0)


def _clipped(colours: RGB, cells: NDArray[np.bool_]) -> float:
    white = cv2.inRange(colours, (_WHITE,) * 3, (255,) * 3) > 0
    return float((white[cells] if cells.any() else white).mean())


def _densities(colours: RGB, winner: NDArray[np.uint8], tone: NDArray[np.float32]) -> tuple[float, ...] | None:
    """Median optical densities of nucleus, then of cytoplasm."""
    parts = [_counts(colours, winner == region) for region in (NUCLEUS, CYTOPLASM)]
    if min(int(part[0].sum()) for part in parts) < _LEAST_PX:
        return None
    medians = (np.maximum([_median(channel) for channel in part], 1.0) for part in parts)
    return tuple(float(value) for median in medians for value in np.log(tone / median))
