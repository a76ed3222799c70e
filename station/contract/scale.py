"""The apparent cell diameter of a picture that nobody told: what stays the same at several scales is a cell.

The network knows cells of one size, and bears some difference. So the picture is shown to it at several assumed sizes.
A white cell is found at all that are near its own, each time as large as it is; what passes for one at a wrong scale, a
red cell or a piece of a white one, comes and goes or changes its size with the assumption, or is never quite like one.
A network of stretched pictures sees the same at any scale: there the cells that it finds are measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from station.contract.analysis import Network, Scale, find, prepare
from station.contract.cells import Cell
from station.contract.errors import ImageError
from station.contract.imaging import RGB
from station.contract.manifest import Manifest

# Tried as shares of the picture's shorter side, about a factor of 1.4 apart: fields of few and of many cells.
_SHARES = (0.09, 0.125, 0.18, 0.25, 0.36, 0.5, 0.7, 1.0)
_LEAST_DIAMETER_PX = 16.0
_LEAST_CONFIDENCE = 0.8
# So many assumptions must agree. Cells smaller than a twelfth of the picture's shorter side are near too few of those
# above; with fewer to agree, or smaller ones tried, platelets of an empty field would pass for its cells.
_SURE = 3
_NEAR = 1.6  # ratio of assumption and size; the assumptions are 1.4 apart
_APART, _RESIZED = 0.35, 1.28  # two sightings of one cell: centres within diameters, and ratio of diameters


@dataclass(frozen=True, slots=True)
class Sighting:
    """A cell that was found under one assumption. Lengths in camera px."""

    assumed_px: float
    x: float
    y: float
    diameter_px: float
    confidence: float  # 0..1
    touches_edge: bool


def estimate(image: RGB, manifest: Manifest, network: Network) -> Scale:
    """The scale of one picture [H, W, 3], independent of any other.

    Where no cell lasts, or none that is sure, it is `default`: the manifest's, or the nearest to it that does not find
    cells in spite of that.
    Costs one network call per assumption, most of them small; a single one where pictures are stretched.
    """
    network = _asked_once(image, manifest, network) if manifest.scale.policy == "stretch" else network
    seen = _seen(image, _assumptions(image), manifest, network)
    assumed = list(seen)
    sure = [one for own in seen.values() for one in own if one.confidence >= _LEAST_CONFIDENCE]
    lasting = _steadiest([cell for cell in grouped(sure) if _is_lasting(cell, assumed)])
    whole = [cell for cell in lasting if not cell[0].touches_edge] or lasting
    if not all(_is_unsure(cell, manifest) for cell in lasting):
        return Scale(round(float(np.median([_diameter(cell) for cell in whole])), 1), "estimated")
    default = manifest.scale.default_camera_diameter_px
    return Scale(_unrefuted(seen | _seen(image, [default], manifest, network), default), "default")


def camera_diameter(diameters_px: Sequence[float]) -> float:
    """The typical cell diameter, px, from what at least one picture told each.

    Hodges-Lehmann estimator on logarithms (Hodges & Lehmann 1963): the median of all means of two. It scatters less
    than the median, and a wrong picture moves it as little.
    """
    logarithms = np.log(diameters_px)
    both = np.triu_indices(len(logarithms))
    return float(np.exp(np.median(np.add.outer(logarithms, logarithms)[both] / 2)))


def grouped(sightings: Sequence[Sighting]) -> list[list[Sighting]]:
    """Sightings of one cell, the surest first; each sighting belongs to one cell."""
    cells: list[list[Sighting]] = []
    for sighting in sorted(sightings, key=lambda one: -one.confidence):
        own = next((cell for cell in cells if _is_same(sighting, cell[0])), None)
        if own is None:
            cells.append([sighting])
        else:
            own.append(sighting)
    return cells


def _is_same(one: Sighting, other: Sighting) -> bool:
    near = _APART * min(one.diameter_px, other.diameter_px)
    resized = max(one.diameter_px, other.diameter_px) / min(one.diameter_px, other.diameter_px)
    return math.hypot(one.x - other.x, one.y - other.y) < near and resized < _RESIZED


def _is_lasting(cell: Sequence[Sighting], assumed: Sequence[float]) -> bool:
    """Found at enough assumptions, one of them near its size: a black field passes for one large cell at small ones."""
    near = any(1 / _NEAR < sighting.assumed_px / sighting.diameter_px < _NEAR for sighting in cell)
    return near and len({sighting.assumed_px for sighting in cell}) >= min(_SURE, len(assumed))


def _is_unsure(cell: Sequence[Sighting], manifest: Manifest) -> bool:
    """Whether it would be flagged so wherever it counts: clumps of platelets last, but never look quite like a cell."""
    least = manifest.reference.confidence if manifest.reference is not None else 0.0
    return float(np.median([sighting.confidence for sighting in cell])) < least


def _steadiest(cells: Sequence[list[Sighting]]) -> list[list[Sighting]]:
    """Those seen more than half as often as the one seen most: a platelet may look like a cell twice, not six times."""
    most = max(map(len, cells), default=0)
    return [cell for cell in cells if 2 * len(cell) > most]


def _unrefuted(seen: Mapping[float, Sequence[Sighting]], default_px: float) -> float:
    """The assumption nearest to the default that finds nothing, as is right where nothing lasts; else the default.

    Where the picture is too large for the default, the nearest at which it is not.
    """
    free = [px for px, own in seen.items() if not own]
    possible = free or ([default_px] if default_px in seen else list(seen))
    return min(possible, key=lambda px: abs(math.log(px / default_px)), default=default_px)


def _diameter(cell: Sequence[Sighting]) -> float:
    return float(np.median([sighting.diameter_px for sighting in cell]))


def _asked_once(image: RGB, manifest: Manifest, network: Network) -> Network:
    """The answer of a network that sees the same whatever is assumed; only the separation differs between trials."""
    assumed = Scale(manifest.scale.default_camera_diameter_px, "default")
    answer = network(prepare(image, assumed, manifest).tile[None])
    return lambda _tiles: answer


def _assumptions(image: RGB) -> list[float]:
    shorter = min(image.shape[:2])
    return [share * shorter for share in _SHARES if share * shorter >= _LEAST_DIAMETER_PX]


def _seen(image: RGB, assumed: Sequence[float], manifest: Manifest, network: Network) -> dict[float, list[Sighting]]:
    """Assumption -> what is found, without those at which the picture would be too large for the network."""
    seen = {}
    for px in assumed:
        with suppress(ImageError):
            seen[px] = _sightings(image, px, manifest, network)
    return seen


def _sightings(image: RGB, assumed_px: float, manifest: Manifest, network: Network) -> list[Sighting]:
    prepared = prepare(image, Scale(assumed_px, "told"), manifest)
    cells = find(prepared, network(prepared.tile[None])[0], manifest).drawing.measured
    return [_sighting(cell, assumed_px) for cell in cells]


def _sighting(cell: Cell, assumed_px: float) -> Sighting:
    diameter = 2.0 * math.sqrt(cell.area_px / math.pi)
    return Sighting(assumed_px, cell.x, cell.y, diameter, cell.confidence, cell.touches_edge)
