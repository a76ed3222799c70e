"""Paints May-Grünwald-Giemsa smear fields as seen at x100, with exact truth: cells and their nuclei."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from station.demo.placing import place, territory
from station.demo.shapes import KINDS, Shape, white_shape
from station.demo.stain import (
    add_debris,
    add_platelets,
    add_red_cells,
    add_white_cell,
    draw_stain,
    expose,
)

_RED_TO_WHITE = 0.55  # red cells measure 7.5 um, white cells about 13.5 um
_DEMO_DAY = (  # white cells, touching pairs, share of lobed nuclei
    *((2, 0, 0.4), (1, 0, 1.0), (0, 0, 0.4), (3, 1, 0.4), (4, 0, 0.5), (8, 0, 0.4)),
    *((2, 1, 0.0), (5, 2, 0.4), (3, 0, 1.0), (6, 1, 0.5), (7, 0, 0.3), (4, 2, 1.0)),
)


@dataclass(frozen=True, slots=True)
class SmearRecipe:
    """What a field looks like. The same recipe always paints the same field."""

    width: int = 1024  # px
    height: int = 768  # px
    cell_diameter_px: float = 120.0  # median white cell: circle of the same area, nucleus + cytoplasm
    wbc: int = 3  # white cells in the field
    touching_pairs: int = 0  # pairs among them that touch
    lobed: float = 0.4  # share of cells whose nucleus has 2..5 lobes, 0..1
    red_cells: float = 1.0  # density, 0 = none
    platelets: int = 6
    debris: int = 3  # specks of stain precipitate
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SmearField:
    """A painted field. `labels` > 0 exactly where `instances` > 0."""

    image: NDArray[np.uint8]  # [H, W, 3] RGB
    labels: NDArray[np.uint8]  # [H, W] 0 background, 1 cytoplasm, 2 nucleus
    instances: NDArray[np.uint16]  # [H, W] 0 background, 1..n one id per white cell
    kinds: tuple[str, ...]  # of cells 1..n: "lobed", "round", "bean", "blast", "plasma"

    @property
    def wbc_count(self) -> int:
        return len(self.kinds)


def paint(recipe: SmearRecipe) -> SmearField:
    """The field of the recipe. Raises ValueError where its white cells do not fit into the picture."""
    if not 0 <= 2 * recipe.touching_pairs <= recipe.wbc:
        raise ValueError(f"{recipe.wbc} white cells cannot form {recipe.touching_pairs} touching pairs")
    # One stream for each layer: a field with fewer red cells keeps its white cells, stain and noise.
    layout, slide, red, small, white, top, camera = np.random.default_rng(recipe.seed).spawn(7)
    placed, truth = place(layout, _shapes(layout, recipe), recipe.touching_pairs, recipe.height, recipe.width)
    stain = draw_stain(slide, recipe.cell_diameter_px)
    density = np.zeros((recipe.height, recipe.width, 3), np.float32)
    red_diameter = _RED_TO_WHITE * recipe.cell_diameter_px
    add_red_cells(red, density, stain, placed, red_diameter, _red_count(recipe, red_diameter))
    add_platelets(small, density, stain, recipe.cell_diameter_px, recipe.platelets)
    for cell in placed:
        add_white_cell(white, density, stain, cell, territory(cell, placed))
    add_debris(top, density, recipe.cell_diameter_px, recipe.debris)
    kinds = tuple(cell.shape.kind for cell in placed)
    return SmearField(expose(camera, density, stain), truth.labels, truth.instances, kinds)


def demo_fields(seed: int) -> tuple[SmearRecipe, ...]:
    """The twelve fields of the demo day: one empty, one to eight cells, pairs that touch, lobed nuclei."""
    return tuple(
        SmearRecipe(wbc=wbc, touching_pairs=pairs, lobed=lobed, seed=seed * 1000 + index)
        for index, (wbc, pairs, lobed) in enumerate(_DEMO_DAY)
    )


def random_recipe(rng: np.random.Generator, *, width: int, height: int, cell_diameter_px: float) -> SmearRecipe:
    """A field for training mixes: no cell up to eight, as many as fit, everything else at random."""
    room = width * height / (1.5 * cell_diameter_px) ** 2
    # One field in eight is empty: the network must also learn to find nothing.
    wbc = 0 if rng.random() < 0.125 else int(rng.integers(1, min(8, max(1, int(room))) + 1))
    touching = int(rng.integers(0, wbc // 2 + 1)) if rng.random() < 0.5 else 0
    return SmearRecipe(
        width=width,
        height=height,
        cell_diameter_px=cell_diameter_px,
        wbc=wbc,
        touching_pairs=touching,
        lobed=float(rng.choice([0.0, 0.4, 0.7, 1.0])),
        red_cells=float(rng.choice([0.0, 0.5, 1.0, 1.6])),
        platelets=int(rng.integers(0, 1 + max(1, round(room)))),
        debris=int(rng.integers(0, 1 + max(1, round(room / 2)))),
        seed=int(rng.integers(2**31)),
    )


def _shapes(rng: np.random.Generator, recipe: SmearRecipe) -> list[Shape]:
    others = rng.choice(KINDS[1:], recipe.wbc, p=[0.35, 0.3, 0.25, 0.1])
    kinds = np.where(rng.random(recipe.wbc) < recipe.lobed, KINDS[0], others)
    return [white_shape(rng, str(kind), recipe.cell_diameter_px) for kind in kinds]


def _red_count(recipe: SmearRecipe, red_diameter: float) -> int:
    return round(recipe.red_cells * 0.6 * recipe.width * recipe.height / red_diameter**2)
