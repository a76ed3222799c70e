"""Zheng et al., Dataset 1: crops NNN.bmp with NNN.png (0, 128, 255) in one folder, one white cell each."""

from __future__ import annotations

from pathlib import Path

from trainer.datasets.encodings import Levels
from trainer.datasets.pairing import Listing, Tables, paired

GREYS = Levels(64, 192)
_NUMBER = "[0-9][0-9][0-9]"


def recognises(folder: Path) -> bool:
    return any(_home(folder).glob(f"{_NUMBER}.bmp"))


def listing(folder: Path) -> Listing:
    """Each crop is a group of its own unless a splits table knows better."""
    home = _home(folder)
    images, masks = (sorted(home.glob(f"{_NUMBER}.{ending}")) for ending in ("bmp", "png"))
    tables = Tables({image.stem: f"zheng-{image.stem}" for image in images}, {image.stem: 1 for image in images})
    return paired(folder, "zheng", GREYS, (images, masks), tables, home)


def _home(folder: Path) -> Path:
    inner = folder / "Dataset 1"
    return inner if inner.is_dir() else folder
