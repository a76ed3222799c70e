"""Shelf of export formats: the file name is the word after --format. Each has `NEEDS` and `write(items, folder)`.

A format gets the pictures one by one, as they count now, and writes files below an empty folder that is put in its
place when it is whole. Names of files and slides may be patients': what an `Item` holds are pseudonyms, unless names
were asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from station.contract.errors import StationError
from station.contract.imaging import RGB
from station.contract.manifest import NUCLEUS
from station.contract.masks import InstanceImage, LabelImage
from station.database.review_records import Reviewed, ReviewedCell

FORMATS = ("training", "qupath", "csv", "coco", "tiff", "imagej")


@dataclass(frozen=True, slots=True)
class Pixels:
    """A picture [H, W, 3] with its masks [H, W]. `data`: its file, where that holds pixels and nothing else."""

    image: RGB | None  # None where the format does not need it
    labels: LabelImage
    cells: InstanceImage
    data: bytes | None = None

    def cell(self, cell_id: int) -> NDArray[np.bool_]:
        """[H, W] where a cell is."""
        return np.asarray(self.cells == cell_id, np.bool_)

    def nucleus(self, cell_id: int) -> NDArray[np.bool_]:
        """[H, W] where a cell's nucleus is."""
        return np.asarray(self.cell(cell_id) & (self.labels == NUCLEUS), np.bool_)


@dataclass(frozen=True, slots=True)
class Item:
    """One picture as it counts now. `key` stands for its content; `stem` is a safe and unique name for its files."""

    key: str
    stem: str
    name: str  # as shown
    slide: str  # as shown
    captured_at: datetime  # in the station's zone
    model: str  # whose masks the state began from
    model_sha256: str
    wbc_count: int  # automatic, by that model
    state: Reviewed
    pixels: Pixels | None  # None where the format needs none
    um_per_px: float | None

    @property
    def seen(self) -> Pixels:
        """The pixels, in a format that needs them."""
        assert self.pixels is not None
        return self.pixels

    @property
    def cells(self) -> tuple[ReviewedCell, ...]:
        """The cells that count: none of a rejected picture."""
        return () if self.state.rejected else self.state.cells


@dataclass(frozen=True, slots=True)
class Needs:
    """What a format cannot do without: a picture that lacks it is left out. With masks, rejected ones are, too."""

    masks: bool
    picture: bool
    library: str | None = None  # a package of the extra `export`
    holds_tests_back: bool = False  # what the frozen test set holds goes into a folder of its own


class Format(Protocol):
    """What a module of this shelf offers."""

    NEEDS: Needs

    def write(self, items: Iterable[Item], folder: Path) -> None: ...


def open_format(name: str) -> Format:
    """A format by its name. Raises StationError naming the known ones, or what has to be installed for it."""
    if name not in FORMATS:
        raise StationError(f"there is no export format '{name}'; known: {', '.join(FORMATS)}")
    found = cast(Format, import_module(f"station.exports.{name}"))
    if found.NEEDS.library and find_spec(found.NEEDS.library) is None:
        raise StationError(
            f"exports as '{name}' need {found.NEEDS.library}, which is not installed; "
            "pip install 'wbc-station[export]' brings it"
        )
    return found
