"""The default layout: images/<id>.<ext>, masks/<id>.png (0 background, 1 cytoplasm, 2 nucleus).

Optional: groups.csv (id, group) and counts.csv (id, wbc_count).
"""

from __future__ import annotations

from pathlib import Path

from trainer.datasets.encodings import INDEXED
from trainer.datasets.pairing import Listing, paired_folders, tables_in


def recognises(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def listing(folder: Path) -> Listing:
    """Pairs by stem; without groups.csv each picture is a group of its own."""
    return paired_folders(folder, folder.resolve().name, INDEXED, tables_in(folder))
