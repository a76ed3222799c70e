"""The apparent cell diameter of a picture that nobody told: a first estimate, by trying several scales.

The network knows cells of one size. At the right scale the white cells that it finds come out at about that size, and
it is sure of them; at a wrong one they come out too small, too large, in pieces or unsure. A network of stretched
pictures sees the same at any scale: there the cells that it finds are measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from station.contract.analysis import Network, Scale, finish, prepare
from station.contract.cells import Cell
from station.contract.errors import ImageError
from station.contract.imaging import RGB
from station.contract.manifest import Manifest

# Tried as shares of the picture's shorter side: fields of few and of many cells. A factor of about 1.4 between steps
# lies within the range of sizes that training draws.
_SHARES = (0.09, 0.125, 0.18, 0.25, 0.36, 0.5, 0.7)
_LEAST_DIAMETER_PX = 16.0
_LEAST_CONFIDENCE = 0.8


@dataclass(frozen=True, slots=True)
class Trial:
    """What the network found when cells were assumed to measure `assumed_px`."""

    assumed_px: float
    found_px: float  # median diameter of whole cells found, camera px
    confidence: float  # mean over cells, 0..1
    cells: int

    @property
    def cost(self) -> float:
        """0 is best: |log(found / assumed)| and the doubt about the cells."""
        return abs(math.log(self.found_px / self.assumed_px)) + 2.0 * (1.0 - self.confidence)


def estimate(image: RGB, manifest: Manifest, network: Network) -> Scale:
    """The scale of one picture [H, W, 3], independent of any other; `default` where no white cell is found.

    Costs one network call per trial, most of them small; a single one where pictures are stretched.
    """
    stretched = manifest.scale.policy == "stretch"
    network = _asked_once(image, manifest, network) if stretched else network
    trials = [trial for px in _candidates(image, manifest) if (trial := _try(image, px, manifest, network))]
    if not trials:
        return Scale(manifest.scale.default_camera_diameter_px, "default")
    best = min(trials, key=lambda trial: trial.cost)
    # A network of one cell size finds cells nearer to that size than they are; the truth lies between the two.
    refined = best.found_px if stretched else math.sqrt(best.assumed_px * best.found_px)
    return Scale(round(refined, 1), "estimated")


def _asked_once(image: RGB, manifest: Manifest, network: Network) -> Network:
    """The answer of a network that sees the same whatever is assumed; only the separation differs between trials."""
    assumed = Scale(manifest.scale.default_camera_diameter_px, "default")
    answer = network(prepare(image, assumed, manifest).tile[None])
    return lambda _tiles: answer


def _candidates(image: RGB, manifest: Manifest) -> list[float]:
    shorter = min(image.shape[:2])
    return [share * shorter for share in _SHARES if share * shorter >= _LEAST_DIAMETER_PX]


def _try(image: RGB, assumed_px: float, manifest: Manifest, network: Network) -> Trial | None:
    try:
        prepared = prepare(image, Scale(assumed_px, "estimated"), manifest)
    except ImageError:
        return None  # a very long picture, with cells assumed so small that the network could not hold it
    cells = finish(prepared, network(prepared.tile[None])[0], manifest).drawing.measured
    whole = [cell for cell in cells if not cell.touches_edge and cell.confidence >= _LEAST_CONFIDENCE]
    whole = whole or [cell for cell in cells if cell.confidence >= _LEAST_CONFIDENCE]
    if not whole:
        return None
    found = float(np.median([_diameter(cell) for cell in whole]))
    return Trial(assumed_px, found, float(np.mean([cell.confidence for cell in whole])), len(whole))


def _diameter(cell: Cell) -> float:
    return 2.0 * math.sqrt(cell.area_px / math.pi)
