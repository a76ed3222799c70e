"""How a model's cells are best told apart: two parameters of the watershed, measured on fields with exact truth.

The height that a seed must have above its saddle decides what is merged and what is split; the area that must be seen
of a cell cut by the border decides between the rim of a cell and a platelet that lies there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from station.contract.analysis import Network, Scale, find, prepare
from station.contract.manifest import Manifest, Separation
from trainer.composites import Composite, compose
from trainer.counting import painted
from trainer.cutouts import Cutout, Ground

PROMINENCES: Final = (0.01, 0.0125, 0.016, 0.02, 0.025, 0.03125, 0.04, 0.05, 0.0625)  # cell diameters
AREAS_AT_EDGE: Final = tuple(round(0.01 * step, 2) for step in range(3, 31))  # areas of a disc of the cell diameter
_PLATELETS = 3  # times as many as in other painted fields, so that some lie on the border


@dataclass(frozen=True, slots=True)
class Parts:
    """What one field was divided into at one prominence."""

    inside: int  # cells that touch no border
    at_edge: tuple[float, ...]  # areas of the others, however small, discs


@dataclass(frozen=True, slots=True)
class Divided:
    """One field: its true number of cells, and its parts at each of `PROMINENCES`."""

    true: int
    parts: tuple[Parts, ...]


def fields(number: int, cells: Sequence[Cutout], grounds: Sequence[Ground]) -> Iterator[Composite]:
    """So many composed ones, and half as many painted."""
    return chain((compose(seed, cells, grounds) for seed in range(number)), map(_with_platelets, range(number // 2)))


def divided(made: Iterable[Composite], manifest: Manifest, network: Network) -> Iterator[Divided]:
    """Each field at every prominence, its scale told."""
    for field in made:
        prepared = prepare(field.image, Scale(field.cell_diameter_px, "told"), manifest)
        answer = network(prepared.tile[None])[0]
        disc_px = math.pi / 4 * field.cell_diameter_px**2
        parts = []
        for prominence in PROMINENCES:
            how = {"prominence": prominence, "min_area_at_edge": AREAS_AT_EDGE[0]}
            tried = manifest.model_copy(update={"separation": manifest.separation.model_copy(update=how)})
            found = find(prepared, answer, tried).drawing.measured
            at_edge = tuple(cell.area_px / disc_px for cell in found if cell.touches_edge)
            parts.append(Parts(len(found) - len(at_edge), at_edge))
        yield Divided(field.wbc_count, tuple(parts))


def separation(seen: Sequence[Divided], before: Separation) -> tuple[Separation, float]:
    """The parameters at which most fields are counted exactly, and their share; of equals, those in the middle."""
    exact = np.array([[_exact(seen, row, least) for least in AREAS_AT_EDGE] for row in range(len(PROMINENCES))])
    row = _middle(exact.max(axis=1))
    column = _middle(exact[row])
    found = {"prominence": PROMINENCES[row], "min_area_at_edge": AREAS_AT_EDGE[column]}
    return before.model_copy(update=found), float(exact[row, column])


def _exact(seen: Sequence[Divided], row: int, least: float) -> float:
    """Share of fields that are counted exactly."""
    counts = [(one.true, one.parts[row].inside + sum(area >= least for area in one.parts[row].at_edge)) for one in seen]
    return float(np.mean([true == counted for true, counted in counts]))


def _middle(exact: NDArray[np.float64]) -> int:
    """Index in the middle of the longest run of the best."""
    best = np.flatnonzero(exact == exact.max())
    runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    longest = max(runs, key=len)
    return int(longest[(len(longest) - 1) // 2])


def _with_platelets(seed: int) -> Composite:
    rng = np.random.default_rng([seed, 4])
    return painted(rng, lambda recipe: replace(recipe, platelets=_PLATELETS * recipe.platelets))
