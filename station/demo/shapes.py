"""Outlines and nuclei of painted cells as signed distances: pixels, negative inside, zero on the line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Distance: TypeAlias = NDArray[np.float32]  # [h, w] signed distance in px, negative inside

KINDS = ("lobed", "round", "bean", "blast", "plasma")
_DIAMETER = {
    "lobed": (0.88, 1.14),
    "round": (0.75, 0.98),
    "bean": (1.0, 1.3),
    "blast": (0.85, 1.3),
    "plasma": (0.9, 1.15),
}
_ANGLES = np.linspace(-np.pi, np.pi, 361)


@dataclass(frozen=True, slots=True)
class Shape:
    """One white cell in a square box of its own."""

    kind: str
    radius: float  # of the circle of the same area, px
    reach: float  # the farthest point of the outline from the centre, px
    outline: Distance  # [s, s]
    nucleus: Distance  # [s, s], kept inside the outline


def white_shape(rng: np.random.Generator, kind: str, cell_diameter_px: float) -> Shape:
    """A cell of `kind`, 0.75..1.3 of the given diameter, turned and bent at random."""
    radius = 0.5 * cell_diameter_px * float(rng.uniform(*_DIAMETER[kind]))
    outline, reach = outline_distance(rng, radius, wobble=float(rng.choice([0.02, 0.04, 0.08])))
    margin = radius * float(rng.choice([0.0, 0.03, 0.06]))
    across, up = _own_axes(rng, outline.shape[0], radius)
    nucleus = np.asarray(_NUCLEI[kind](rng, across, up) * radius, np.float32)
    return Shape(kind, radius, reach, outline, np.maximum(nucleus, outline + margin))


def outline_distance(
    rng: np.random.Generator, radius: float, *, wobble: float, orders: int = 7
) -> tuple[Distance, float]:
    """([s, s] distance to a round outline bent by its harmonics 2..orders, farthest radius in px).

    The area stays that of the circle of `radius`; `wobble` is the spread of the second harmonic, as a share.
    """
    waves = np.arange(2, orders + 1)[:, None]
    amplitudes = rng.normal(0, wobble, waves.shape) * (2 / waves) ** 1.2
    bend = 1 + (amplitudes * np.cos(waves * _ANGLES + rng.uniform(0, 2 * np.pi, waves.shape))).sum(axis=0)
    # The median cell is hardly bent; a draw from the tails must not fold the outline.
    bend = np.clip(bend, 0.6, 1.5)
    radii = radius * bend / np.sqrt(np.mean(bend[:-1] ** 2))
    reach = float(radii.max())
    size = 2 * int(np.ceil(reach + 4)) + 1
    x, y = _grid(size, rng.uniform(-0.5, 0.5, 2))
    return np.asarray(np.hypot(x, y) - np.interp(np.arctan2(y, x), _ANGLES, radii), np.float32), reach


def coverage(distance: Distance, softness: float) -> NDArray[np.float32]:
    """How much of each pixel the shape covers, 0..1: half on the line, so truth is `distance < 0`."""
    t = np.clip(0.5 - distance / (2 * softness), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def cloud(rng: np.random.Generator, shape: tuple[int, int], grain: float) -> NDArray[np.float32]:
    """[h, w] smooth noise of about unit spread whose blotches are `grain` px wide."""
    grain = max(grain, 1.0)
    rows, columns = (int(np.ceil(n / grain)) + 3 for n in shape)
    coarse = rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(1.5)
    wide, tall = round(columns * grain), round(rows * grain)
    fine = cv2.resize(coarse, (max(wide, shape[1]), max(tall, shape[0])), interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine[: shape[0], : shape[1]], np.float32)


def _grid(size: int, shift: NDArray[np.float64]) -> tuple[Distance, Distance]:
    axis = np.arange(size, dtype=np.float32) - (size - 1) / 2
    return axis[None, :] - np.float32(shift[0]), axis[:, None] - np.float32(shift[1])


def _own_axes(rng: np.random.Generator, size: int, radius: float) -> tuple[Distance, Distance]:
    """The cell's own coordinates in radii, turned and slightly bent, so that no lobe is a clean ellipse."""
    x, y = _grid(size, np.zeros(2))
    angle, bend = rng.uniform(0, 2 * np.pi), radius * 0.6
    across = (x * np.cos(angle) + y * np.sin(angle)) / radius
    up = (y * np.cos(angle) - x * np.sin(angle)) / radius
    for amplitude, grain in ((0.035, bend), (0.012, 0.3 * bend)):
        across = across + np.float32(amplitude) * cloud(rng, (size, size), grain)
        up = up + np.float32(amplitude) * cloud(rng, (size, size), grain)
    return np.asarray(across, np.float32), np.asarray(up, np.float32)


def _ellipse(x: Distance, y: Distance, a: float, b: float, angle: float = 0.0) -> Distance:
    along, beside = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.asarray((np.hypot(along / a, beside / b) - 1) * min(a, b), np.float32)


def _capsule(x: Distance, y: Distance, start: complex, end: complex, thickness: float) -> Distance:
    step = end - start
    along = (x - start.real) * step.real + (y - start.imag) * step.imag
    t = np.clip(along / max(abs(step) ** 2, 1e-6), 0, 1)
    dx, dy = x - start.real - t * step.real, y - start.imag - t * step.imag
    return np.asarray(np.hypot(dx, dy) - thickness, np.float32)


def _join(a: Distance, b: Distance, blend: float = 0.06) -> Distance:
    """The union of two shapes with a rounded seam (polynomial smooth minimum, I. Quilez)."""
    overlap = np.maximum(blend - np.abs(a - b), 0) / blend
    return np.asarray(np.minimum(a, b) - overlap * overlap * (blend / 4), np.float32)


def _lobed(rng: np.random.Generator, x: Distance, y: Distance) -> Distance:
    """Two to five lobes on an open arc, each tied to the next by a thin bridge."""
    lobes = int(rng.choice([2, 3, 4, 5], p=[0.3, 0.37, 0.23, 0.1]))
    ring, spread = rng.uniform(0.36, 0.48), rng.uniform(0.75, 1.05) * 2 * np.pi * (lobes - 1) / (lobes + 0.4)
    turns = np.linspace(0, spread, lobes) + rng.normal(0, 0.1, lobes)
    centres = ring * rng.uniform(0.8, 1.15, lobes) * np.exp(1j * turns) + complex(*rng.normal(0, 0.04, 2))
    size = {2: 0.4, 3: 0.35, 4: 0.3, 5: 0.265}[lobes] * rng.uniform(0.85, 1.12)
    nucleus: Distance | None = None
    for i, centre in enumerate(centres):
        a, b = size * rng.uniform(0.95, 1.3), size * rng.uniform(0.75, 1.0)
        lobe = _ellipse(x - centre.real, y - centre.imag, a, b, turns[i] + np.pi / 2 + rng.normal(0, 0.5))
        if nucleus is not None:
            lobe = _join(lobe, _capsule(x, y, centres[i - 1], centre, rng.uniform(0.025, 0.11)))
        nucleus = lobe if nucleus is None else _join(nucleus, lobe)
    assert nucleus is not None
    return nucleus


def _round(rng: np.random.Generator, x: Distance, y: Distance) -> Distance:
    size, (dx, dy) = rng.uniform(0.68, 0.88), rng.normal(0, 0.06, 2)
    return _ellipse(x - np.float32(dx), y - np.float32(dy), size, size * rng.uniform(0.86, 1.0))


def _bean(rng: np.random.Generator, x: Distance, y: Distance) -> Distance:
    """A kidney with a notch on one side, or a horseshoe (monocytes, band forms)."""
    if rng.random() < 0.35:
        radius, half = rng.uniform(0.36, 0.46), rng.uniform(0.17, 0.25)
        ring = np.abs(np.hypot(x, y) - radius) - half
        gap = _ellipse(x - np.float32(0.75), y, rng.uniform(0.45, 0.7), rng.uniform(0.16, 0.4))
        return -_join(-np.asarray(ring, np.float32), gap)
    body = _ellipse(x + np.float32(0.05), y, rng.uniform(0.55, 0.66), rng.uniform(0.64, 0.8))
    depth = np.float32(rng.uniform(0.55, 0.75))
    notch = _ellipse(x - depth, y, rng.uniform(0.3, 0.5), rng.uniform(0.15, 0.3))
    return -_join(-body, notch, 0.12)


def _blast(rng: np.random.Generator, x: Distance, y: Distance) -> Distance:
    size, (dx, dy) = rng.uniform(0.8, 0.94), rng.normal(0, 0.06, 2)
    body = _ellipse(x - np.float32(dx), y - np.float32(dy), size, size * rng.uniform(0.85, 1.0))
    if rng.random() < 0.4:
        cleft = _ellipse(x - np.float32(size), y, rng.uniform(0.15, 0.35), rng.uniform(0.04, 0.12))
        return -_join(-body, cleft)
    return body


def _plasma(rng: np.random.Generator, x: Distance, y: Distance) -> Distance:
    size = rng.uniform(0.48, 0.6)
    return _ellipse(x - np.float32(rng.uniform(0.2, 0.38)), y, size, size * rng.uniform(0.85, 1.0))


_NUCLEI: dict[str, Callable[[np.random.Generator, Distance, Distance], Distance]] = {
    "lobed": _lobed,
    "round": _round,
    "bean": _bean,
    "blast": _blast,
    "plasma": _plasma,
}
