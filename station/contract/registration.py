"""Whether two fields of a slide show the same place, told by the arrangement of what is stained in them.

A stage moves without turning, and one camera keeps its magnification: so shifts alone are tried, and of them every one
that leaves enough in common. Small grey copies are enough for that; they are kept, and no picture is read again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from station.contract.imaging import RGB
from station.contract.surround import in_corners

LEAST_SHARED = 0.1  # of a field: below it chance arranges a few cells alike
LEAST_CERTAINTY = 0.79  # of 30,876 pairs of fields those that share a tenth have 0.84 and more, all others 0.77 at most
LEAST_DETAILS = 8.0  # that agree, so that a few round cells on empty ground do not pass for others

_SIDE = 80  # px, the longest side of a copy at most
_QUALITY = 90  # of its JPEG, 0..100: 1.8 kB
_FINE, _COARSE = 0.7, 3.0  # px of a copy, sigmas of the band-pass: noise goes, and so does uneven light
_LEAST_CONTRAST = 1.5  # grey levels: dust on the sensor is no arrangement of cells
_BLACK = 30  # grey level: no light comes there, and the darkest stain lets more through
_RIM = 5  # px of a copy over which the edge of the black is soft
_LEAST_ENERGY = 0.15  # of the whole field's, per px: an empty corner has nothing to tell

_Map: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A field as small as it can be recognised by: a grey JPEG, each px a square of the picture's `step` px."""

    jpeg: bytes
    step: int


@dataclass(frozen=True, slots=True)
class Trace:
    """A fingerprint [h, w] made ready to be compared at [m, n] shifts from 0, 1, .. up to .. -2, -1 px in each axis."""

    pattern: _Map  # [h, w]
    spectrum: NDArray[np.complex64]
    weights: _Map  # [m, n] of the part that a later field at this shift shows too; 0: too small, or empty
    turned: _Map  # the same for the part that an earlier field shows too
    grain: float  # px of the pattern that one thing takes
    step: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two fields have in common: (x, y) of the later one lies at (x + shift_x, y + shift_y) of the earlier one."""

    shift_x: float  # px of the picture
    shift_y: float
    shared: float  # share of a field, LEAST_SHARED..1
    certainty: float  # correlation over the shared area, LEAST_CERTAINTY..1


def fingerprint(image: RGB) -> Fingerprint:
    """Of a picture [H, W, 3]: in green, where red cells and nuclei alike are dark."""
    height, width = image.shape[:2]
    step = -(-max(height, width) // _SIDE)
    size = (max(1, width // step), max(1, height // step))
    whole = image[: size[1] * step, : size[0] * step]  # squares of whole px are averaged ten times as fast
    small = cv2.resize(cv2.extractChannel(whole, 1), size, interpolation=cv2.INTER_AREA)
    _, buffer = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    return Fingerprint(buffer.tobytes(), step)


def trace(of: Fingerprint) -> Trace:
    """What `shared_area` compares."""
    grey = cv2.imdecode(np.frombuffer(of.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    # A damaged copy shows nothing: no reason to stop a station.
    pattern = _pattern(np.zeros((1, 1), np.float32) if grey is None else grey.astype(np.float32))
    shifts = _shifts(pattern.shape)
    spectrum = np.fft.rfft2(pattern, shifts).astype(np.complex64)
    weights = _weights(pattern)
    turned = np.roll(weights[::-1, ::-1], (1, 1), (0, 1))  # of shift d what was at -d
    return Trace(pattern, spectrum, weights, turned, _grain(spectrum, shifts), of.step)


def shared_area(earlier: Trace, later: Trace) -> Overlap | None:
    """Where two fields overlap; None where they do not, show too little to tell, or differ in size."""
    if (earlier.step, earlier.pattern.shape) != (later.step, later.pattern.shape):
        return None
    alike = np.fft.irfft2(earlier.spectrum * later.spectrum.conj(), earlier.weights.shape).astype(np.float32)
    alike *= earlier.weights
    alike *= later.turned
    if alike.max() < LEAST_CERTAINTY:
        return None
    return _overlap(earlier, later, alike)


def _overlap(earlier: Trace, later: Trace, alike: _Map) -> Overlap | None:
    """The most telling of the shifts at which the fields are alike, if its details hold."""
    height, width = earlier.pattern.shape
    told = np.where(alike >= LEAST_CERTAINTY, alike * _worth(height, width), 0.0)
    down, across = np.unravel_index(int(told.argmax()), told.shape)
    shift = tuple(_signed(int(index), length) for index, length in zip((down, across), told.shape, strict=True))
    one, other = _common(earlier.pattern, later.pattern, *shift)
    certainty = _correlation(one, other)
    if certainty < LEAST_CERTAINTY or _details(earlier, one * other) < LEAST_DETAILS:
        return None
    y, x = (place + _between(alike, int(down), int(across), axis) for axis, place in enumerate(shift))
    shared = max(LEAST_SHARED, (1 - abs(x) / width) * (1 - abs(y) / height))
    return Overlap(x * earlier.step, y * earlier.step, shared, certainty)


def _pattern(grey: _Map) -> _Map:
    """[h, w] -1..1, mean about 0: nuclei weigh no more than red cells, whose arrangement is the proof."""
    frame = _frame(grey)
    if frame.all():
        return np.zeros_like(grey)
    seen = np.where(frame, np.median(grey[~frame]), grey).astype(np.float32)
    bands = cv2.GaussianBlur(seen, (0, 0), _FINE) - cv2.GaussianBlur(seen, (0, 0), _COARSE)
    bands[frame] = 0
    contrast = float(bands.std())
    return np.tanh(bands / contrast) if contrast >= _LEAST_CONTRAST else np.zeros_like(bands)


def _frame(grey: _Map) -> NDArray[np.bool_]:
    """[h, w] the black in the corners, around a round field of view, with its rim: it stands still in all fields."""
    found = in_corners(grey < _BLACK)
    return cv2.dilate(found, np.ones((_RIM, _RIM), np.uint8)).astype(np.bool_)


def _weights(pattern: _Map) -> _Map:
    """1 / norm of the part of a field that a later one at each shift shows too."""
    energy, (height, width) = cv2.integral(pattern**2), pattern.shape
    (top, bottom), (left, right) = _reach(height), _reach(width)
    rows = energy[bottom] - energy[top]
    held = rows[:, right] - rows[:, left]
    shares = _shares(height, width)
    enough = (shares >= LEAST_SHARED) & (held > _LEAST_ENERGY * shares * energy[-1, -1])
    return np.where(enough, 1 / np.sqrt(np.where(enough, held, 1.0)), 0.0).astype(np.float32)


@cache
def _shares(height: int, width: int) -> _Map:
    """[m, n] share of a field that is left in common at each shift."""
    (top, bottom), (left, right) = _reach(height), _reach(width)
    return np.outer((bottom - top) / height, (right - left) / width).astype(np.float32)


@cache
def _worth(height: int, width: int) -> _Map:
    """[m, n] what the same likeness is worth at each shift: more where it is that of a larger part."""
    return np.sqrt(_shares(height, width))


@cache
def _reach(length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last + 1 row of a field of `length` that a field at each shift shows too; none is (0, 0)."""
    shifts = np.array([_signed(index, _fast(2 * length)) for index in range(_fast(2 * length))])
    first, last = np.maximum(0, shifts), np.minimum(length, length + shifts)
    return np.where(first < last, first, 0), np.where(first < last, last, 0)


def _shifts(shape: tuple[int, ...]) -> tuple[int, int]:
    """So many in each axis that shifts to both sides fit."""
    return _fast(2 * shape[0]), _fast(2 * shape[1])


@cache
def _fast(least: int) -> int:
    """The next length without a prime factor above 5: a Fourier transform of another one takes longer."""
    rest = least
    for factor in (2, 3, 5):
        while rest % factor == 0:
            rest //= factor
    return least if rest == 1 else _fast(least + 1)


def _signed(index: int, count: int) -> int:
    return index if index < count // 2 else index - count


def _common(earlier: _Map, later: _Map, down: int, across: int) -> tuple[_Map, _Map]:
    """The shared part of both, of the same size."""
    height, width = earlier.shape
    rows, columns = slice(max(0, down), height + min(0, down)), slice(max(0, across), width + min(0, across))
    back = (slice(max(0, -down), height + min(0, -down)), slice(max(0, -across), width + min(0, -across)))
    return earlier[rows, columns], later[back]


def _details(earlier: Trace, agreement: _Map) -> float:
    """How many separate things agree: the px that carry the agreement over the px of one such thing."""
    return float(agreement.sum() ** 2 / np.vdot(agreement, agreement)) / earlier.grain


def _grain(spectrum: NDArray[np.complex64], shifts: tuple[int, int]) -> float:
    """How many px one thing takes: the area over which a field is like itself."""
    alone = np.fft.irfft2(np.abs(spectrum) ** 2, shifts)
    return float(np.vdot(alone, alone) / max(float(alone[0, 0]), 1e-6) ** 2)


def _correlation(one: _Map, other: _Map) -> float:
    one, other = one - one.mean(), other - other.mean()
    return float(np.vdot(one, other) / np.sqrt(np.vdot(one, one) * np.vdot(other, other) + 1e-12))


def _between(alike: _Map, down: int, across: int, axis: int) -> float:
    """How far the true peak lies beyond the highest of three, -0.5..0.5: that of the parabola through them."""
    line: NDArray[Any] = alike[:, across] if axis == 0 else alike[down]
    at = down if axis == 0 else across
    before, here, after = (float(line[(at + step) % len(line)]) for step in (-1, 0, 1))
    curve = before - 2 * here + after
    return max(-0.5, min(0.5, (before - after) / (2 * curve))) if curve < 0 else 0.0
