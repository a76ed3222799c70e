"""The pictures of a measurement: painted once, written under many names, no two files alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from station.demo.camera import encode_bmp
from station.demo.smear import SmearRecipe, demo_fields, paint

_STAMP_BYTES = 3  # the last pixel of the file


@dataclass(frozen=True, slots=True)
class Fields:
    """Painted fields as BMP files in memory."""

    bitmaps: tuple[bytes, ...]
    width: int  # px
    height: int  # px
    cell_diameter_px: float

    def __str__(self) -> str:
        return f"BMP, {self.width} x {self.height} px, cells of {self.cell_diameter_px:g} px"

    def numbered(self, number: int) -> bytes:
        """The file of that number: the paintings in turn, each time with another last pixel.

        A station knows pictures by their content, and would count a second file of the same bytes only once.
        """
        bitmap = self.bitmaps[number % len(self.bitmaps)]
        return bitmap[:-_STAMP_BYTES] + number.to_bytes(_STAMP_BYTES, "little")


def painted(recipes: Sequence[SmearRecipe] = demo_fields(1)) -> Fields:
    """Fields from recipes of one size; the twelve of the demo day if none are told."""
    first = recipes[0]
    bitmaps = tuple(encode_bmp(paint(recipe).image) for recipe in recipes)
    return Fields(bitmaps, first.width, first.height, first.cell_diameter_px)


def crowded(cells: int) -> tuple[SmearRecipe, ...]:
    """Twelve fields with so many cells each, a third of them in touching pairs."""
    return tuple(SmearRecipe(wbc=cells, touching_pairs=cells // 6, lobed=0.5, seed=seed) for seed in range(12))


def written(folder: Path, fields: Fields, numbers: Iterable[int]) -> Iterator[Path]:
    """Write the files of these numbers. Raises OSError where the folder cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        path = folder / f"Image_{number:05d}.bmp"
        path.write_bytes(fields.numbered(number))
        yield path
