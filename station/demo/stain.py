"""The colours of a painted smear as optical densities: light falls off as exp(-density) (Beer-Lambert)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from station.demo.placing import Placed, cut
from station.demo.shapes import Distance, cloud, coverage, outline_distance

Density: TypeAlias = NDArray[np.float32]  # [H, W, 3] optical density of red, green, blue

_LAMPS = (
    *((246, 244, 242), (226, 214, 218), (206, 210, 204)),
    *((246, 232, 150), (168, 164, 146), (236, 226, 206)),
)
_NUCLEI = ((120, 72, 168), (72, 56, 142), (120, 40, 110), (140, 118, 212), (66, 40, 110))
_RED = ((222, 176, 164), (214, 178, 168), (228, 188, 180), (204, 182, 174))
_CYTOPLASM = {
    "lobed": ((230, 200, 214), (226, 208, 222), (218, 196, 196), (236, 190, 170)),
    "round": ((176, 196, 234), (150, 176, 228), (204, 208, 230)),
    "bean": ((188, 192, 216), (200, 196, 218), (178, 182, 202)),
    "blast": ((140, 156, 218), (160, 170, 220), (186, 178, 220)),
    "plasma": ((110, 122, 196), (130, 130, 200)),
}


@dataclass(frozen=True, slots=True)
class Stain:
    """What one slide and one camera setting share."""

    lamp: NDArray[np.float32]  # [3] RGB of an empty spot, 0..255
    nucleus: NDArray[np.float32]  # [3] density
    red: NDArray[np.float32]  # [3] density
    strength: float  # of the cytoplasm
    pallor: float  # of the red cells' centres, 0..1
    softness: float  # half width of an edge, px
    blur: float  # px
    noise: float  # grey levels
    grain: float  # px over which the sensor noise is smeared, 0 = not
    contrast: float  # exponent of the camera's tone curve


def draw_stain(rng: np.random.Generator, cell_diameter_px: float) -> Stain:
    lamp = _blend(rng, _LAMPS)
    return Stain(
        lamp=np.minimum(lamp * rng.uniform(0.92, 1.1), 262).astype(np.float32),
        nucleus=_density(_blend(rng, _NUCLEI)) * np.float32(rng.uniform(0.75, 1.2)),
        red=_density(_blend(rng, _RED)) * np.float32(rng.choice([0.3, 0.8, 1.0, 1.2])),
        strength=float(rng.uniform(0.6, 1.25)),
        pallor=float(rng.uniform(0.15, 1.0)),
        softness=float(max(0.8, cell_diameter_px / 120 * rng.uniform(0.9, 2.0))),
        blur=float(cell_diameter_px / 120 * rng.choice([0.5, 0.8, 1.2, 1.8])),
        noise=float(rng.uniform(0.8, 4.0)),
        grain=float(rng.choice([0.0, 0.6, 1.0])),
        contrast=float(rng.choice([0.85, 1.0, 1.0, 1.3])),
    )


def add_red_cells(
    rng: np.random.Generator,
    density: Density,
    stain: Stain,
    placed: tuple[Placed, ...],
    diameter: float,
    count: int,
) -> None:
    """Red cells in the plain and in chains (rouleaux), none far below a white cell."""
    height, width = density.shape[:2]
    thickness = np.zeros((height, width), np.float32)
    chained, spot = rng.uniform(0, 0.7), complex(rng.uniform(0, width), rng.uniform(0, height))
    heading = rng.uniform(0, 2 * np.pi)
    for _ in range(count):
        if rng.random() < chained:
            heading += rng.normal(0, 0.35)
            spot += rng.uniform(0.45, 0.95) * diameter * np.exp(1j * heading)
        else:
            spot = complex(rng.uniform(-0.1, 1.1) * width, rng.uniform(-0.1, 1.1) * height)
        radius = 0.5 * diameter * rng.uniform(0.85, 1.12)
        if all(abs(spot - cell.centre) > cell.shape.radius + 0.6 * radius for cell in placed):
            _stack(thickness, spot, _red_cell(rng, stain, radius))
    density += thickness[..., None] * stain.red


def add_platelets(rng: np.random.Generator, density: Density, stain: Stain, diameter: float, count: int) -> None:
    """Small granular bodies of 2 to 3 um; `diameter` is that of a white cell, px."""
    for _ in range(count):
        radius = 0.5 * diameter * rng.uniform(0.13, 0.24)
        distance, _ = outline_distance(rng, radius, wobble=0.12)
        grains = np.clip(0.85 + 0.3 * cloud(rng, _shape(distance), radius * 0.5), 0.4, 1.6)
        body = coverage(distance, radius * 0.4) * grains * rng.uniform(0.25, 0.6)
        _add(density, _spot(rng, density), body[..., None] * stain.nucleus)


def add_debris(rng: np.random.Generator, density: Density, diameter: float, count: int) -> None:
    """Groups of dark specks, as stain precipitate leaves them, on top of everything."""
    for _ in range(count):
        spot = _spot(rng, density)
        for _ in range(int(rng.integers(1, 6))):
            distance, _ = outline_distance(rng, max(0.8, diameter * rng.uniform(0.008, 0.025)), wobble=0.15)
            tint = np.array([0.9, 1.1, 0.7], np.float32) * np.float32(rng.uniform(0.6, 1.6))
            speck = coverage(distance, 1.0)[..., None] * tint
            _add(density, spot + complex(*rng.normal(0, 0.05 * diameter, 2)), speck)


def add_white_cell(rng: np.random.Generator, density: Density, stain: Stain, cell: Placed, own: Distance) -> None:
    """Paints the cell over whatever lies below it; `own` is its territory, [s, s]."""
    field, box = cell.windows(*density.shape[:2])
    nucleus = np.maximum(cell.shape.nucleus, own)
    inner = coverage(nucleus, stain.softness * rng.uniform(0.9, 2.2))[..., None]
    plasm, chromatin = _cytoplasm(rng, stain, cell, own, nucleus), _chromatin(rng, stain, cell, nucleus)
    body = np.asarray(plasm + inner * (chromatin - plasm), np.float32)
    cover = coverage(own, stain.softness)[box][..., None]
    density[field] += cover * (body[box] - density[field])


def expose(rng: np.random.Generator, density: Density, stain: Stain) -> NDArray[np.uint8]:
    """[H, W, 3] RGB: lamp light through the densities, with vignetting, focus and sensor noise."""
    height, width = density.shape[:2]
    light = stain.lamp * _lamp_field(rng, height, width)[..., None] * np.exp(-density)
    focused = np.asarray(cv2.GaussianBlur(light, (0, 0), stain.blur), np.float32)
    if stain.contrast != 1:
        focused = np.asarray(255 * (focused / 255) ** stain.contrast, np.float32)
    noisy = focused + _sensor_noise(rng, focused.shape, stain)
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)


def _cytoplasm(rng: np.random.Generator, stain: Stain, cell: Placed, own: Distance, nucleus: Distance) -> Density:
    shape, radius = _shape(own), cell.shape.radius
    colour = _density(_blend(rng, _CYTOPLASM[cell.shape.kind], sharp=True)) * np.float32(stain.strength)
    grain = rng.uniform(0.03, 0.07) * radius
    granules = rng.uniform(0.05, 0.35) if cell.shape.kind == "lobed" else rng.uniform(0.02, 0.14)
    texture = 1 + 0.12 * cloud(rng, shape, 0.4 * radius) + granules * cloud(rng, shape, grain)
    rim = rng.uniform(0, 0.45) * np.exp(-((own / (0.05 * radius)) ** 2))
    halo = -rng.uniform(0, 0.4) * np.exp(-((nucleus / (0.1 * radius)) ** 2))
    thickness = np.clip(texture + rim + halo, 0.15, 2.5)
    for _ in range(int(rng.integers(0, 7)) if cell.shape.kind in ("bean", "blast", "plasma") else 0):
        thickness *= 1 - 0.8 * _bubble(rng, shape, radius)
    return np.asarray(thickness[..., None] * colour, np.float32)


def _chromatin(rng: np.random.Generator, stain: Stain, cell: Placed, nucleus: Distance) -> Density:
    shape, radius = _shape(nucleus), cell.shape.radius
    clumped = 0.08 if cell.shape.kind == "blast" else rng.uniform(0.1, 0.28)
    clumps = np.tanh(1.4 * cloud(rng, shape, rng.uniform(0.1, 0.2) * radius))
    texture = 1 + clumped * clumps + 0.06 * cloud(rng, shape, 0.05 * radius)
    texture += 0.15 * np.exp(-((nucleus / (0.06 * radius)) ** 2))
    for _ in range(int(rng.integers(0, 4)) if cell.shape.kind == "blast" else 0):
        texture *= 1 - 0.35 * _bubble(rng, shape, 1.6 * radius)
    depth = rng.uniform(0.65, 0.9) if cell.shape.kind == "blast" else rng.uniform(0.85, 1.15)
    return np.asarray((np.clip(texture, 0.4, 1.8) * depth)[..., None] * stain.nucleus, np.float32)


def _bubble(rng: np.random.Generator, shape: tuple[int, int], radius: float) -> NDArray[np.float32]:
    x, y = rng.uniform(0.15, 0.85, 2) * shape[0]
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    distance = np.hypot(columns - x, rows - y) - radius * rng.uniform(0.04, 0.09)
    return coverage(distance.astype(np.float32), max(1.0, 0.02 * radius))


def _red_cell(rng: np.random.Generator, stain: Stain, radius: float) -> NDArray[np.float32]:
    """[s, s] thickness of a biconcave disc, partly levelled (Evans and Fung, Microvasc. Res. 4, 1972)."""
    distance, _ = outline_distance(rng, radius, wobble=float(rng.choice([0.015, 0.04, 0.09])), orders=4)
    rho2 = np.clip(1 + distance / radius, 0, 1) ** 2
    disc = np.sqrt(1 - 0.8 * rho2) * (0.207 + 2.003 * rho2 - 1.123 * rho2**2) / 0.75
    pallor = stain.pallor * rng.uniform(0.5, 1.2)
    thickness = (1 - pallor + pallor * disc) * coverage(distance, 1.3 * stain.softness)
    # Out of focus a rim refracts: a darker line inside, a brighter one outside.
    line = 0.18 * np.exp(-(((distance + 1.5) / 1.6) ** 2)) - 0.1 * np.exp(-(((distance - 3) / 2) ** 2))
    return np.asarray((thickness + line) * rng.uniform(0.85, 1.15), np.float32)


def _add(density: Density, spot: complex, body: Density) -> None:
    size = body.shape[0]
    field, box = cut(round(spot.real) - size // 2, round(spot.imag) - size // 2, size, *density.shape[:2])
    if density[field].size:
        density[field] += body[box]


def _stack(thickness: NDArray[np.float32], spot: complex, disc: NDArray[np.float32]) -> None:
    """Cells that lie on each other flatten: the thicker counts whole, the thinner two fifths."""
    size = disc.shape[0]
    field, box = cut(round(spot.real) - size // 2, round(spot.imag) - size // 2, size, *thickness.shape)
    below, above = thickness[field], disc[box]
    thickness[field] = np.maximum(below, above) + np.float32(0.4) * np.minimum(below, above)


def _sensor_noise(rng: np.random.Generator, shape: tuple[int, ...], stain: Stain) -> NDArray[np.float32]:
    noise = rng.standard_normal(shape, dtype=np.float32) * np.float32(stain.noise)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), stain.grain) if stain.grain else noise, np.float32)


def _lamp_field(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    dx, dy, tilt = *rng.normal(0, 0.3, 2), rng.normal(0, 0.03, 2)
    fall = rng.uniform(0, 0.14) * ((x - dx) ** 2 + (y - dy) ** 2) / 2
    return np.asarray(1 - fall + tilt[0] * x + tilt[1] * y, np.float32)


def _blend(
    rng: np.random.Generator, colours: tuple[tuple[int, int, int], ...], sharp: bool = False
) -> NDArray[np.float32]:
    """A random mixture that mostly follows one of the colours."""
    weights = rng.dirichlet(np.full(len(colours), 0.2 if sharp else 0.4))
    return np.asarray(weights @ np.array(colours) + rng.normal(0, 4, 3), np.float32)


def _density(colour: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(-np.log(np.clip(colour, 8, 246) / 246), np.float32)


def _spot(rng: np.random.Generator, density: Density) -> complex:
    return complex(rng.uniform(0, density.shape[1]), rng.uniform(0, density.shape[0]))


def _shape(distance: Distance) -> tuple[int, int]:
    return distance.shape[0], distance.shape[1]
