"""How mask pixels say background, cytoplasm and nucleus: one frozen value for each way.

Each turns a mask into the label image with `labels`; its `str` is part of the data's digest. Numbers are taken as they
stand in the file: what an encoding does not know is a MaskError and never a guess.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from station.contract.errors import StationError
from station.contract.manifest import BACKGROUND, CYTOPLASM, NUCLEUS
from station.contract.masks import LabelImage

Mask: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]  # [H, W] grey or [H, W, 3] RGB
Value: TypeAlias = tuple[int, ...]  # (grey,) or (red, green, blue)
Box: TypeAlias = tuple[Value, Value]  # lowest and highest (red, green, blue), both included

# The regions that people draw. Red cells and plasma are background to a network that looks for white cells.
NAMES = {"background": BACKGROUND, "plasma": BACKGROUND, "red cells": BACKGROUND} | {
    "cytoplasm": CYTOPLASM,
    "nucleus": NUCLEUS,
}
EXAMPLE = '"0=background,128=cytoplasm,255=nucleus" or "255,255,255=background;0,0,255=cytoplasm;0,255,255=nucleus"'

_SHOWN_VALUES = 5


class MaskError(StationError):
    """Mask pixels that an encoding does not know, or a table of values that says nothing. Continues a file's name."""


class Encoding(Protocol):
    """What the pixels of a mask mean."""

    def labels(self, mask: Mask) -> LabelImage:
        """[H, W] 0 background, 1 cytoplasm, 2 nucleus. Raises MaskError."""


@dataclass(frozen=True, slots=True)
class Levels:
    """Grey values below `cytoplasm` are background, below `nucleus` cytoplasm, the others up to `highest` nucleus.

    Public masks are anti-aliased, so equality with the nominal values would lose the outlines.
    """

    cytoplasm: int
    nucleus: int
    highest: int = 255

    def __str__(self) -> str:
        return f"({self.cytoplasm}, {self.nucleus})"

    def labels(self, mask: Mask) -> LabelImage:
        if mask.ndim == 3 or mask.max() > self.highest:
            raise MaskError(
                f"the mask has the values {_shares(mask)}, this layout grey ones up to {self.highest}; "
                "say what they mean with --palette"
            )
        steps = np.searchsorted(np.array([self.cytoplasm, self.nucleus]), mask, side="right")
        return np.array([BACKGROUND, CYTOPLASM, NUCLEUS], np.uint8)[steps]


# Masks that hold the labels themselves.
INDEXED = Levels(1, 2, highest=NUCLEUS)


@dataclass(frozen=True, slots=True)
class ColourBoxes:
    """RGB colours inside a box are cytoplasm or nucleus, all others background."""

    cytoplasm: Box
    nucleus: Box

    def __str__(self) -> str:
        return f"cytoplasm {self.cytoplasm}, nucleus {self.nucleus}"

    def labels(self, mask: Mask) -> LabelImage:
        rgb = mask if mask.ndim == 3 else np.repeat(mask[..., None], 3, axis=2)
        labels = np.full(mask.shape[:2], BACKGROUND, np.uint8)
        for label, (lowest, highest) in ((CYTOPLASM, self.cytoplasm), (NUCLEUS, self.nucleus)):
            labels[((rgb >= np.array(lowest)) & (rgb <= np.array(highest))).all(axis=-1)] = label
        return labels


@dataclass(frozen=True, slots=True)
class Palette:
    """A table of grey levels or colours, each with a name out of NAMES.

    A pixel has the name of the entry from which no channel differs by more than `tolerance`; without one it is refused.
    """

    table: tuple[tuple[Value, str], ...] = ()
    tolerance: int = 0

    def __post_init__(self) -> None:
        """Raises MaskError where the table does not say one thing."""
        if len({len(value) for value, _ in self.table}) > 1:
            raise MaskError(f"the palette '{self}' mixes grey levels and colours; name either")
        for index, (value, name) in enumerate(self.table):
            for other, other_name in self.table[:index]:
                distance = max(abs(a - b) for a, b in zip(value, other, strict=True))
                if distance == 0 or (distance <= 2 * self.tolerance and NAMES[name] != NAMES[other_name]):
                    raise MaskError(
                        f"the palette names {_written(other)} and {_written(value)}, which a tolerance of "
                        f"{self.tolerance} cannot tell apart; name each value once, or lower --tolerance"
                    )

    def __str__(self) -> str:
        entries = [f"{_written(value)}={name}" for value, name in self.table]
        separator = ";" if self.table and len(self.table[0][0]) == 3 else ","
        return separator.join(entries) + (f"~{self.tolerance}" if self.tolerance else "")

    def labels(self, mask: Mask) -> LabelImage:
        channels = len(self.table[0][0]) if self.table else 0
        if not channels or (channels == 1 and mask.ndim == 3):
            kind = "grey levels" if channels else "nothing yet"
            raise MaskError(
                f"the mask has the values {_shares(mask)}, the palette names {kind}; say what they mean with --palette"
            )
        values, place, counts = _distinct(mask, channels)
        entries = np.array([value for value, _ in self.table])
        distance = np.abs(values[:, None] - entries).max(axis=-1)  # [values, entries]
        unknown = distance.min(axis=1) > self.tolerance
        if unknown.any():
            raise MaskError(
                f"the mask has values without a name: {_listed(values[unknown], counts[unknown], mask)}; "
                "name them too (--palette, or classes.csv in the folder), or allow a --tolerance"
            )
        label_of = np.array([NAMES[name] for _, name in self.table], np.uint8)
        labels: LabelImage = label_of[distance.argmin(axis=1)][place].reshape(mask.shape[:2])
        return labels


def palette_of(text: str) -> Palette:
    """The palette that `text` writes: VALUE=NAME, entries divided by comma or semicolon, at the end perhaps ~TOLERANCE.

    Raises MaskError naming the entry that cannot be read.
    """
    body, _, tolerance = text.partition("~")
    if tolerance and not tolerance.strip().isdecimal():
        raise MaskError(f"the palette '{text}' has the tolerance '{tolerance}'; a whole number is expected")
    # The comma that divides entries stands behind a name, the one inside a colour behind a number.
    entries = re.split(r"(?<=[A-Za-z])\s*[,;]", body.strip())
    return Palette(tuple(_entry(entry) for entry in entries), int(tolerance or 0))


def named(value: str, name: str) -> tuple[Value, str]:
    """One entry of a table: a grey level or `red,green,blue`, and a name out of NAMES. Raises MaskError."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", value))
    known = " ".join(name.lower().replace("_", " ").split())
    if not re.fullmatch(r"\s*\d+(\s*,\s*\d+\s*,\s*\d+)?\s*", value) or max(numbers) > (255, 65535)[len(numbers) == 1]:
        raise MaskError(f"'{value.strip()}' is neither a grey level (0 to 65535) nor a colour (red,green,blue to 255)")
    if known not in NAMES:
        raise MaskError(f"there is no region '{name.strip()}'; known: {', '.join(NAMES)}")
    return numbers, known


def _entry(text: str) -> tuple[Value, str]:
    value, divided, name = text.partition("=")
    if not divided:
        raise MaskError(f"the palette cannot be read at '{text.strip()}'; write VALUE=NAME, such as {EXAMPLE}")
    return named(value, name)


def _written(value: Value) -> str:
    return ",".join(map(str, value))


def _distinct(mask: Mask, channels: int) -> tuple[NDArray[np.int64], NDArray[np.intp], NDArray[np.intp]]:
    """([values, channels] in the mask, the index of each pixel's value [H x W], how many pixels each has)."""
    wide = mask if mask.ndim == 3 or channels == 1 else np.repeat(mask[..., None], channels, axis=2)
    weights = 65536 ** np.arange(channels, dtype=np.int64)
    codes = wide.reshape(-1, channels).astype(np.int64) @ weights
    codes, place, counts = np.unique(codes, return_inverse=True, return_counts=True)
    return codes[:, None] // weights % 65536, place, counts


def _shares(mask: Mask) -> str:
    values, _, counts = _distinct(mask, 3 if mask.ndim == 3 else 1)
    return _listed(values, counts, mask)


def _listed(values: NDArray[np.int64], counts: NDArray[np.intp], mask: Mask) -> str:
    """The most frequent values with their share of the mask's pixels."""
    pixels = mask.shape[0] * mask.shape[1]
    order = np.argsort(-counts, kind="stable")
    shown = [f"{_written(tuple(values[i].tolist()))} ({_percent(counts[i] / pixels)})" for i in order[:_SHOWN_VALUES]]
    rest = order[_SHOWN_VALUES:]
    more = f" and {len(rest)} more ({_percent(counts[rest].sum() / pixels)})" if len(rest) else ""
    return ", ".join(shown) + more


def _percent(share: Any) -> str:
    return f"{share:.1%}" if share >= 0.001 else "under 0.1%"
