"""BCCD fields with the masks of Banik et al.: images/BloodImage_*.jpg, masks/BloodImage_*.png, counts.csv."""

from __future__ import annotations

from pathlib import Path

from trainer.datasets.encodings import Levels
from trainer.datasets.pairing import Listing, Tables, paired_folders, whole_numbers
from trainer.datasets.samples import table_column

# Some masks are anti-aliased over more than 200 grey levels; cytoplasm lies at about 155..161, nucleus at 255.
GREYS = Levels(64, 208)

# The data set's notes: fields of these blocks overlap, or were photographed a second time. Block of ten -> the first.
_SERIES = {"0019": "0016", "0027": "0020"} | dict.fromkeys(("0023", "0024", "0025", "0026"), "0022")


def recognises(folder: Path) -> bool:
    """As published; a copy of one's own with groups.csv is in the default layout."""
    return any((folder / "images").glob("BloodImage_*.jpg")) and not (folder / "groups.csv").exists()


def listing(folder: Path) -> Listing:
    """Neighbouring numbers are neighbouring fields of one slide, so ten numbers are one group."""
    table = folder / "counts.csv"
    counts = whole_numbers(table, {Path(k).stem: v for k, v in table_column(table, "image", "wbc_count").items()})
    blocks = {path.stem: path.stem[-5:-1] for path in (folder / "images").glob("BloodImage_*.jpg")}
    groups = {stem: f"bccd-{_SERIES.get(block, block)}x" for stem, block in blocks.items()}
    return paired_folders(folder, "bccd", GREYS, Tables(groups, counts))
