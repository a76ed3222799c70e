"""Zheng et al., Dataset 1: crops NNN.bmp with NNN.png (0, 128, 255) in one folder, one white cell each."""

from __future__ import annotations

from pathlib import Path

from trainer.datasets.encodings import Levels
from trainer.datasets.pairing import Listing, Tables, paired

GREYS = Levels(64, 192)
# The data set's notes: these show the cell of another crop, 139 even its very pixels.
_SHOT_AGAIN = {"073": "051", "075": "019", "082": "021", "089": "026", "092": "056"} | {
    "139": "112",
    "158": "157",
    "169": "167",
    "171": "166",
}
_NUMBER = "[0-9][0-9][0-9]"


def recognises(folder: Path) -> bool:
    return any(_home(folder).glob(f"{_NUMBER}.bmp"))


def listing(folder: Path) -> Listing:
    """Each cell is a group of its own."""
    home = _home(folder)
    images, masks = (sorted(home.glob(f"{_NUMBER}.{ending}")) for ending in ("bmp", "png"))
    stems = [image.stem for image in images]
    tables = Tables({stem: f"zheng-{_SHOT_AGAIN.get(stem, stem)}" for stem in stems}, dict.fromkeys(stems, 1))
    return paired(folder, "zheng", GREYS, (images, masks), tables, home)


def _home(folder: Path) -> Path:
    inner = folder / "Dataset 1"
    return inner if inner.is_dir() else folder
