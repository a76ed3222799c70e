"""images/ and masks/ by stem, and classes.csv (value,name) that says which value is which region.

Made for masks with all regions that the paper labels, as it would code them:

    value,name
    0,plasma
    1,red cells
    2,cytoplasm
    3,nucleus

Any other coding is told the same way: a grey level, or a colour as "255,0,0" in quotes; the names are plasma, red
cells, background, cytoplasm and nucleus. Red cells and plasma become background. groups.csv and counts.csv as in
`pairs`.
"""

from __future__ import annotations

from pathlib import Path

from trainer.datasets.encodings import MaskError, Palette, named
from trainer.datasets.pairing import Listing, paired_folders, tables_in
from trainer.datasets.samples import DataError, table_rows

CLASSES_FILE = "classes.csv"


def recognises(folder: Path) -> bool:
    return (folder / CLASSES_FILE).is_file() and (folder / "images").is_dir() and (folder / "masks").is_dir()


def listing(folder: Path) -> Listing:
    """Pairs by stem, with the folder's own table."""
    return paired_folders(folder, folder.resolve().name, _declared(folder / CLASSES_FILE), tables_in(folder))


def _declared(classes: Path) -> Palette:
    rows = table_rows(classes, {"value", "name"})
    try:
        return Palette(tuple(named(row["value"] or "", row["name"] or "") for row in rows))
    except MaskError as cause:
        raise DataError(f"{classes}: {cause}") from cause
