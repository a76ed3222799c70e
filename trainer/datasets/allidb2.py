"""ALL-IDB2 crops with the masks of Banik et al.: images/ImNNN_{0,1}.tif, masks/ of the same stem (0, 155, 255)."""

from __future__ import annotations

from pathlib import Path

from trainer.datasets.encodings import Levels
from trainer.datasets.pairing import Listing, Tables, paired_folders

GREYS = Levels(64, 208)

# The data set's notes: a cell of these blocks shows in an earlier one. First number of a block of five -> of that one.
_SHOWN_AGAIN = {26: 21, 31: 21, 146: 136, 206: 166, 211: 171}


def recognises(folder: Path) -> bool:
    """As published; a copy of one's own with groups.csv is in the default layout."""
    return any((folder / "images").glob("Im[0-9][0-9][0-9]_[01].tif")) and not (folder / "groups.csv").exists()


def listing(folder: Path) -> Listing:
    """The crops come from few fields; neighbouring numbers show neighbouring cells, so five numbers are one group."""
    numbers = {path.stem: int(path.stem[2:5]) for path in (folder / "images").glob("Im[0-9][0-9][0-9]_[01].tif")}
    blocks = {stem: (number - 1) // 5 * 5 + 1 for stem, number in numbers.items()}  # 1 to 5, 6 to 10 ...
    groups = {stem: f"allidb2-{_SHOWN_AGAIN.get(block, block):03d}" for stem, block in blocks.items()}
    return paired_folders(folder, "allidb2", GREYS, Tables(groups))
