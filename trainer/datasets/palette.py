"""images/ and masks/ by stem, as in `pairs`, with a table from the command line that says what mask values mean.

`--palette "0=background,128=cytoplasm,255=nucleus"` for grey masks, `--palette "255,255,255=background;..."` for
colours, `--tolerance N` for colours that are not pure. groups.csv and counts.csv as in `pairs`.
"""

from __future__ import annotations

from pathlib import Path

from trainer.datasets.encodings import Palette
from trainer.datasets.pairing import Listing, paired_folders, tables_in


def recognises(folder: Path) -> bool:
    """Never by itself: a folder does not say what its values mean."""
    return False


def listing(folder: Path) -> Listing:
    """Pairs by stem, with a palette that names nothing yet."""
    return paired_folders(folder, folder.resolve().name, Palette(), tables_in(folder))
