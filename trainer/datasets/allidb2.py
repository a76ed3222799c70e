"""ALL-IDB2 crops with the masks of Banik et al.: images/ImNNN_{0,1}.tif, masks/ of the same stem (0, 155, 255)."""

from __future__ import annotations

from pathlib import Path

from trainer.datasets.encodings import Levels
from trainer.datasets.pairing import Listing, Tables, paired_folders

GREYS = Levels(64, 208)


def recognises(folder: Path) -> bool:
    """As published; a copy of one's own with groups.csv is in the default layout."""
    return any((folder / "images").glob("Im[0-9][0-9][0-9]_[01].tif")) and not (folder / "groups.csv").exists()


def listing(folder: Path) -> Listing:
    """The crops come from few fields; neighbouring numbers show neighbouring cells, so five numbers are one group."""
    numbers = {path.stem: int(path.stem[2:5]) for path in (folder / "images").glob("Im[0-9][0-9][0-9]_[01].tif")}
    groups = {stem: f"allidb2-{number // 5 * 5:03d}" for stem, number in numbers.items()}
    return paired_folders(folder, "allidb2", GREYS, Tables(groups))
